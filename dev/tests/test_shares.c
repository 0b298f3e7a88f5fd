/* What each rank has of a step: blocks of micro-batches, the optimizer's pieces and its memory. Ranks are processes
 * that this program starts; expected values are computed from the table of tensors. */
#include "comm/comm.h"

#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/ranks.h"
#include "gpt/gpt.h"
#include "optim/verbs/verbs.h"
#include "train/gradients.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------------------
 * Pieces
 */

enum { UNIT_MOST = 1 << 16 }; /* floats that an elementwise rule leaves together */

/* The matrices that stand on each other in a tensor, for rules that split a fused QKV. */
static size_t matrices_in(const Tensor *t, bool splits) { return splits ? t->blocks : 1; }

static Optim *make_plan(const char *rule, const Tensor *tensors, size_t count, Comm *comm)
{
    Optim *optim;
    Error e;
    if (optim_create(&(OptimConfig){.rule = rule, .comm = comm}, tensors, count, NULL, &optim, &e) != 0) {
        fprintf(stderr, "test: no optimizer %s: %s\n", rule, e.text);
        exit(1);
    }
    return optim;
}

static int earlier(const void *a, const void *b)
{
    const CommPiece *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

/* The optimizer's pieces in order of the arena, in whichever it has them. The caller frees them. */
static CommPiece *pieces_of(const Optim *optim, size_t *count)
{
    const CommPiece *pieces;
    *count = optim_pieces(optim, &pieces);
    CommPiece *ordered = calloc(*count, sizeof *ordered);
    if (ordered == NULL)
        abort();
    memcpy(ordered, pieces, *count * sizeof *ordered);
    qsort(ordered, *count, sizeof *ordered, earlier);
    return ordered;
}

/* The rank that has the floats first to first + n - 1 of the arena; SIZE_MAX: not one alone. */
static size_t owner_of(const CommPiece *pieces, size_t count, size_t first, size_t n)
{
    for (const CommPiece *p = pieces; p < pieces + count; p++)
        if (p->first <= first && first + n <= p->first + p->n)
            return p->rank;
    return SIZE_MAX;
}

/* That all ranks have the same list. */
static void check_same_list(Comm *comm, const Optim *optim)
{
    const Ranks r = comm_ranks(comm);
    const CommPiece *pieces;
    size_t counts[64] = {0}, count = optim_pieces(optim, &pieces);
    comm_exchange(comm, &count, sizeof count, counts);
    for (size_t i = 0; i < r.world; i++)
        if (!check(counts[i] == count, "rank %zu has %zu pieces, this one %zu", i, counts[i], count))
            return;
    CommPiece *all = calloc(r.world * count, sizeof *all);
    comm_exchange(comm, pieces, count * sizeof *pieces, all);
    for (size_t i = 0; i < r.world; i++)
        check_same_bits(all + i * count, pieces, count * sizeof *pieces, "the pieces of another rank");
    free(all);
}

/* That they cover each tensor once, and nothing else. */
static void check_cover(Ranks r, const Tensor *tensors, size_t tensor_count, const CommPiece *pieces, size_t count)
{
    size_t end = 0, parameters = 0, covered = 0;
    for (const CommPiece *p = pieces; p < pieces + count; p++) {
        check(p->first >= end && p->n > 0 && p->rank < r.world, "piece %zu+%zu of rank %zu, after %zu", p->first, p->n,
              p->rank, end);
        end = p->first + p->n;
        covered += p->n;
    }
    for (const Tensor *t = tensors; t < tensors + tensor_count; t++)
        parameters += tensor_size(t);
    check(covered == parameters, "the pieces have %zu floats, the tensors %zu", covered, parameters);
    for (const Tensor *t = tensors; t < tensors + tensor_count; t++) {
        size_t inside = 0;
        for (const CommPiece *p = pieces; p < pieces + count; p++) {
            const size_t from = p->first > t->offset ? p->first : t->offset, piece_end = p->first + p->n;
            const size_t to = piece_end < t->offset + tensor_size(t) ? piece_end : t->offset + tensor_size(t);
            inside += to > from ? to - from : 0;
        }
        check(inside == tensor_size(t), "%zu of %zu floats of %s are in a piece", inside, tensor_size(t), t->name);
    }
}

/* --------------------------------------------------------------------------------------------------------------
 * Whole tensors and memory
 */

/* Floats of state of a matrix of r x c, and of workspace for `count` of them: Muon has its update, and in
 * Newton-Schulz a second matrix, two squares (four unless it is square) and one norm; and four scalars, two rows and
 * two columns in lines of 16 floats. */
typedef struct MatrixRule {
    const char *name;
    bool splits, serves_all; /* not hidden matrices alone */
    size_t (*state)(size_t r, size_t c), (*workspace)(size_t r, size_t c, size_t count);
} MatrixRule;

static size_t muon_state(size_t r, size_t c) { return r * c; }
static size_t soap_state(size_t r, size_t c) { return 2 * (r * c + r * r + c * c); }
static size_t cpr_state(size_t r, size_t c) { return 2 * r * c + 2; }

static size_t muon_workspace(size_t r, size_t c, size_t count)
{
    const size_t n = r < c ? r : c;
    return count * (2 * r * c + (r == c ? 2 : 4) * n * n + 1) + (count * (4 + 2 * (r + c)) + 15) / 16 * 16;
}

static size_t soap_workspace(size_t r, size_t c, size_t count)
{
    const size_t n = r < c ? c : r;
    return count * (4 * r * c + n * n + r + c + 16) + verb_scratch(n, n, count);
}

static size_t no_workspace(size_t r, size_t c, size_t count)
{
    (void)r;
    (void)c;
    (void)count;
    return 0;
}

static size_t step_workspace(size_t r, size_t c, size_t count) { return count * r * c; }

static const MatrixRule matrix_rules[] = {{"muon", true, false, muon_state, muon_workspace},
                                          {"soap", true, false, soap_state, soap_workspace},
                                          {"adam-cpr", false, false, cpr_state, no_workspace},
                                          {"cautious-lion", false, true, muon_state, step_workspace}};

/* Whether the rule takes tensors of this role whole; NULL: AdamW. */
static bool takes_whole(const MatrixRule *rule, TensorRole role)
{
    return rule != NULL && (rule->serves_all || role == ROLE_HIDDEN_MATRIX);
}

/* That matrices are whole; and that no rank's share of all else is a unit more or less than an equal one: a rank has
 * the units whose middles are in its part of equal length, so at each end it differs by half a unit at most. */
static void check_shares(Ranks r, const Tensor *tensors, size_t tensor_count, const CommPiece *pieces, size_t count,
                         const MatrixRule *rule)
{
    size_t unit = 0, shares[64] = {0}, all = 0;
    for (const Tensor *t = tensors; t < tensors + tensor_count; t++) {
        const size_t n = tensor_size(t);
        if (takes_whole(rule, t->role)) {
            const size_t m = matrices_in(t, rule->splits);
            for (size_t i = 0; i < m; i++)
                check(owner_of(pieces, count, t->offset + i * (n / m), n / m) < r.world,
                      "matrix %zu of %s is not whole", i, t->name);
            continue;
        }
        unit = n < unit ? unit : n < UNIT_MOST ? n : UNIT_MOST;
        all += n;
        for (size_t i = 0; i < n; i++) {
            const CommPiece *p = pieces;
            while (p->first + p->n <= t->offset + i)
                p++;
            const size_t left = p->first + p->n - (t->offset + i), step = left < n - i ? left : n - i;
            shares[p->rank] += step;
            i += step - 1;
        }
    }
    for (size_t i = 0; i < r.world; i++)
        check(fabs((double)shares[i] - (double)all / (double)r.world) <= (double)unit,
              "rank %zu has %zu of %zu floats under elementwise rules, of %zu ranks; a unit is %zu", i, shares[i], all,
              r.world, unit);
}

/* Bytes of a rank: two averages of each float under AdamW; matrices by their rule, whose workspace is for the longest
 * run of this rank's that have one shape. rule NULL: AdamW for all. */
static size_t memory_of(const MatrixRule *rule, const Tensor *tensors, size_t tensor_count, const CommPiece *pieces,
                        size_t count, size_t rank)
{
    size_t floats = 2 * comm_share(pieces, count, rank), workspace = 0, run = 0, rows = 0, cols = 0;
    for (const Tensor *t = tensors; t < tensors + tensor_count && rule != NULL; t++) {
        const size_t m = matrices_in(t, rule->splits), r = t->rows / m;
        for (size_t i = 0; i < m && takes_whole(rule, t->role); i++) {
            if (owner_of(pieces, count, t->offset + i * r * t->cols, r * t->cols) != rank)
                continue;
            run = r == rows && t->cols == cols ? run + 1 : 1;
            rows = r;
            cols = t->cols;
            floats += rule->state(r, cols) - 2 * r * cols;
            const size_t n = rule->workspace(r, cols, run);
            workspace = n > workspace ? n : workspace;
        }
    }
    return (floats + workspace) * sizeof(float);
}

/* --------------------------------------------------------------------------------------------------------------
 * Tables
 */

/* Every role; embeddings of several units, matrices of several shapes. */
static Params make_table(void)
{
    Params p = {0};
    params_add(&p, "wte", ROLE_TOKEN_EMBEDDING, 5003, 48, 1);
    params_add(&p, "wpe", ROLE_POSITION_EMBEDDING, 1500, 48, 1);
    params_add(&p, "qkv.0", ROLE_HIDDEN_MATRIX, 144, 48, 3);
    params_add(&p, "qkv.1", ROLE_HIDDEN_MATRIX, 144, 48, 3);
    params_add(&p, "proj.0", ROLE_HIDDEN_MATRIX, 48, 48, 1);
    params_add(&p, "proj.1", ROLE_HIDDEN_MATRIX, 48, 48, 1);
    params_add(&p, "fc.0", ROLE_HIDDEN_MATRIX, 192, 48, 1);
    params_add(&p, "fc.1", ROLE_HIDDEN_MATRIX, 192, 48, 1);
    params_add(&p, "down.0", ROLE_HIDDEN_MATRIX, 48, 192, 1);
    params_add(&p, "down.1", ROLE_HIDDEN_MATRIX, 48, 192, 1);
    params_add(&p, "gain", ROLE_GAIN, 1, 48, 1);
    params_add(&p, "bias", ROLE_BIAS, 1, 144, 1);
    params_add(&p, "head", ROLE_HEAD, 5003, 48, 1);
    return p;
}

/* how: "adamw" or a rule of matrix_rules. */
static void part_small(Comm *comm, const char *how)
{
    const Params p = make_table();
    const MatrixRule *rule = NULL;
    for (size_t i = 0; i < sizeof matrix_rules / sizeof *matrix_rules; i++)
        rule = strcmp(matrix_rules[i].name, how) == 0 ? &matrix_rules[i] : rule;
    Optim *optim = make_plan(how, p.tensors, p.count, comm);
    const Ranks r = comm_ranks(comm);
    size_t count;
    CommPiece *pieces = pieces_of(optim, &count);
    check_same_list(comm, optim);
    check_cover(r, p.tensors, p.count, pieces, count);
    check_shares(r, p.tensors, p.count, pieces, count, rule);
    const size_t want = memory_of(rule, p.tensors, p.count, pieces, count, r.rank);
    check(optim_memory(optim) == want, "%zu bytes of memory, not %zu", optim_memory(optim), want);
    free(pieces);
    optim_free(optim);
}

/* GPT-2 124M under Muon, 12 layers of two MLP and four attention matrices: with 8 ranks each has as much as any
 * other. */
static void part_gpt2(Comm *comm, const char *how)
{
    GptTable table;
    Error e;
    const Ranks r = comm_ranks(comm);
    const GptConfig config = gpt_resolve(&(GptConfig){.L = 12, .NH = 12, .C = 768, .V = 50257, .T = 1024});
    (void)how;
    if (!check(gpt_table_make(&config, &table, &e) == 0, "%s", e.text))
        return;
    Optim *optim = make_plan("muon", table.tensors, table.count, comm);
    size_t mlp[64] = {0}, attention[64] = {0}, count;
    CommPiece *pieces = pieces_of(optim, &count);
    check_same_list(comm, optim);
    check_cover(r, table.tensors, table.count, pieces, count);
    check_shares(r, table.tensors, table.count, pieces, count, &matrix_rules[0]);
    for (const Tensor *t = table.tensors; t < table.tensors + table.count; t++) {
        const size_t n = tensor_size(t) / t->blocks;
        for (size_t i = 0; i < t->blocks && t->role == ROLE_HIDDEN_MATRIX; i++) {
            const size_t owner = owner_of(pieces, count, t->offset + i * n, n);
            if (owner < r.world)
                (n == 4 * 768 * 768 ? mlp : attention)[owner]++;
        }
    }
    for (size_t i = 0; i < r.world; i++)
        check(mlp[i] * r.world == 24 && attention[i] * r.world == 48, "rank %zu has %zu MLP and %zu attention matrices",
              i, mlp[i], attention[i]);
    free(pieces);
    optim_free(optim);
    gpt_table_free(&table);
}

static const RankPart parts[] = {{"small", part_small}, {"gpt2", part_gpt2}, {NULL, NULL}};

static void test_small(void)
{
    static const char *const rules[] = {"adamw", "muon", "soap", "adam-cpr", "cautious-lion"};
    static const size_t worlds[] = {1, 2, 3, 4, 7};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++) {
            RanksRun run = ranks_make("small", rules[i], worlds[k]);
            ranks_start(&run, 0, worlds[k]);
            if (!ranks_end(&run, 60))
                return;
        }
}

