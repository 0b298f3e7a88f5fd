/* Loaders against shards this program writes: the order of an epoch, training's stream, validation's windows. */
#include "data/loader.h"
#include "dev/tests/check.h"
#include "dev/tests/folder.h"
#include "dev/tests/shards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static Loader *open_loader(const Tokens *tokens, LoaderConfig config, uint64_t position, size_t max_B)
{
    Loader *loader = NULL;
    Error e = {""};
    check(loader_create(tokens, &config, position, max_B, &loader, &e) == 0, "%s", e.text);
    return loader;
}

static void next(Loader *loader, size_t B, int32_t *inputs, int32_t *targets)
{
    Error e = {""};
    check(loader_next(loader, B, inputs, targets, &e) == 0, "loader_next: %s", e.text);
}

/* The next n sequences of a loader, B at a time (the last batch smaller), T inputs and then T targets each;
 * the caller frees. */
static int32_t *take(Loader *loader, size_t T, size_t n, size_t B)
{
    int32_t *all = malloc(n * 2 * T * sizeof *all), *batch = malloc(2 * B * T * sizeof *batch);
    for (size_t done = 0; done < n;) {
        const size_t now = n - done < B ? n - done : B;
        next(loader, now, batch, batch + B * T);
        for (size_t b = 0; b < now; b++, done++) {
            memcpy(all + done * 2 * T, batch + b * T, T * sizeof *all);
            memcpy(all + done * 2 * T + T, batch + (B + b) * T, T * sizeof *all);
        }
    }
    free(batch);
    return all;
}

/* n sequences from `position` on, of one rank. */
static int32_t *stream(const Tokens *tokens, LoaderConfig config, uint64_t position, size_t n, size_t B)
{
    Loader *loader = open_loader(tokens, config, position, B);
    int32_t *all = take(loader, config.T, n, B);
    check(config.world > 1 || loader_position(loader) == position + n, "position %zu after %zu sequences from %zu",
          (size_t)loader_position(loader), n, (size_t)position);
    loader_free(loader);
    return all;
}

/* --- the order of an epoch --- */

static void check_bijection(uint64_t seed, uint64_t epoch, size_t N)
{
    bool *seen = calloc(N, sizeof *seen);
    for (size_t p = 0; p < N; p++) {
        const uint64_t index = loader_shuffle(seed, epoch, N, p);
        if (!check(index < N && !seen[index], "N = %zu: %zu goes to %zu, out of range or taken", N, p, (size_t)index))
            break;
        seen[index] = true;
    }
    free(seen);
}

static void test_shuffle_is_a_bijection(void)
{
    const size_t larger[] = {1009, 4095, 4096, 4097, 10007, 65536, 65537, 104729};
    for (size_t N = 1; N <= 300; N++)
        for (uint64_t epoch = 0; epoch < 3; epoch++)
            check_bijection(N, epoch, N);
    for (size_t i = 0; i < sizeof larger / sizeof *larger; i++)
        check_bijection(0, i, larger[i]);
    const uint64_t most = (uint64_t)1 << 63;
    check(loader_shuffle(1, 1, most, most - 1) < most, "N = 2^63");
}

/* A checkpoint's position means the same sequence for ever: these were computed from the formula by another program. */
static void test_shuffle_stays_the_same(void)
{
    const size_t first[10] = {0, 8, 6, 5, 3, 9, 7, 1, 4, 2}, second[10] = {4, 6, 5, 3, 9, 2, 0, 8, 1, 7};
    const size_t large[8] = {16760, 223078, 78593, 775692, 881925, 869744, 711457, 245433};
    for (size_t p = 0; p < 10; p++) {
        check(loader_shuffle(1, 0, 10, p) == first[p], "epoch 0: %zu moved", p);
        check(loader_shuffle(1, 1, 10, p) == second[p], "epoch 1: %zu moved", p);
    }
    for (size_t p = 0; p < 8; p++)
        check(loader_shuffle(2026, 3, 1000003, p) == large[p], "large: %zu moved", p);
}

