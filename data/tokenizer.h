#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * GPT-2's tokenizer: text is split by a pattern (gpt2_pattern.h), and the bytes of each piece are merged into tokens
 * (bpe.h). Its ids are those of tiktoken's "gpt2". Any vocabulary of that kind with at most 65536 tokens will do: one
 * for each byte, one for each thing that a merge makes, and <|endoftext|>.
 *
 *     encoder_encode(encoder, text, size, false, &list, &e)       text -> list.ids[0 .. list.count-1]
 *     tokenizer_token(tokenizer, id, &bytes, &size, &e)           id -> bytes
 */

/* The token between documents. */
#define TOKENIZER_ENDOFTEXT "<|endoftext|>"

/* Immutable: any number of threads may use it at once. */
typedef struct Tokenizer Tokenizer;

/*
 * Reads the tables at `path`, a directory or one of the files, or "gpt2", those that data/get tokenizer brings. In a
 * directory the first of these that is there counts:
 *
 *     encoder.json with vocab.bpe      as OpenAI published them
 *     vocab.json with merges.txt       the same, by Hugging Face's names
 *     *.tiktoken                       tokens in base64 and their ranks, if there is one such file
 *
 * A file's other half lies beside it, under the name with the same beginning: gpt2_encoder.json, gpt2_vocab.bpe. A
 * .tiktoken file does not hold <|endoftext|>: it has the one id that is left out, or the next after the last.
 * The caller closes *out. Errors name the file, where it has lines also the line, and the fault: tables that cannot be
 * read or do not belong together, ids that are missing or double, a byte without a token, no <|endoftext|>.
 */
int tokenizer_open(const char *path, Tokenizer **out, Error *e);
/* The 256 bytes as tokens, without <|endoftext|>. */
int tokenizer_of_bytes(Tokenizer **out, Error *e);

void tokenizer_close(Tokenizer *t); /* NULL is fine */

/*
 * Writes the tokenizer into a directory as Hugging Face has it: vocab.json, merges.txt and tokenizer_config.json, which
 * transformers' AutoTokenizer reads. Not for bytes alone, which transformers has no such tokenizer for. The directory
 * must exist.
 */
int tokenizer_write(const Tokenizer *t, const char *directory, Error *e);

bool tokenizer_is_bytes(const Tokenizer *t); /* made by tokenizer_of_bytes */

size_t tokenizer_size(const Tokenizer *t);       /* tokens in the vocabulary; ids are below it */
int32_t tokenizer_endoftext(const Tokenizer *t); /* -1: bytes have none */

/* The XXH64 of the tokens in the order of their ids, <|endoftext|>'s id and the merges in the order of their ranks: the
 * same for the same tables, whatever form their files have. */
uint64_t tokenizer_hash(const Tokenizer *t);

/* The bytes of a token, which live as long as the tokenizer; parts of characters may be tokens. Error: no such id. */
int tokenizer_token(const Tokenizer *t, int32_t id, const char **bytes, size_t *size, Error *e);

/* Ids, in memory that grows; 16 bits each, as in a shard. Zeroed before its first use; the owner frees `ids`. */
typedef struct TokenList {
    uint16_t *ids;
    size_t count, capacity;
} TokenList;

/* What a thread needs to encode: memory, and a cache of pieces that it has met. Ids do not depend on what it holds. */
typedef struct Encoder Encoder;

/* The tokenizer must outlive *out, which the caller frees. */
int encoder_create(const Tokenizer *t, Encoder **out, Error *e);
void encoder_free(Encoder *encoder); /* NULL is fine */

/* Appends the ids of any `size` bytes of text. "<|endoftext|>" in the text is text like any other, or with `endoftext`
 * the token of that name. Errors: out of memory, a piece of 2^31 bytes or more; the list is then as it was. */
int encoder_encode(Encoder *encoder, const char *text, size_t size, bool endoftext, TokenList *list, Error *e);

#endif
