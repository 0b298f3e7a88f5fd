/* What ranks tell each other, between processes that this program starts: over TCP by their environment alone, and
 * by mpirun where there is one. Expected values come from numbers that each rank can compute for all the others. */
#include "comm/comm.h"

#include "base/clock.h"
#include "base/random.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/ranks.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pause_for(double seconds)
{
    const time_t whole = (time_t)seconds;
    nanosleep(&(struct timespec){whole, (long)(1e9 * (seconds - (double)whole))}, NULL);
}

/* --------------------------------------------------------------------------------------------------------------
 * What ranks have, and its sums
 */

/* Of very different sizes, so that another order of a sum has other bits. */
static float value_of(size_t rank, size_t i, uint64_t seed)
{
    const uint64_t bits = random_mix(random_mix(seed + 1) + ((uint64_t)rank << 40) + i);
    return ldexpf((float)(int32_t)(bits >> 32) * 0x1p-31f, (int)(bits & 15) - 8);
}

/* Ranks under the left branch of a binary tree over n of them: the largest power of two below n. */
static size_t left_of(size_t n)
{
    size_t left = 1;
    while (2 * left < n)
        left *= 2;
    return left;
}

/* The sum over ranks first to first + n - 1. */
static float tree_of(size_t first, size_t n, size_t i, uint64_t seed)
{
    if (n == 1)
        return value_of(first, i, seed);
    return tree_of(first, left_of(n), i, seed) + tree_of(first + left_of(n), n - left_of(n), i, seed);
}

/* The same in double, of numbers with a third of them added, which fp32 does not have. */
static double wide_value_of(size_t rank, size_t i) { return (double)value_of(rank, i, 77) * (4. / 3); }

static double wide_tree_of(size_t first, size_t n, size_t i)
{
    if (n == 1)
        return wide_value_of(first, i);
    return wide_tree_of(first, left_of(n), i) + wide_tree_of(first + left_of(n), n - left_of(n), i);
}

/* Byte i of what a rank sends in a round. */
static unsigned char byte_of(size_t rank, size_t round, size_t i)
{
    return (unsigned char)(131 * i + (i >> 8) * 7 + 29 * rank + 17 * round + (i >> 16));
}

static void fill_bytes(unsigned char *x, size_t n, size_t rank, size_t round)
{
    for (size_t i = 0; i < n; i++)
        x[i] = byte_of(rank, round, i);
}

static unsigned char *make_bytes(size_t n)
{
    unsigned char *x = calloc(n, 1);
    if (x == NULL)
        abort();
    return x;
}

/* --------------------------------------------------------------------------------------------------------------
 * A few bytes
 */

static void exchange_bytes(Comm *comm, size_t size, size_t round)
{
    const Ranks r = comm_ranks(comm);
    unsigned char *mine = make_bytes(size), *all = make_bytes(r.world * size + 1), *want = make_bytes(r.world * size);
    fill_bytes(mine, size, r.rank, round);
    for (size_t i = 0; i < r.world; i++)
        fill_bytes(want + i * size, size, i, round);
    all[r.world * size] = 0xa5;
    comm_exchange(comm, mine, size, all);
    check_same_bits(all, want, r.world * size, "what the ranks exchange");
    check(all[r.world * size] == 0xa5, "an exchange of %zu bytes writes behind its end", size);
    free(mine);
    free(all);
    free(want);
}

static void broadcast_bytes(Comm *comm, size_t size, size_t round)
{
    unsigned char *x = make_bytes(size), *want = make_bytes(size);
    fill_bytes(x, size, comm_ranks(comm).rank, round);
    fill_bytes(want, size, 0, round);
    comm_broadcast(comm, x, size);
    check_same_bits(x, want, size, "what rank 0 broadcasts");
    free(x);
    free(want);
}