/* P(chi2_k - k >= 2 sqrt(k x) + 2x) <= exp(-x) (Laurent and Massart 2000, lemma 1); here x = 14: 1 in a million. */
static void check_chi_square(double chi2, double freedom, const char *what)
{
    check(chi2 <= freedom + 2 * sqrt(freedom * 14) + 28, "%s: chi-square %.1f for %.0f degrees of freedom", what, chi2,
          freedom);
}

/* The number of a permutation of N among the N! (its Lehmer code). */
static size_t permutation_number(const size_t *to, size_t N)
{
    size_t number = 0;
    for (size_t i = 0; i < N; i++) {
        size_t smaller_after = 0;
        for (size_t j = i + 1; j < N; j++)
            smaller_after += to[j] < to[i];
        number = number * (N - i) + smaller_after;
    }
    return number;
}

static void test_every_small_permutation_is_as_likely(void)
{
    enum { DRAWS = 200 };
    size_t factorial = 1;
    for (size_t N = 2; N <= 6; N++) {
        factorial *= N;
        size_t counts[720] = {0};
        for (uint64_t epoch = 0; epoch < DRAWS * factorial; epoch++) {
            size_t to[6];
            for (size_t p = 0; p < N; p++)
                to[p] = (size_t)loader_shuffle(5, epoch, N, p);
            counts[permutation_number(to, N)]++;
        }
        double chi2 = 0;
        for (size_t i = 0; i < factorial; i++)
            chi2 += pow((double)counts[i] - DRAWS, 2) / DRAWS;
        check_chi_square(chi2, (double)factorial - 1, "permutations of a few");
    }
}

/* How often p goes to i: (N-1)/N sum (count - mean)^2 / mean is chi-square with (N-1)^2 degrees of freedom, as rows
 * and columns of the counts all add up to the number of draws. */
static void test_every_place_is_as_likely(void)
{
    enum { MOST = 37, DRAWS = 100 };
    const size_t some[] = {10, 16, 17, MOST};
    for (size_t k = 0; k < sizeof some / sizeof *some; k++) {
        const size_t N = some[k];
        size_t counts[MOST][MOST] = {{0}};
        for (uint64_t seed = 0; seed < DRAWS * N; seed++)
            for (size_t p = 0; p < N; p++)
                counts[p][loader_shuffle(seed, 0, N, p)]++;
        double chi2 = 0;
        for (size_t p = 0; p < N; p++)
            for (size_t i = 0; i < N; i++)
                chi2 += pow((double)counts[p][i] - DRAWS, 2) / DRAWS;
        const double n = (double)N;
        check_chi_square(chi2 * (n - 1) / n, (n - 1) * (n - 1), "places");
    }
}

typedef struct Order {
    uint64_t seed, epoch;
} Order;

/* Sum of |a(p) - b(p)| over p, of independent permutations: mean (N^2 - 1) / 3, variance (N + 1)(2 N^2 + 7) / 45,
 * near normal for large N (Diaconis and Graham 1977). Six deviations: 2 in a thousand million. */
static void check_far_apart(const Order *a, Order b, size_t N)
{
    double sum = 0;
    for (size_t p = 0; p < N; p++) {
        const double from = a == NULL ? (double)p : (double)loader_shuffle(a->seed, a->epoch, N, p);
        sum += fabs(from - (double)loader_shuffle(b.seed, b.epoch, N, p));
    }
    const double n = (double)N;
    check_close(sum, (n * n - 1) / 3, 6 * sqrt((n + 1) * (2 * n * n + 7) / 45), "displacement");
}

static void test_orders_have_nothing_in_common(void)
{
    const size_t some[] = {1000, 4096, 10007};
    for (size_t k = 0; k < sizeof some / sizeof *some; k++)
        for (uint64_t i = 0; i < 20; i++) {
            check_far_apart(NULL, (Order){i, 0}, some[k]);
            check_far_apart(&(Order){i, 0}, (Order){i + 1, 0}, some[k]);
            check_far_apart(&(Order){3, i}, (Order){3, i + 1}, some[k]);
            check_far_apart(&(Order){i, i + 1}, (Order){i + 1, i}, some[k]);
        }
}

/* --- training --- */

static size_t sequences_of(size_t shard, size_t T) { return (shard_sizes[shard] - 1) / T; }

static size_t sequences_in_set(size_t T)
{
    size_t N = 0;
    for (size_t s = 0; s < SHARDS; s++)
        N += sequences_of(s, T);
    return N;
}