static void test_gpt2(void)
{
    RanksRun run = ranks_make("gpt2", "", 8);
    ranks_start(&run, 0, 8);
    ranks_end(&run, 60);
}

/* --------------------------------------------------------------------------------------------------------------
 * Blocks of micro-batches
 */

enum { BATCHES_MOST = 96, WORLD_MOST = 32, BITS_MOST = 64 };

/* The largest power of two that divides a rank's micro-batches and of which all ranks together have at most
 * `same_bits`; at least 1. */
static size_t blocks_of(size_t batches, size_t same_bits, size_t world)
{
    size_t best = 1;
    for (size_t b = 1; b <= batches; b *= 2)
        if (batches % b == 0 && b * world <= same_bits)
            best = b;
    return best;
}

static float batch_value(size_t i) { return sinf((float)(i * i + 1)) * (float)(1 + i % 7 * 1000); }

/* The sum of `n` equal parts of M values, as in train/gradients.h: each in sequence, then in a binary tree. */
static float sum_in_blocks(size_t M, size_t first, size_t n)
{
    float sums[BATCHES_MOST];
    for (size_t b = 0; b < n; b++) {
        sums[b] = batch_value(first + b * (M / n));
        for (size_t i = 1; i < M / n; i++)
            sums[b] += batch_value(first + b * (M / n) + i);
    }
    for (size_t left = n; left > 1; left /= 2)
        for (size_t b = 0; b < left / 2; b++)
            sums[b] = sums[2 * b] + sums[2 * b + 1];
    return sums[0];
}