/* Of n doubles; then of integers, exactly. */
static void sum_doubles(Comm *comm, size_t n)
{
    const Ranks r = comm_ranks(comm);
    double *x = make_doubles(n), *want = make_doubles(n);
    for (size_t i = 0; i < n; i++) {
        x[i] = wide_value_of(r.rank, i);
        want[i] = wide_tree_of(0, r.world, i);
    }
    comm_sum(comm, x, n);
    check_same_bits(x, want, n * sizeof *x, "a sum over the ranks in a binary tree");
    for (size_t i = 0; i < n; i++)
        x[i] = (double)((r.rank + 1) * (i + 1));
    comm_sum(comm, x, n);
    for (size_t i = 0; i < n; i++)
        check(x[i] == (double)((i + 1) * r.world * (r.world + 1) / 2), "a sum of integers is %g", x[i]);
    free(x);
    free(want);
}

/* `failing`: a bit for each rank; the first of them is the one that all report. */
static void agree_on(Comm *comm, size_t failing)
{
    const Ranks r = comm_ranks(comm);
    Error e = {"untouched"}, want = e;
    size_t first = 0;
    while (first < r.world && !(failing >> first & 1))
        first++;
    int status = 0;
    if (failing >> r.rank & 1) {
        status = 3 + (int)r.rank;
        error_set(&e, "rank %zu has no file", r.rank);
    }
    if (first < r.world) {
        char host[64] = "";
        gethostname(host, sizeof host - 1);
        if (first == 0)
            error_set(&want, "rank 0 has no file");
        else
            error_set(&want, "rank %zu on %s: rank %zu has no file", first, host, first);
    }
    const int agreed = comm_agree(comm, status, &e);
    check(agreed == (first < r.world ? 3 + (int)first : 0), "ranks agree on %d when %zx fail", agreed, failing);
    check(strcmp(e.text, want.text) == 0, "ranks agree on '%s', not '%s'", e.text, want.text);
}

static void part_few(Comm *comm, const char *how)
{
    static const size_t sizes[] = {1, 2, 3, 64, 5000, 65537, 5000000};
    const Ranks r = comm_ranks(comm);
    (void)how;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        broadcast_bytes(comm, sizes[i], i);
        if (sizes[i] < 1000000)
            exchange_bytes(comm, sizes[i], i);
    }
    sum_doubles(comm, 1);
    sum_doubles(comm, 300);
    for (size_t top = 0; top < r.world; top++)
        check(comm_most(comm, r.rank == top ? 1000 : 7 * r.rank) == 1000, "the most is not rank %zu's", top);
    check(comm_most(comm, 0) == 0, "the most of zeros");
    check(comm_most(comm, SIZE_MAX - r.world + r.rank + 1) == SIZE_MAX, "the most of the largest numbers");
    agree_on(comm, 0);
    agree_on(comm, 1);
    agree_on(comm, (size_t)1 << (r.world - 1));
    agree_on(comm, (size_t)1 << (r.world - 1) | (size_t)1 << r.world / 2);
    agree_on(comm, ((size_t)1 << r.world) - 1);
    agree_on(comm, 0);
    check(comm_speaks(comm) == (r.rank == 0), "rank %zu speaks", r.rank);
    const CommNeighbours n = comm_neighbours(comm);
    check(n.index == r.rank && n.count == r.world && n.sharers >= 1 && n.sharers <= r.world,
          "rank %zu is number %zu of %zu neighbours, %zu sharers", r.rank, n.index, n.count, n.sharers);
    check(!comm_lost(comm, NULL), "a rank is lost");
}

/* --------------------------------------------------------------------------------------------------------------
 * Pieces
 */

enum { LISTS = 3, PIECES_MOST = 12, GUARD = 16, GAP_MOST = 50 };

typedef struct List {
    CommPiece pieces[PIECES_MOST];
    size_t count;
} List;

/* Pieces from `first` on, with gaps between some; most are of `most` floats or fewer. Some lists leave a rank out.
 * Returns where they end. */