/* Finds the window that begins with this id; returns its number, or N when there is none such. */
static size_t window_of(int32_t id, size_t T, size_t *first_token)
{
    size_t number = 0;
    for (size_t s = 0; s < SHARDS; s++)
        for (size_t k = 0; k < sequences_of(s, T); k++, number++) {
            *first_token = shard_start(s) + k * T;
            if (id_of(*first_token) == id)
                return number;
        }
    return number;
}

/* One epoch from `all` on: each window once, inputs and targets as in the file. */
static void check_epoch(const int32_t *all, size_t T)
{
    const size_t N = sequences_in_set(T);
    bool *seen = calloc(N + 1, sizeof *seen);
    for (size_t n = 0; n < N; n++) {
        const int32_t *inputs = all + n * 2 * T, *targets = inputs + T;
        size_t token = 0;
        const size_t window = window_of(inputs[0], T, &token);
        if (!check(window < N && !seen[window], "T = %zu: sequence %zu begins with %d: no window or one had before", T,
                   n, inputs[0]))
            continue;
        seen[window] = true;
        for (size_t i = 0; i < T; i++)
            check(inputs[i] == id_of(token + i) && targets[i] == id_of(token + i + 1),
                  "T = %zu: sequence %zu, position %zu: input %d, target %d", T, n, i, inputs[i], targets[i]);
    }
    free(seen);
}

static void test_every_window_once_an_epoch(void)
{
    Tokens *tokens = open_tokens("set_*.bin", V);
    for (size_t T = 1; T <= 16; T += T < 8 ? 1 : 4) { /* from 9 on, without some shards */
        const size_t N = sequences_in_set(T), bytes = N * 2 * T * sizeof(int32_t);
        int32_t *all = stream(tokens, (LoaderConfig){T, 42, 0, 1}, 0, 3 * N, 5);
        int32_t *other_seed = stream(tokens, (LoaderConfig){T, 43, 0, 1}, 0, N, 5);
        const int32_t *second = all + N * 2 * T, *third = second + N * 2 * T;
        check_epoch(all, T);
        check_epoch(second, T);
        check_epoch(third, T);
        check_epoch(other_seed, T);
        check(memcmp(all, second, bytes) != 0 && memcmp(second, third, bytes) != 0, "T = %zu: an order again", T);
        check(memcmp(all, other_seed, bytes) != 0, "T = %zu: two seeds, one order", T);
        free(other_seed);
        free(all);
    }
    tokens_close(tokens);
}

/* Shards too short for a sequence, first, in the middle, last, alone and in rows: an epoch has each window of the
 * others once. Token i of shard s is 100 s + i. */
static void test_short_shards_are_left_out(void)
{
    enum { T = 10, MOST = 6 };
    static const size_t sets[][MOST] = {
        {5, 40, 31},         {40, 5, 31},         {40, 31, 5},          {1, 1, 11},        {11, 1, 10},
        {10, 10, 40, 31},    {40, 9, 1, 31},      {40, 31, 10, 10},     {1, 25, 2, 25, 3}, {25, 1, 2, 3, 4, 25},
        {1, 2, 3, 4, 5, 99}, {99, 1, 2, 3, 4, 5}, {3, 11, 3, 3, 11, 3},
    };
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        size_t N = 0, shards = 0, windows[MOST] = {0};
        for (; shards < MOST && sets[i][shards] > 0; shards++) {
            char name[32];
            uint16_t ids[100];
            for (size_t k = 0; k < sets[i][shards]; k++)
                ids[k] = (uint16_t)(100 * shards + k);
            snprintf(name, sizeof name, "short_%zu_%zu.bin", i, shards);
            write_shard(path_of(name).text, ids, sets[i][shards]);
            N += windows[shards] = (sets[i][shards] - 1) / T;
        }
        char pattern[32];
        snprintf(pattern, sizeof pattern, "short_%zu_*.bin", i);
        Tokens *tokens = open_tokens(pattern, V);
        Loader *loader = open_loader(tokens, (LoaderConfig){T, 3, 0, 1}, 0, 2);
        check(loader_epoch_sequences(loader) == N, "set %zu: %zu sequences", i, loader_epoch_sequences(loader));
        int32_t *all = take(loader, T, N, 2);
        bool seen[MOST][10] = {{false}};
        for (const int32_t *at = all; at < all + N * 2 * T; at += 2 * T) {
            const size_t shard = (size_t)at[0] / 100, window = (size_t)at[0] % 100 / T;
            if (check(shard < shards && window < windows[shard] && at[0] % T == 0 && !seen[shard][window],
                      "set %zu: a sequence begins with %d", i, at[0]))
                seen[shard][window] = true;
            check(at[2 * T - 1] == at[0] + T, "set %zu: %d ... %d", i, at[0], at[2 * T - 1]);
        }
        free(all);
        loader_free(loader);
        tokens_close(tokens);
    }
}