/* The step's gradient of M micro-batches by `world` ranks, a power of two of them. */
static float sum_by_ranks(size_t M, size_t world, size_t blocks)
{
    float sums[WORLD_MOST];
    for (size_t r = 0; r < world; r++)
        sums[r] = sum_in_blocks(M / world, r * (M / world), blocks);
    for (size_t left = world; left > 1; left /= 2)
        for (size_t r = 0; r < left / 2; r++)
            sums[r] = sums[2 * r] + sums[2 * r + 1];
    return sums[0];
}

static void test_blocks(void)
{
    for (size_t M = 1; M <= BATCHES_MOST; M++)
        for (size_t N = 1; N <= BITS_MOST; N++) {
            const float alone = sum_by_ranks(M, 1, gradients_blocks(M, N, 1));
            for (size_t W = 1; W <= WORLD_MOST; W++) {
                if (M % W != 0)
                    continue;
                const size_t blocks = gradients_blocks(M / W, N, W);
                check(blocks == blocks_of(M / W, N, W), "%zu batches, %zu ranks, same bits %zu: %zu blocks", M, W, N,
                      blocks);
                check((size_t)1 << gradients_levels(blocks) == blocks, "%zu levels of %zu blocks",
                      gradients_levels(blocks), blocks);
                if ((W & (W - 1)) != 0 || W > gradients_blocks(M, N, 1))
                    continue;
                const float sum = sum_by_ranks(M, W, blocks);
                check(memcmp(&sum, &alone, sizeof sum) == 0, "%zu batches, same bits %zu: %zu ranks differ from one", M,
                      N, W);
            }
        }
}

int main(int argc, char **argv)
{
    ranks_main(argc, argv, parts);
    check_run("blocks of micro-batches", test_blocks);
    check_run("pieces and memory of the optimizer's ranks", test_small);
    check_run("GPT-2 124M under Muon, dealt out to 8 ranks", test_gpt2);
    return check_summary();
}