static size_t draw_list(Random *random, size_t world, size_t first, size_t most, List *list)
{
    const size_t idle = random_below(random, world + 1);
    list->count = random_below(random, PIECES_MOST + 1);
    for (size_t i = 0; i < list->count; i++) {
        CommPiece *p = &list->pieces[i];
        first += random_below(random, 2) * random_below(random, GAP_MOST);
        p->first = first;
        p->n = 1 + random_below(random, (size_t)1 << random_below(random, 18)) % most;
        if (random_below(random, 16) == 0)
            p->n = most;
        p->rank = random_below(random, world);
        if (p->rank == idle)
            p->rank = (p->rank + 1) % world;
        first += p->n;
    }
    return first + random_below(random, GAP_MOST);
}

static size_t floats_of(const List *list, size_t rank)
{
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        n += list->pieces[i].rank == rank ? list->pieces[i].n : 0;
    return n;
}

static size_t floats_in(const List *list)
{
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        n += list->pieces[i].n;
    return n;
}

/* The owner of each float of an arena; SIZE_MAX: none. */
static size_t *owners_of(const List *lists, size_t list_count, size_t n)
{
    size_t *owners = malloc((n + 1) * sizeof *owners);
    if (owners == NULL)
        abort();
    for (size_t i = 0; i < n; i++)
        owners[i] = SIZE_MAX;
    for (size_t k = 0; k < list_count; k++)
        for (const CommPiece *p = lists[k].pieces; p < lists[k].pieces + lists[k].count; p++)
            for (size_t i = 0; i < p->n; i++)
                owners[p->first + i] = p->rank;
    return owners;
}

static float *fill_values(float *x, size_t n, size_t rank, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value_of(rank, i, seed);
    return x;
}

static void check_cost(Comm *comm, size_t sent, const char *what)
{
    const CommCost cost = comm_cost(comm);
    check(cost.sent == sent && cost.seconds >= 0 && cost.seconds < 60, "%s: %zu bytes sent, not %zu, in %g s", what,
          (size_t)cost.sent, sent, cost.seconds);
}

/* Lists one after the other, each with scratch of its own, of exactly the size that is asked for. */
static void reduce(Comm *comm, float *arena, const List *lists, size_t count)
{
    const Ranks r = comm_ranks(comm);
    float *scratch[LISTS];
    size_t sent = 0;
    comm_cost(comm);
    for (size_t k = 0; k < count; k++) {
        const size_t n = comm_scratch(comm, lists[k].pieces, lists[k].count);
        check(n == (r.world - 1) * floats_of(&lists[k], r.rank), "%zu floats of scratch", n);
        check(comm_share(lists[k].pieces, lists[k].count, r.world - 1) == floats_of(&lists[k], r.world - 1),
              "the last rank's share");
        scratch[k] = fill_values(make_floats(n + 2 * GUARD), n + 2 * GUARD, 99, 1);
        comm_reduce_begin(comm, arena, lists[k].pieces, lists[k].count, scratch[k] + GUARD, NULL);
        sent += (floats_in(&lists[k]) - floats_of(&lists[k], r.rank)) * sizeof(float);
    }
    comm_reduce_end(comm, NULL);
    check_cost(comm, sent, "a sum of pieces");
    for (size_t k = 0; k < count; k++) {
        const size_t n = comm_scratch(comm, lists[k].pieces, lists[k].count);
        for (size_t i = 0; i < GUARD; i++)
            check(scratch[k][i] == value_of(99, i, 1) && scratch[k][GUARD + n + i] == value_of(99, GUARD + n + i, 1),
                  "a sum of pieces writes outside its scratch");
        free(scratch[k]);
    }
}

/* Sums lists over the ranks: own pieces against the tree, and the floats in no piece. */
static void check_reduce(Comm *comm, const List *lists, size_t count, size_t n, uint64_t seed)
{
    const Ranks r = comm_ranks(comm);
    float *arena = fill_values(make_floats(n + 1), n, r.rank, seed);
    size_t *owners = owners_of(lists, count, n), wrong = 0, at = 0;
    reduce(comm, arena, lists, count);
    for (size_t i = 0; i < n; i++) {
        const float want = owners[i] == r.rank ? tree_of(0, r.world, i, seed) : value_of(r.rank, i, seed);
        if ((owners[i] == r.rank || owners[i] == SIZE_MAX) && memcmp(&want, &arena[i], sizeof want) != 0 &&
            wrong++ == 0)
            at = i;
    }
    check(wrong == 0, "%zu of %zu floats are not the sum, or were none's and have changed; the first is %zu, of %s",
          wrong, n, at, wrong > 0 && owners[at] == r.rank ? "this rank" : "none");
    free(arena);
    free(owners);
}