static void test_same_stream_for_every_batch_size(void)
{
    enum { T = 8, COUNT = 150 };
    Tokens *tokens = open_tokens("set_*.bin", V);
    int32_t *want = stream(tokens, (LoaderConfig){T, 7, 0, 1}, 0, COUNT, 1);
    const size_t batches[] = {2, 3, 8, COUNT};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        int32_t *got = stream(tokens, (LoaderConfig){T, 7, 0, 1}, 0, COUNT, batches[i]);
        check_same_bits(got, want, COUNT * 2 * T * sizeof *got, "stream");
        free(got);
    }
    /* Batches of 1, 2, 3, 4, 5, 1, 2, ... of one loader. */
    Loader *loader = open_loader(tokens, (LoaderConfig){T, 7, 0, 1}, 0, 5);
    size_t done = 0;
    for (size_t B = 1; done + B <= COUNT; done += B, B = B % 5 + 1) {
        int32_t *got = take(loader, T, B, B);
        check_same_bits(got, want + done * 2 * T, B * 2 * T * sizeof *got, "mixed batches");
        free(got);
    }
    loader_free(loader);
    free(want);
    tokens_close(tokens);
}

/* Steps that grow, each of 12 or more sequences: what 1 to 4 ranks can share. */
static size_t growing(const void *of, size_t step)
{
    (void)of;
    return 12 * (1 + step / 2 % 3);
}

/* What each rank has of a step are parts of one stream, one after the other, however many ranks there are and in
 * whatever batches they take them. */
static void test_ranks_share_each_step(void)
{
    enum { T = 8, STEPS = 9, START = 5, FIRST = 3 };
    Tokens *tokens = open_tokens("set_*.bin", V);
    size_t count = 0;
    for (size_t step = FIRST; step < FIRST + STEPS; step++)
        count += growing(NULL, step);
    int32_t *want = stream(tokens, (LoaderConfig){T, 9, 0, 1}, START, count, 3);
    for (size_t world = 1; world <= 4; world++)
        for (size_t rank = 0; rank < world; rank++) {
            const LoaderConfig config = {T, 9, rank, world, growing, NULL, FIRST};
            Loader *loader = open_loader(tokens, config, START, 3);
            const int32_t *at = want;
            for (size_t step = FIRST; step < FIRST + STEPS; step++) {
                const size_t S = growing(NULL, step), part = S / world;
                check((size_t)loader_position(loader) == START + (size_t)(at - want) / (2 * T),
                      "rank %zu of %zu: step %zu begins at %zu", rank, world, step, (size_t)loader_position(loader));
                int32_t *got = take(loader, T, part, 1 + step % 3);
                check_same_bits(got, at + rank * part * 2 * T, part * 2 * T * sizeof *got, "a rank's part of a step");
                free(got);
                at += S * 2 * T;
            }
            loader_free(loader);
        }
    free(want);
    tokens_close(tokens);
}

