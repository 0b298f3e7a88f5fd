/* Merging against its definition, with random merges: few ids and many, and tables that no training makes. */
#include "base/random.h"
#include "data/bpe.h"
#include "dev/tests/check.h"
#include "dev/tests/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>

enum { LETTERS = 5, MERGES = 60, IDS = LETTERS + MERGES, MOST = 300 };

/* Merge r makes id LETTERS + r, or where the table is odd any id. */
typedef struct Table {
    int32_t rank[IDS][IDS], merged[IDS][IDS];
    Bpe *bpe;
} Table;

static int32_t rank_in(const void *context, int32_t left, int32_t right, int32_t *merged)
{
    const Table *table = context;
    *merged = table->merged[left][right];
    return table->rank[left][right];
}

static void make_table(Table *table, Random *r, bool odd)
{
    Error e;
    memset(table->rank, -1, sizeof table->rank);
    check(bpe_create(MERGES, &table->bpe, &e) == 0, "%s", e.text);
    for (int32_t rank = 0; rank < MERGES; rank++) {
        const uint64_t known = odd ? IDS : (uint64_t)(LETTERS + rank);
        const int32_t left = (int32_t)random_below(r, known), right = (int32_t)random_below(r, known);
        const int32_t merged = odd ? (int32_t)random_below(r, IDS) : LETTERS + rank;
        const bool is_new = table->rank[left][right] < 0;
        if (!is_new) {
            check(bpe_add(table->bpe, left, right, merged) == -1, "a pair was merged twice");
            rank--;
            continue;
        }
        table->rank[left][right] = rank;
        table->merged[left][right] = merged;
        check(bpe_add(table->bpe, left, right, merged) == 0, "a new pair was refused");
    }
}

static void compare(Table *table, BpeSpace *space, Random *r, size_t n)
{
    int32_t ids[MOST], want[MOST];
    size_t left;
    Error e;
    const uint64_t letters = 1 + random_below(r, LETTERS); /* few: long runs of one */
    for (size_t i = 0; i < n; i++)
        ids[i] = want[i] = (int32_t)random_below(r, letters);
    const size_t wanted = merge_by_definition(rank_in, table, want, n);
    check(bpe_apply(table->bpe, space, ids, n, &left, &e) == 0, "%s", e.text);
    if (check(left == wanted, "%zu letters: %zu ids instead of %zu", n, left, wanted))
        check(memcmp(ids, want, left * sizeof *ids) == 0, "%zu letters: other ids than by the definition", n);
}

static void compare_tables(bool odd)
{
    Random r = random_make(1, odd);
    BpeSpace space = {0};
    for (size_t i = 0; i < 60; i++) {
        Table *table = malloc(sizeof *table);
        make_table(table, &r, odd);
        for (size_t n = 0; n <= 90; n++)
            compare(table, &space, &r, n);
        compare(table, &space, &r, MOST);
        bpe_free(table->bpe);
        free(table);
    }
    bpe_space_free(&space);
}

static void test_merges(void) { compare_tables(false); }

static void test_odd_merges(void) { compare_tables(true); }

int main(void)
{
    check_run("merging agrees with its definition, for 0 to 300 letters", test_merges);
    check_run("merging agrees with its definition where merges make earlier ids", test_odd_merges);
    return check_summary();
}