/* Every piece becomes its owner's, everywhere or on rank 0; nothing else changes. */
static void check_gather(Comm *comm, const List *list, size_t n, bool collects, uint64_t seed)
{
    const Ranks r = comm_ranks(comm);
    float *arena = fill_values(make_floats(n + 1), n, r.rank, seed);
    size_t *owners = owners_of(list, 1, n), wrong = 0;
    const size_t own = floats_of(list, r.rank) * sizeof(float);
    comm_cost(comm);
    if (collects)
        comm_collect(comm, arena, list->pieces, list->count);
    else
        comm_all_gather(comm, arena, list->pieces, list->count, NULL);
    check_cost(comm, collects ? (r.rank > 0 ? own : 0) : own * (r.world - 1), collects ? "collecting" : "gathering");
    for (size_t i = 0; i < n; i++) {
        const bool foreign = owners[i] != SIZE_MAX && (!collects || r.rank == 0);
        const float want = value_of(foreign ? owners[i] : r.rank, i, seed);
        wrong += memcmp(&want, &arena[i], sizeof want) != 0;
    }
    check(wrong == 0, "%zu of %zu floats are wrong after %s", wrong, n, collects ? "comm_collect" : "comm_all_gather");
    free(arena);
    free(owners);
}

static void part_pieces(Comm *comm, const char *how)
{
    const Ranks r = comm_ranks(comm);
    Random random = random_make(5, r.world);
    (void)how;
    for (uint64_t round = 0; round < 5; round++) {
        List lists[LISTS];
        size_t n = 0;
        for (size_t k = 0; k < LISTS; k++)
            n = draw_list(&random, r.world, n, 200000, &lists[k]);
        check_reduce(comm, lists, LISTS, n, round);
        for (size_t k = 0; k < LISTS; k++) {
            check_gather(comm, &lists[k], n, false, round + 10);
            check_gather(comm, &lists[k], n, true, round + 20);
        }
    }
    check_reduce(comm, &(List){.count = 0}, 1, 0, 1);
    comm_cost(comm);
    comm_exchange(comm, &(uint64_t){0}, 8, (uint64_t[64]){0});
    check_cost(comm, 8 * (r.world - 1), "an exchange");
    comm_broadcast(comm, (char[100]){0}, 100);
    check_cost(comm, r.rank == 0 ? 100 * (r.world - 1) : 0, "a broadcast");
    check_cost(comm, 0, "nothing");
}

/* --------------------------------------------------------------------------------------------------------------
 * The order of messages
 */

static void one_round(Comm *comm, Random *random, size_t round)
{
    const size_t world = comm_ranks(comm).world;
    const bool large = random_below(random, 16) == 0;
    const size_t size = 1 + random_below(random, large ? 300000 : 60);
    List list;
    switch (random_below(random, 6)) {
    case 0:
        exchange_bytes(comm, size, round);
        break;
    case 1:
        broadcast_bytes(comm, size, round);
        break;
    case 2:
        sum_doubles(comm, 1 + size % 20);
        break;
    case 3:
        agree_on(comm, random_below(random, (size_t)1 << world));
        break;
    case 4: {
        const size_t n = draw_list(random, world, 0, large ? 50000 : 40, &list);
        check_reduce(comm, &list, 1, n, round);
        break;
    }
    default: {
        const size_t n = draw_list(random, world, 0, large ? 50000 : 40, &list);
        check_gather(comm, &list, n, round % 2 == 0, round);
    }
    }
}