static void test_resume_anywhere(void)
{
    enum { T = 8, STEPS = 11, WORLD = 2, FIRST = 1 };
    Tokens *tokens = open_tokens("set_*.bin", V);
    for (size_t rank = 0; rank < WORLD; rank++) {
        size_t count = 0, done = 0;
        for (size_t step = FIRST; step < FIRST + STEPS; step++)
            count += growing(NULL, step) / WORLD;
        LoaderConfig config = {T, 11, rank, WORLD, growing, NULL, FIRST};
        int32_t *want = stream(tokens, config, 0, count, 4);
        for (size_t step = FIRST; step < FIRST + STEPS; step++) {
            config.step = FIRST;
            Loader *before = open_loader(tokens, config, 0, 4);
            free(take(before, T, done, 4));
            const uint64_t position = loader_position(before);
            loader_free(before);
            config.step = step;
            int32_t *got = stream(tokens, config, position, count - done, 3);
            check_same_bits(got, want + done * 2 * T, (count - done) * 2 * T * sizeof *got, "resumed");
            free(got);
            done += growing(NULL, step) / WORLD;
        }
        free(want);
    }
    tokens_close(tokens);
}

static void test_free_in_the_middle(void)
{
    Tokens *tokens = open_tokens("set_*.bin", V);
    for (size_t i = 0; i < 100; i++) {
        int32_t inputs[8 * 8], targets[8 * 8];
        Loader *loader = open_loader(tokens, (LoaderConfig){8, i, 0, 1}, i * i, 1 + 10 * (i % 7));
        if (i % 3 > 0)
            next(loader, 1, inputs, targets);
        if (i % 5 > 3)
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL); /* lets the thread fill its queue and wait */
        loader_free(loader);
    }
    loader_free(NULL);
    tokens_close(tokens);
    tokens_close(NULL);
}

/* --- validation --- */

/* Reads all windows, B at a time, and checks that their targets are the set's first `want`, in order, each predicted
 * from the tokens just before it. */
static void check_windows(const Tokens *tokens, size_t T, size_t targets, size_t want, size_t B)
{
    int32_t *in = malloc(B * T * sizeof *in), *out = malloc(B * T * sizeof *out);
    const size_t count = windows_count(tokens, T, targets);
    size_t found = 0, shard = 0, position = 1; /* of the next target */
    for (size_t w = 0; w < count; w += B) {
        Error e = {""};
        check(windows_read(tokens, T, targets, w, B, in, out, &e) == 0, "%s", e.text);
        for (size_t i = 0; i < B * T; i++) {
            if (out[i] == -1) {
                check(in[i] == 0, "T = %zu, B = %zu: input %d without a target", T, B, in[i]);
                check(i % T > 0 || w + i / T >= count, "T = %zu, B = %zu: window %zu is empty", T, B, w + i / T);
                continue;
            }
            check(i % T == 0 || out[i - 1] == in[i], "T = %zu, B = %zu: a hole within a window", T, B);
            if (!check(found < want, "T = %zu, B = %zu: more than %zu targets", T, B, want))
                break;
            for (; position == shard_sizes[shard]; position = 1)
                shard++;
            const size_t token = shard_start(shard) + position++;
            check(out[i] == id_of(token) && in[i] == id_of(token - 1), "T = %zu, B = %zu: target %zu is %d after %d", T,
                  B, found, out[i], in[i]);
            found++;
        }
    }
    check(found == want, "T = %zu, B = %zu: %zu targets, want %zu", T, B, found, want);
    free(in);
    free(out);
}

static void test_windows_cover_the_first_targets(void)
{
    const size_t all = ALL - SHARDS;
    const size_t lengths[] = {1, 2, 7, 8, 64, 256, 300, 1000}, budgets[] = {0, 1, 7, 99, 100, 101, 163, 164, 457};
    const size_t batches[] = {1, 2, 3, 8};
    Tokens *tokens = open_tokens("set_*.bin", V);
    for (size_t t = 0; t < 8; t++)
        for (size_t b = 0; b < 4; b++) {
            for (size_t k = 0; k < 9; k++)
                check_windows(tokens, lengths[t], budgets[k], budgets[k], batches[b]);
            check_windows(tokens, lengths[t], all, all, batches[b]);
            check_windows(tokens, lengths[t], SIZE_MAX, all, batches[b]);
        }
    tokens_close(tokens);
}

