#include "data/loader.h"

#include "base/random.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A sequence of this rank's: the step's begin in the stream, and how many of the step's come before it. */
typedef struct Place {
    size_t step, part; /* sequences that the rank has of the step */
    uint64_t begin;
    size_t before;
} Place;

/*
 * The queue is a ring of slots, each a sequence of T + 1 tokens. The thread fills slot `made % slots`, loader_next
 * empties slot `taken % slots`; both counters only grow and are written under the lock. A slot's tokens need no lock:
 * they belong to the thread until `made` passes them, then to the caller until `taken` does.
 */
struct Loader {
    const Tokens *tokens;
    LoaderConfig config;
    size_t *first; /* first[s]: index of shard s's first sequence; first[shards]: N */
    Place reading; /* the thread's: what it reads next */
    Place taking;  /* the caller's */

    size_t slots;
    int32_t *ring; /* (slots, T+1) */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    uint64_t made, taken;
    bool failed, stop;
    Error error; /* why the thread stopped when `failed` */
};

/* --- order --- */

uint64_t loader_shuffle(uint64_t seed, uint64_t epoch, uint64_t N, uint64_t p)
{
    /* Swap-or-not (Hoang, Morris and Rogaway 2012): a round draws k, which pairs every p with k - p mod N, and tosses
     * a coin for each pair to decide whether to swap it. Both ends of a pair see the same coin, so a round is a
     * bijection for any N. Two positions stay in step through a round with probability 1/2, and through all 48 with
     * 2^-48. This takes a microsecond or two. (A Feistel network with cycle walking is faster, but gives only even
     * permutations of its 4^n pairs, which shows in the orders of five or six sequences.) */
    enum { ROUNDS = 48 };
    const uint64_t golden = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio: splitmix64's increment */
    assert(p < N && N <= (uint64_t)1 << 63);
    const uint64_t key = random_mix(random_mix(seed + golden) + epoch * golden);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        const uint64_t draw = random_mix(key + round * golden);
        const uint64_t k = draw % N;
        const uint64_t partner = k >= p ? k - p : k + N - p;
        const uint64_t pair = p > partner ? p : partner;
        const bool swap = random_mix(draw + pair) >> 63 != 0;
        p = swap ? partner : p;
    }
    return p;
}

/* --- the thread --- */