static void part_order(Comm *comm, const char *how)
{
    Random random = random_make(6, comm_ranks(comm).world);
    (void)how;
    for (size_t round = 0; round < 1000 && !comm_lost(comm, NULL); round++)
        one_round(comm, &random, round);
    check(!comm_lost(comm, NULL), "a rank is lost");
}

/* --------------------------------------------------------------------------------------------------------------
 * Lost ranks
 */

/* That a rank is known as lost, by number, process and machine; and why. */
static void check_lost(const Comm *comm, size_t victim, long pid, const char *why, double seconds)
{
    char host[64] = "", names[200];
    Error e = {""};
    gethostname(host, sizeof host - 1);
    snprintf(names, sizeof names, "rank %zu is lost: process %ld on %s ", victim, pid, host);
    check(comm_lost(comm, &e), "no rank is lost after %g s", seconds);
    check(strncmp(e.text, names, strlen(names)) == 0 && strstr(e.text, why) != NULL, "'%s' is not '%s... %s'", e.text,
          names, why);
    check(seconds < 2, "it took %g s to notice", seconds);
    check(comm_speaks(comm) == (comm_ranks(comm).rank == (victim == 0 ? 1 : 0)), "the wrong rank speaks");
}

/* After a loss everything returns at once. */
static void check_returns(Comm *comm, const char *lost)
{
    const Ranks r = comm_ranks(comm);
    const double begin = clock_seconds();
    const CommPiece pieces[] = {{0, 100, 0}, {100, 100, r.world - 1}};
    float *arena = make_floats(200), *scratch = make_floats(100 * r.world);
    char all[64];
    double x = 1;
    Error e = {""};
    comm_exchange(comm, "x", 1, all);
    comm_sum(comm, &x, 1);
    comm_most(comm, 3);
    comm_broadcast(comm, all, sizeof all);
    comm_reduce_begin(comm, arena, pieces, 2, scratch, NULL);
    comm_reduce_end(comm, NULL);
    comm_all_gather(comm, arena, pieces, 2, NULL);
    comm_collect(comm, arena, pieces, 2);
    check(comm_agree(comm, 0, &e) == 1 && strncmp(e.text, lost, strlen(lost)) == 0, "they agree on '%s'", e.text);
    check(clock_seconds() - begin < 0.2, "after a loss calls take %g s", clock_seconds() - begin);
    free(arena);
    free(scratch);
}

/* how: "exit 0", "kill 3", "stop 2": what the rank does to itself. */
static void part_loss(Comm *comm, const char *how)
{
    const Ranks r = comm_ranks(comm);
    const size_t victim = strtoul(how + 5, NULL, 10);
    const bool stops = strncmp(how, "stop", 4) == 0;
    long pids[64], pid = (long)getpid();
    char all[64], name[64];
    comm_exchange(comm, &pid, sizeof pid, pids);
    if (stops)
        comm_set_timeout(comm, 0.5);
    snprintf(name, sizeof name, "rank %zu is lost", victim);
    const double begin = clock_seconds();
    if (r.rank == victim) {
        if (*how == 'e')
            _exit(0);
        raise(stops ? SIGSTOP : SIGKILL);
        comm_exchange(comm, "x", 1, all); /* what the others sent it before may have come */
        comm_exchange(comm, "x", 1, all);
        check(comm_lost(comm, NULL), "a rank that has been left alone has lost none");
        return;
    }
    comm_exchange(comm, "x", 1, all);
    const double seconds = clock_seconds() - begin;
    check_lost(comm, victim, pids[victim], stops ? "has been silent for" : "", seconds);
    check(!stops || seconds >= 0.5, "silent after %g s", seconds);
    check_returns(comm, name);
    pause_for(1); /* until all have noticed: who leaves is lost, too */
    if (stops && comm_speaks(comm))
        kill((pid_t)pids[victim], SIGCONT);
}