static void test_windows_are_counted(void)
{
    Tokens *tokens = open_tokens("set_*.bin", V);
    /* 100, 63, 256, 8, 16, 15 targets in the six shards. */
    const struct {
        size_t T, targets, count;
    } cases[] = {
        {1, 0, 0},     {1, 5, 5},     {8, 8, 1},          {8, 9, 2},          {8, 100, 13},
        {8, 101, 14},  {8, 163, 21},  {8, 458, 58},       {8, SIZE_MAX, 58},  {100, 100, 1},
        {100, 163, 2}, {300, 458, 6}, {SIZE_MAX, 101, 2}, {SIZE_MAX, 458, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t count = windows_count(tokens, cases[i].T, cases[i].targets);
        check(count == cases[i].count, "T = %zu, %zu targets: %zu windows, want %zu", cases[i].T, cases[i].targets,
              count, cases[i].count);
    }
    tokens_close(tokens);
}

static void test_windows_past_the_end_are_unused(void)
{
    enum { T = 8, B = 3 };
    int32_t in[B * T], out[B * T];
    Error e = {""};
    Tokens *tokens = open_tokens("set_*.bin", V);
    const size_t starts[] = {58, 1000, SIZE_MAX - B};
    for (size_t k = 0; k < 3; k++) {
        check(windows_read(tokens, T, SIZE_MAX, starts[k], B, in, out, &e) == 0, "%s", e.text);
        for (size_t i = 0; i < B * T; i++)
            check(in[i] == 0 && out[i] == -1, "window past the end: input %d, target %d", in[i], out[i]);
    }
    tokens_close(tokens);
}

/* --- errors --- */

static void check_no_sequence(const Tokens *tokens, size_t T)
{
    Loader *loader;
    Error e = {""};
    char sentence[128];
    const LoaderConfig config = {.T = T, .world = 1};
    check(loader_create(tokens, &config, 0, 1, &loader, &e) == -1, "T = %zu was taken", T);
    snprintf(sentence, sizeof sentence, "has %zu tokens; one sequence of %zu and its last target take more",
             tokens_shard_size(tokens, 0), T);
    check_sentence(&e, tokens_shard_name(tokens, 0), sentence);
}

static void test_no_shard_has_a_sequence(void)
{
    Tokens *all = open_tokens("set_*.bin", V), *one = open_tokens("set_3.bin", V);
    check_no_sequence(all, 257);
    check_no_sequence(all, SIZE_MAX);
    check_no_sequence(one, 9);
    tokens_close(one);
    tokens_close(all);
}

static void test_no_memory_for_the_queue(void)
{
    Tokens *tokens = open_tokens("set_*.bin", V);
    const LoaderConfig config = {.T = 8, .world = 1};
    Loader *loader;
    Error e = {""};
    check(loader_create(tokens, &config, 0, SIZE_MAX / 16, &loader, &e) == -1, "made");
    check(strncmp(e.text, "out of memory for two batches of ", 33) == 0, "%s", e.text);
    tokens_close(tokens);
}

/* An error the thread meets is reported when its sequence is due, every time; the position stays. The file's ids are
 * 0, 1, 2, ...; `good` sequences come before the first that cannot be read. */
static void check_thread_error(const Tokens *tokens, size_t good, const char *sentence)
{
    enum { T = 10, B = 4, N = 9, SEED = 1 };
    int32_t inputs[B * T], targets[B * T];
    Error e = {""};
    Loader *loader = open_loader(tokens, (LoaderConfig){T, SEED, 0, 1}, 0, B);
    check(loader_epoch_sequences(loader) == N, "%zu sequences", loader_epoch_sequences(loader));
    for (size_t i = 0; i < good; i++) {
        const int32_t first = T * (int32_t)loader_shuffle(SEED, 0, N, i);
        next(loader, 1, inputs, targets);
        check(inputs[0] == first && targets[T - 1] == first + T, "sequence %zu: %d ... %d", i, inputs[0],
              targets[T - 1]);
    }
    for (size_t now = 1; now <= B; now++) {
        check(loader_next(loader, now, inputs, targets, &e) == -1, "a sequence that cannot be read was given");
        check_sentence(&e, tokens_shard_name(tokens, 0), sentence);
        check(loader_position(loader) == good, "position %zu after %zu", (size_t)loader_position(loader), good);
    }
    loader_free(loader);
}

static void test_errors_of_the_thread(void)
{
    const Path path = path_of("thread.bin");
    uint16_t ids[91];
    for (uint16_t i = 0; i < 91; i++)
        ids[i] = i;
    write_shard(path.text, ids, 91);
    Tokens *tokens = open_tokens("thread.bin", 91);

    ids[55] = 4000; /* in sequence 5 alone */
    write_shard(path.text, ids, 91);
    size_t good = 0;
    while (loader_shuffle(1, 0, 9, good) != 5)
        good++;
    check(good > 3, "%zu good sequences are no test", good);
    check_thread_error(tokens, good, "token 55 is 4000, but the vocabulary ends at 90" NEEDS_GPT2);

    write_shard(path.text, ids, 50);
    check_thread_error(tokens, 0, "had 1206 bytes when it was opened and now has 1124");
    write_shard(path.text, ids, 90);
    check_thread_error(tokens, 0, "had 1206 bytes when it was opened and now has 1204");
    unlink(path.text);
    check_thread_error(tokens, 0, "cannot be opened: No such file or directory");
    tokens_close(tokens);
}

/* --- real shards --- */

static void test_real_shards(void)
{
    enum { T = 64, COUNT = 50, EOT = 50256 };
    const char *path = "../shared/data/docs_val_000000.bin";
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        check_skip("../shared/data/docs_val_000000.bin is not here");
        return;
    }
    const size_t n = 1000000;
    unsigned char *raw = malloc(HEADER_BYTES + 2 * n);
    check(fread(raw, 1, HEADER_BYTES + 2 * n, file) == HEADER_BYTES + 2 * n, "%s: cannot be read", path);
    fclose(file);
    Tokens *tokens = NULL;
    Error e = {""};
    check(tokens_open(path, EOT + 1, &tokens, &e) == 0, "%s", e.text);
    int32_t *ids = malloc(n * sizeof *ids);
    check(tokens_read(tokens, 0, 0, n, ids, &e) == 0, "%s", e.text);
    size_t documents = 0;
    for (size_t i = 0; i < n; i++) {
        check(ids[i] == raw[HEADER_BYTES + 2 * i] + 256 * raw[HEADER_BYTES + 2 * i + 1], "token %zu: %d", i, ids[i]);
        documents += ids[i] == EOT;
    }
    check(documents == 728, "%zu documents", documents);
    int32_t *all = stream(tokens, (LoaderConfig){T, 1, 0, 1}, 0, COUNT, 4);
    const uint64_t N = (n - 1) / T;
    for (size_t k = 0; k < COUNT; k++) {
        const int32_t *want = ids + loader_shuffle(1, 0, N, k) * T;
        check_same_bits(all + k * 2 * T, want, T * sizeof *all, "inputs");
        check_same_bits(all + k * 2 * T + T, want + 1, T * sizeof *all, "targets");
    }
    free(all);
    free(ids);
    free(raw);
    tokens_close(tokens);
}

