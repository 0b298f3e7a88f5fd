#ifndef DATA_GPT2_PATTERN_H
#define DATA_GPT2_PATTERN_H

#include <stddef.h>

/*
 * How GPT-2 splits a text into pieces, which its merges never cross (openai/gpt-2, src/encoder.py):
 *
 *     '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * with the classes of Unicode 16.0 (unicode_classes.h), as tiktoken has them. A byte that is no part of well-formed
 * UTF-8 counts as a character of its own that is neither letter, number nor space, so that every text splits and its
 * pieces put together are the text. Takes linear time whatever the text.
 */

/* Writes the ends of the next pieces of text[0 .. size-1], of which the first begins at `begin`, to ends[0 ..
 * most-1] and returns how many there are: fewer than `most` only where the last ends at `size`. */
size_t gpt2_split(const char *text, size_t size, size_t begin, size_t *ends, size_t most);

/* The last place in the text, after its first byte, where white space follows something else; 0: there is none. A piece
 * begins there, and the parts on its two sides have the same pieces alone as together, so that a long text can be split
 * in parts. Takes time linear in what lies behind that place. */
size_t gpt2_cut(const char *text, size_t size);

#endif