/* A rank that is slower than the timeout, but never silent for so long, is not lost. */
static void part_slow(Comm *comm, const char *how)
{
    enum { FLOATS = 1000 };
    const Ranks r = comm_ranks(comm);
    const size_t n = FLOATS * r.world;
    List lists[5];
    float *arena = fill_values(make_floats(5 * n), 5 * n, r.rank, 1), *scratch = make_floats(5 * n);
    (void)how;
    exchange_bytes(comm, 1, 1); /* all begin now */
    comm_set_timeout(comm, 1);
    for (size_t k = 0; k < 5; k++) {
        lists[k].count = r.world;
        for (size_t i = 0; i < r.world; i++)
            lists[k].pieces[i] = (CommPiece){k * n + i * FLOATS, FLOATS, i};
        if (r.rank + 1 == r.world)
            pause_for(0.3);
        comm_reduce_begin(comm, arena, lists[k].pieces, r.world, scratch + k * n, NULL);
    }
    Error e = {""};
    comm_reduce_end(comm, NULL);
    check(!comm_lost(comm, &e), "%s", e.text);
    exchange_bytes(comm, 1, 2);
    free(arena);
    free(scratch);
}

/* --------------------------------------------------------------------------------------------------------------
 * All numbers of ranks, by both ways
 */

static const RankPart parts[] = {{"few", part_few},   {"pieces", part_pieces}, {"order", part_order},
                                 {"loss", part_loss}, {"slow", part_slow},     {NULL, NULL}};

static const char *part_name;
static bool by_mpi;

static void start(RanksRun *run)
{
    if (by_mpi)
        ranks_start_mpi(run);
    else
        ranks_start(run, 0, run->world);
}

static bool run_part(size_t world)
{
    RanksRun run = ranks_make(part_name, "", world);
    start(&run);
    return ranks_end(&run, 60);
}

static const size_t worlds[] = {1, 2, 3, 4, 7};
enum { WORLDS = sizeof worlds / sizeof *worlds };

static bool can_start(void)
{
    if (by_mpi && ranks_no_mpi() != NULL) {
        check_skip(ranks_no_mpi());
        return false;
    }
    return true;
}

static void test_part(void)
{
    for (size_t i = 0; i < WORLDS && can_start() && run_part(worlds[i]); i++)
        ;
}

static void test_slow(void)
{
    if (can_start())
        run_part(3);
}

