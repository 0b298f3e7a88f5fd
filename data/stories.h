#ifndef DATA_STORIES_H
#define DATA_STORIES_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The built-in corpus: short English-like stories drawn from a grammar whose information content is known exactly.
 *
 * Generator and parser share one grammar (stories_grammar.c) over prefix-free choices. In generation a choice draws an
 * option with probability weight / sum of weights and writes its text; in parsing it finds out which option the text
 * has. No option is a prefix of another of the same choice, so every text has exactly one derivation and its -log p is
 * the sum over its choices. Within a choice the chain rule divides -log p among the bytes:
 *
 *     p(byte | bytes so far) = (mass of options that match through this byte) / (mass that matches up to it)
 *
 * Text without alternatives costs 0. The mean of -log p is the floor of the loss of any model of the corpus.
 */
typedef struct Stories {
    size_t size;         /* bytes */
    unsigned char *text; /* ASCII, not NUL-terminated; every story ends with an empty line */
    float *nats;         /* -log p of each byte given all bytes before it */
    size_t story_count;
    size_t *story_start; /* byte offset of each story */
} Stories;

/* Whole stories until there are at least `bytes` bytes (> 0). The text depends on seed and bytes alone, on every
 * machine, and a longer text of the same seed starts with the shorter one. The caller frees *out with stories_free. */
int stories_generate(uint64_t seed, size_t bytes, Stories *out, Error *e);

/* The same for a given text, which must start where a story starts and may stop anywhere, even within a word. The bytes
 * of a last, incomplete story count as far as they go. On -1 the error names the byte at which the text leaves the
 * language and what was expected there. The caller frees *out; after -1 it is empty. */
int stories_parse(const unsigned char *text, size_t size, Stories *out, Error *e);

void stories_free(Stories *s);

/*
 * Mean nats per byte over bytes begin .. end-1 and its standard error. Stories are independent, bytes are not: stories
 * are the clusters of a ratio estimator (Cochran, Sampling Techniques, 1977, ch. 6). A story partly in the range counts
 * with that part. NAN for an empty range; the error of fewer than two stories is infinite.
 */
void stories_floor(const Stories *s, size_t begin, size_t end, double *mean, double *standard_error);

#endif
