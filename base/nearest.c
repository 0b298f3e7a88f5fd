#include "base/nearest.h"

#include <stdio.h>
#include <string.h>

/* Levenshtein distance between two short names. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NEAREST_MOST], n = strlen(b);
    if (n >= NEAREST_MOST || strlen(a) >= NEAREST_MOST)
        return NEAREST_MOST;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
            const size_t shorter = row[j] < row[j - 1] ? row[j] : row[j - 1];
            diagonal = row[j];
            row[j] = substituted < shorter + 1 ? substituted : shorter + 1;
        }
    }
    return row[n];
}

Nearest nearest_to(const char *word)
{
    return (Nearest){.word = word, .best = "", .distance = 4}; /* more distant names are no help */
}

void nearest_try(Nearest *n, const char *name)
{
    const size_t d = distance(n->word, name);
    if (d >= n->distance)
        return;
    n->distance = d;
    snprintf(n->best, sizeof n->best, "%s", name);
}
