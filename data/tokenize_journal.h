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

typedef enum { NOTHING, UNFINISHED, FINISHED } JournalState;

/* Puts what a journal says, if there is one, into a run that has its options, tokenizer, sources and new shards. Of a
 * finished output it takes `documents` and the shards' totals, and removes a journal that is left beside the manifest:
 * that is written last. Errors: an option or a source differs from what is there, shards are missing, or there are
 * shards without journal or manifest. */
int journal_read(TokenizeRun *run, JournalState *state, Error *e);

/* Keeps other processes that call this from writing PREFIX_*, until it is unlocked or the process ends. To be held from
 * before journal_read to the end. */
int journal_lock(const TokenizeRun *run, int *lock, Error *e);
void journal_unlock(const TokenizeRun *run, int *lock);

/* Writes the manifest and removes the journal. */
int journal_finish(const TokenizeRun *run, Error *e);

#endif