int main(void)
{
    if (!shards_begin())
        return 1;
    check_run("shuffle: a bijection", test_shuffle_is_a_bijection);
    check_run("shuffle: the same for ever", test_shuffle_stays_the_same);
    check_run("shuffle: every small permutation is as likely", test_every_small_permutation_is_as_likely);
    check_run("shuffle: every place is as likely", test_every_place_is_as_likely);
    check_run("shuffle: orders have nothing in common", test_orders_have_nothing_in_common);
    check_run("loader: every window once an epoch, as in the file", test_every_window_once_an_epoch);
    check_run("loader: shards too short are left out", test_short_shards_are_left_out);
    check_run("loader: the same stream for every batch size", test_same_stream_for_every_batch_size);
    check_run("loader: ranks deal out one stream", test_ranks_share_each_step);
    check_run("loader: resume anywhere", test_resume_anywhere);
    check_run("loader: freed in the middle", test_free_in_the_middle);
    check_run("windows: the first targets for every B and T", test_windows_cover_the_first_targets);
    check_run("windows: counted", test_windows_are_counted);
    check_run("windows: unused past the end", test_windows_past_the_end_are_unused);
    check_run("errors: no shard has a sequence", test_no_shard_has_a_sequence);
    check_run("errors: no memory for the queue", test_no_memory_for_the_queue);
    check_run("errors: met by the thread", test_errors_of_the_thread);
    check_run("real shards", test_real_shards);
    folder_end();
    return check_summary();
}
