#ifndef DEV_TESTS_SHARDS_H
#define DEV_TESTS_SHARDS_H

#include "data/tokens.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Shards of tokens for the programs that test how they are read. */

enum { HEADER_BYTES = 1024, PATH_MAX_HERE = 128 };

typedef struct Path {
    char text[PATH_MAX_HERE];
} Path;

/* Makes the program's folder (folder.h) and writes the set into it; false, with a message, if it cannot. folder_end
 * removes it. */
bool shards_begin(void);

Path path_of(const char *name); /* in the folder */

void write_bytes(const char *path, const unsigned char *bytes, size_t n);
void put_int32(unsigned char *p, int32_t value);

/* The bytes of a shard of n tokens; the caller frees. */
unsigned char *shard_bytes(const uint16_t *ids, size_t n);
void write_shard(const char *path, const uint16_t *ids, size_t n);

/* The set most tests read, set_*.bin: every token's id occurs once, so that an id shows its position. */
enum { SHARDS = 6, ALL = 101 + 64 + 257 + 9 + 17 + 16, V = 65521 };
extern const size_t shard_sizes[SHARDS];

/* The id of token i of the whole set: no two the same, as V is prime, and neighbours far apart. */
uint16_t id_of(size_t i);
size_t shard_start(size_t shard); /* the token of the whole set it begins with */

Tokens *open_tokens(const char *name, size_t vocabulary);

/* The end of a sentence about an id that GPT-2 has. */
#define NEEDS_GPT2 " (GPT-2's tokens need --vocab 50257 or --model gpt2)"

/* Compares with "PATH: sentence". */
void check_sentence(const Error *e, const char *path, const char *sentence);

#endif