/* part_name: what the lost rank does to itself; the first in one run and the last in another, at the same time. */
static void test_loss(void)
{
    bool ok = true;
    for (size_t i = 1; i < WORLDS && ok && can_start(); i++) {
        RanksRun runs[2];
        char how[2][32];
        for (size_t k = 0; k < 2; k++) {
            snprintf(how[k], sizeof how[k], "%s %zu", part_name, k == 0 ? 0 : worlds[i] - 1);
            runs[k] = ranks_make("loss", how[k], worlds[i]);
            runs[k].loses = true;
            runs[k].passing -= strcmp(part_name, "stop") != 0;
            start(&runs[k]);
        }
        for (size_t k = 0; k < 2; k++)
            ok = ranks_end(&runs[k], 20) && ok;
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * A hostile environment
 */

/* comm_open with these variables: refused with a sentence that contains `why`. */
static void refuse(const char *rank, const char *world, const char *address, const char *port, const char *why)
{
    Comm *comm;
    Error e = {""};
    ranks_clear_environment();
    const char *const set[][2] = {
        {"RANK", rank}, {"WORLD_SIZE", world}, {"MASTER_ADDR", address}, {"MASTER_PORT", port}};
    for (size_t i = 0; i < 4; i++)
        if (set[i][1] != NULL)
            setenv(set[i][0], set[i][1], 1);
    const double begin = clock_seconds();
    check(comm_open(&comm, &e) != 0, "RANK %s of %s at %s:%s is taken", rank, world, address, port);
    check(comm == NULL && strstr(e.text, why) != NULL, "'%s' does not say '%s'", e.text, why);
    check(clock_seconds() - begin < 30, "it takes %g s", clock_seconds() - begin);
    ranks_clear_environment();
}

static void test_environment(void)
{
    const char *const here = "127.0.0.1";
    refuse("4", "4", here, "20000", "RANK 4 is not below WORLD_SIZE 4");
    refuse("17", "4", here, "20000", "RANK 17 is not below WORLD_SIZE 4");
    refuse("one", "2", here, "20000", "RANK is 'one'");
    refuse("-1", "2", here, "20000", "RANK is '-1'");
    refuse(" 1", "2", here, "20000", "RANK is ' 1'");
    refuse("1", "two", here, "20000", "WORLD_SIZE is 'two'");
    refuse("1", "2x", here, "20000", "WORLD_SIZE is '2x'");
    refuse("0", "0", here, "20000", "WORLD_SIZE is '0'");
    refuse("0", "4097", here, "20000", "WORLD_SIZE is '4097'");
    refuse("0", "99999999999999999999999", here, "20000", "WORLD_SIZE is '9999");
    refuse(NULL, "2", here, "20000", "RANK is not");
    refuse("0", "2", NULL, "20000", "MASTER_ADDR");
    refuse("1", "2", NULL, "20000", "MASTER_ADDR");
    refuse("1", "2", here, NULL, "MASTER_PORT");
    refuse("1", "2", here, "", "MASTER_PORT");
    refuse("1", "2", here, "port", "MASTER_PORT");
    refuse("1", "2", here, "0", "MASTER_PORT");
    refuse("1", "2", here, "65535", "MASTER_PORT");
    refuse("0", "2", "no such machine", "20000", "MASTER_ADDR no such machine");
}

/* Without a launcher, or with one that starts a single rank. */
static void test_alone(void)
{
    Comm *comm = (Comm *)&comm;
    Error e;
    ranks_clear_environment();
    check(comm_open(&comm, &e) == 0 && comm == NULL && comm_speaks(NULL), "there is not one rank by itself");
    setenv("WORLD_SIZE", "1", 1);
    check(comm_open(&comm, &e) == 0 && comm == NULL, "a world of one");
    setenv("RANK", "0", 1);
    check(comm_open(&comm, &e) == 0 && comm == NULL, "rank 0 of one");
    ranks_clear_environment();
    setenv("RANK", "3", 1);
    check(comm_open(&comm, &e) == 0 && comm == NULL && comm_speaks(NULL), "a rank without a world");
    ranks_clear_environment();
    check(comm_agree(NULL, 5, &e) == 5 && comm_agree(NULL, 0, &e) == 0, "one rank agrees with itself");
}

/* Of two ranks that comm_start has started, `who` ends before they meet: the other does not wait for it, and says why
 * through the pipe. */
static void one_ends_early(size_t who, const char *why)
{
    int ends[2], status;
    char said[sizeof((Error *)NULL)->text + 1] = "";
    const double begin = clock_seconds();
    ranks_clear_environment();
    if (!check(pipe(ends) == 0, "no pipe"))
        return;
    const pid_t whole = fork();
    if (whole == 0) {
        Comm *comm;
        Error e = {""};
        if (comm_start(2, &e) == 0 && (size_t)(*getenv("RANK") - '0') == who)
            _exit(0);
        if (comm_open(&comm, &e) == 0)
            snprintf(e.text, sizeof e.text, "they met");
        _exit(write(ends[1], e.text, strlen(e.text)) > 0 ? 0 : 1);
    }
    close(ends[1]);
    check(read(ends[0], said, sizeof said - 1) > 0 && strstr(said, why) != NULL, "without rank %zu it says '%s'", who,
          said);
    check(clock_seconds() - begin < 20, "it takes %g s", clock_seconds() - begin);
    close(ends[0]);
    check(waitpid(whole, &status, 0) == whole && WIFEXITED(status), "it did not end");
}

static void test_started(void)
{
    one_ends_early(1, "a rank ended before it met the others");
    one_ends_early(0, "rank 0 ended before it met the others");
    one_ends_early(2, "they met");
}

static struct sockaddr_in place_of(const RanksRun *run)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)(run->port + 1)), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* A stranger's connection to rank 0, once it listens. */
static int call_first_rank(const RanksRun *run)
{
    const struct sockaddr_in at = place_of(run);
    for (size_t tries = 0; tries < 500; tries++, pause_for(0.01)) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
            return fd;
        close(fd);
    }
    check(false, "rank 0 does not listen");
    return -1;
}

