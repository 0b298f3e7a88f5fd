#ifndef DATA_TOKENIZE_JOURNAL_H
#define DATA_TOKENIZE_JOURNAL_H

#include "data/tokenize_run.h"

/*
 * PREFIX_journal.json, from which the same command goes on where it was stopped: its options, its sources, how far they
 * have been read and what has been flushed of the shards. And PREFIX_manifest.json, which the finished shards have
 * instead.
 */

/* Replaces the journal. The shards have been flushed. */
int journal_write(const TokenizeRun *run, Error *e);

/* Puts what a journal says, if there is one, into a run that has its options, tokenizer, sources and new shards;
 * *found says whether there is one. Errors: an option or a source differs from the journal's, shards are missing,
 * the output is finished, or has shards and no journal. */
int journal_read(TokenizeRun *run, bool *found, Error *e);

/* Writes the manifest and removes the journal. */
int journal_finish(const TokenizeRun *run, Error *e);

#endif