/* The shard that holds sequence `index`, the last with first[s] <= index: any before it that begin there are empty. */
static size_t find_shard(const Loader *l, size_t index)
{
    size_t low = 0, high = tokens_shards(l->tokens);
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (l->first[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Reads item p of the stream: T + 1 tokens. */
static int read_sequence(const Loader *l, uint64_t p, int32_t *to, Error *e)
{
    const uint64_t N = loader_epoch_sequences(l);
    const size_t index = (size_t)loader_shuffle(l->config.seed, p / N, N, p % N);
    const size_t shard = find_shard(l, index);
    const size_t T = l->config.T;
    return tokens_read(l->tokens, shard, (index - l->first[shard]) * T, T + 1, to, e);
}

static Place place_at(const Loader *l, size_t step, uint64_t begin)
{
    const LoaderConfig *c = &l->config;
    return (Place){
        .step = step, .part = c->sequences != NULL ? c->sequences(c->of, step) / c->world : 1, .begin = begin};
}

static uint64_t item_at(const Loader *l, const Place *p) { return p->begin + l->config.rank * p->part + p->before; }

static void advance(const Loader *l, Place *p)
{
    if (++p->before == p->part)
        *p = place_at(l, p->step + 1, p->begin + p->part * l->config.world);
}

static int32_t *slot(const Loader *l, uint64_t k) { return l->ring + (size_t)(k % l->slots) * (l->config.T + 1); }

static void *prefetch(void *loader)
{
    Loader *l = loader;
    pthread_mutex_lock(&l->lock);
    while (!l->stop && !l->failed) {
        if (l->made - l->taken == l->slots) {
            pthread_cond_wait(&l->emptied, &l->lock);
            continue;
        }
        const uint64_t k = l->made;
        pthread_mutex_unlock(&l->lock);
        const int status = read_sequence(l, item_at(l, &l->reading), slot(l, k), &l->error);
        advance(l, &l->reading);
        pthread_mutex_lock(&l->lock);
        if (status == 0)
            l->made++;
        else
            l->failed = true;
        pthread_cond_signal(&l->filled);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* --- the loader --- */

/* Sequences of each shard, which may be none, but not in all. */
static int index_shards(const Tokens *tokens, size_t T, size_t *first, Error *e)
{
    const size_t shards = tokens_shards(tokens);
    first[0] = 0;
    for (size_t s = 0; s < shards; s++)
        first[s + 1] = first[s] + (tokens_shard_size(tokens, s) - 1) / T;
    if (first[shards] > 0)
        return 0;
    return error_set(e, "%s: has %zu tokens; one sequence of %zu and its last target take more",
                     tokens_shard_name(tokens, 0), tokens_shard_size(tokens, 0), T);
}

/* Allocates index and ring; the loader is zeroed except for tokens and config. */
static int allocate(Loader *l, size_t max_B, Error *e)
{
    const size_t T = l->config.T;
    l->first = malloc((tokens_shards(l->tokens) + 1) * sizeof *l->first);
    if (l->first == NULL)
        return error_set(e, "out of memory for the index of %zu token shards", tokens_shards(l->tokens));
    if (index_shards(l->tokens, T, l->first, e) != 0)
        return -1;
    /* T + 1 cannot overflow: a shard is no shorter. */
    if (max_B <= SIZE_MAX / 2 / sizeof *l->ring / (T + 1)) {
        l->slots = 2 * max_B;
        l->ring = malloc(l->slots * (T + 1) * sizeof *l->ring);
    }
    if (l->ring == NULL)
        return error_set(e, "out of memory for two batches of %zu sequences of %zu tokens", max_B, T);
    return 0;
}

static void release(Loader *l)
{
    free(l->first);
    free(l->ring);
    free(l);
}

static int start_thread(Loader *l, Error *e)
{
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->filled, NULL);
    pthread_cond_init(&l->emptied, NULL);
    const int failure = pthread_create(&l->thread, NULL, prefetch, l);
    return failure == 0 ? 0 : error_set(e, "cannot start the thread that reads ahead: %s", strerror(failure));
}

int loader_create(const Tokens *tokens, const LoaderConfig *config, uint64_t position, size_t max_B, Loader **out,
                  Error *e)
{
    assert(config->T > 0 && config->rank < config->world && max_B > 0);
    assert(config->world == 1 || config->sequences != NULL);
    Loader *l = calloc(1, sizeof *l);
    if (l == NULL)
        return error_set(e, "out of memory for a loader");
    l->tokens = tokens;
    l->config = *config;
    l->reading = l->taking = place_at(l, config->step, position);
    if (allocate(l, max_B, e) != 0 || start_thread(l, e) != 0) {
        release(l);
        return -1;
    }
    *out = l;
    return 0;
}

void loader_free(Loader *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->emptied);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->emptied);
    pthread_cond_destroy(&l->filled);
    pthread_mutex_destroy(&l->lock);
    release(l);
}

int loader_next(Loader *l, size_t B, int32_t *inputs, int32_t *targets, Error *e)
{
    assert(B <= l->slots / 2);
    const size_t T = l->config.T;
    pthread_mutex_lock(&l->lock);
    while (l->made - l->taken < B && !l->failed)
        pthread_cond_wait(&l->filled, &l->lock);
    const bool enough = l->made - l->taken >= B;
    pthread_mutex_unlock(&l->lock);
    if (!enough) {
        *e = l->error;
        return -1;
    }
    for (size_t b = 0; b < B; b++) {
        const int32_t *sequence = slot(l, l->taken + b);
        memcpy(inputs + b * T, sequence, T * sizeof *inputs);
        memcpy(targets + b * T, sequence + 1, T * sizeof *targets);
    }
    for (size_t b = 0; b < B; b++)
        advance(l, &l->taking);
    pthread_mutex_lock(&l->lock);
    l->taken += B;
    pthread_cond_signal(&l->emptied);
    pthread_mutex_unlock(&l->lock);
    return 0;
}

uint64_t loader_position(const Loader *l) { return l->taking.begin; }

size_t loader_epoch_sequences(const Loader *l) { return l->first[tokens_shards(l->tokens)]; }

/* --- validation --- */

/* Targets begin+1 .. begin+targets of a shard; inputs begin .. begin+targets-1. */
typedef struct Window {
    size_t shard, begin, targets;
} Window;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* n / divisor, rounded up. */
static size_t quotient_up(size_t n, size_t divisor) { return n / divisor + (n % divisor != 0); }

/* Window `index`; without targets if it is past the last. */
static Window find_window(const Tokens *tokens, size_t T, size_t targets, size_t index)
{
    for (size_t s = 0; s < tokens_shards(tokens) && targets > 0; s++) {
        const size_t here = smaller(targets, tokens_shard_size(tokens, s) - 1);
        const size_t windows = quotient_up(here, T);
        if (index < windows)
            return (Window){.shard = s, .begin = index * T, .targets = smaller(T, here - index * T)};
        index -= windows;
        targets -= here;
    }
    return (Window){0, 0, 0};
}

size_t windows_count(const Tokens *tokens, size_t T, size_t targets)
{
    size_t count = 0;
    for (size_t s = 0; s < tokens_shards(tokens); s++) {
        const size_t here = smaller(targets, tokens_shard_size(tokens, s) - 1);
        count += quotient_up(here, T);
        targets -= here;
    }
    return count;
}

int windows_read(const Tokens *tokens, size_t T, size_t targets, size_t first_window, size_t B, int32_t *inputs,
                 int32_t *targets_out, Error *e)
{
    for (size_t b = 0; b < B; b++, inputs += T, targets_out += T) {
        const Window w = find_window(tokens, T, targets, first_window + b);
        if (w.targets > 0 && (tokens_read(tokens, w.shard, w.begin, w.targets, inputs, e) != 0 ||
                              tokens_read(tokens, w.shard, w.begin + 1, w.targets, targets_out, e) != 0))
            return -1;
        for (size_t i = w.targets; i < T; i++) {
            inputs[i] = 0;
            targets_out[i] = -1;
        }
    }
    return 0;
}