/* The beginning of what a rank says first, with numbers that cannot be. */
static void say_hello(int fd, uint32_t rank, uint32_t world)
{
    char hello[400] = "GPTRANK2";
    memcpy(hello + 8, &rank, sizeof rank);
    memcpy(hello + 12, &world, sizeof world);
    check(send(fd, hello, sizeof hello, MSG_NOSIGNAL) == (ssize_t)sizeof hello, "nothing can be said to rank 0");
}

/* Strangers come before the ranks do: with random bytes, with nothing, with a rank's words. */
static void test_strangers(void)
{
    RanksRun run = ranks_make("few", "", 4);
    unsigned char rubbish[5000];
    int fds[6];
    ranks_start(&run, 0, 1);
    fill_bytes(rubbish, sizeof rubbish, 1, 1);
    for (size_t i = 0; i < 6; i++)
        fds[i] = call_first_rank(&run);
    (void)!send(fds[0], rubbish, sizeof rubbish, MSG_NOSIGNAL);
    /* 1 says nothing, 2 a little */
    (void)!send(fds[2], "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    say_hello(fds[3], 4, 4);
    say_hello(fds[4], 1, 3);
    say_hello(fds[5], 0, 4);
    ranks_start(&run, 1, 4);
    ranks_end(&run, 60);
    for (size_t i = 0; i < 6; i++)
        close(fds[i]);
}

/* Answers whoever calls with rubbish for a while. */
static void talk_rubbish(int listener, double seconds)
{
    unsigned char rubbish[5000];
    const double end = clock_seconds() + seconds;
    fill_bytes(rubbish, sizeof rubbish, 3, 3);
    while (clock_seconds() < end) {
        if (poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 50) < 1)
            continue;
        const int fd = accept(listener, NULL, NULL);
        (void)!send(fd, rubbish, sizeof rubbish, MSG_NOSIGNAL);
        pause_for(0.05);
        close(fd);
    }
}

/* Rank 0's port belongs to another program for a while: rank 0 says so, and the others wait for the right one. */
static void test_taken_port(void)
{
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    RanksRun run = ranks_make("few", "", 3);
    const struct sockaddr_in at = place_of(&run);
    char port[32];
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    check(bind(listener, (const struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 16) == 0, "no port");
    snprintf(port, sizeof port, "%d", run.port);
    refuse("0", "3", "127.0.0.1", port, "rank 0 cannot listen at 127.0.0.1:");
    ranks_start(&run, 1, 3);
    talk_rubbish(listener, 1);
    close(listener);
    ranks_start(&run, 0, 1);
    ranks_end(&run, 60);
}

/* One way of starting ranks, the other, or none. */
static void both(const char *name, const char *what, void (*test)(void))
{
    char title[100];
    part_name = what;
    for (int mpi = 0; mpi <= 1; mpi++) {
        by_mpi = mpi;
        snprintf(title, sizeof title, "%s, %s", name, mpi ? "by mpirun" : "over TCP");
        check_run(title, test);
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    ranks_main(argc, argv, parts);
    both("a few bytes: exchange, sum, most, broadcast, agree", "few", test_part);
    both("pieces: reduce, gather, collect, cost", "pieces", test_part);
    both("1000 rounds of messages keep their order", "order", test_part);
    both("a rank that exits is named", "exit", test_loss);
    both("a rank that is killed is named", "kill", test_loss);
    both("a rank that is silent is named", "stop", test_loss);
    both("a rank that is slow is not silent", "slow", test_slow);
    check_run("an environment that makes no sense is refused", test_environment);
    check_run("one rank needs no environment", test_alone);
    check_run("ranks that comm_start starts, of which one ends before they meet", test_started);
    check_run("strangers at rank 0's port", test_strangers);
    check_run("rank 0's port is taken by another program", test_taken_port);
    return check_summary();
}
