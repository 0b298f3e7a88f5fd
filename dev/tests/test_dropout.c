/* Dropout's masks: shares, independence of neighbours, and that only the place counts. */
#include "base/threads.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "gpt/dropout.h"
#include "gpt/gpt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1000, COLUMNS = 1000 };

static Dropout site(uint64_t key, size_t layer, int which, double p)
{
    return (Dropout){dropout_site_key(key, layer, which), 0, dropout_threshold(p), dropout_scale(p)};
}

static bool kept(const Dropout *d, size_t row, size_t column)
{
    return dropout_factor(d, dropout_row(d, row), (uint32_t)column) != 0;
}

/* Of n independent elements, a share of p with a deviation of sqrt(p (1-p) / n); five of these are granted. */
static void check_share(size_t count, size_t n, double share, const char *what)
{
    check_close((double)count / (double)n, share, 5 * sqrt(share * (1 - share) / (double)n), what);
}

static void test_shares(void)
{
    static const double shares[] = {0.01, 0.1, 0.2, 0.5, 0.9};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        const double p = shares[i], q = 1 - p;
        const Dropout d = site(i, 3, DROPOUT_MLP, p), other_step = site(i + 77, 3, DROPOUT_MLP, p);
        const Dropout other_layer = site(i, 4, DROPOUT_MLP, p), other_site = site(i, 3, DROPOUT_ATTPROJ, p);
        size_t all = 0, right = 0, below = 0, step = 0, layer = 0, half = 0, wide = 0;
        for (size_t r = 0; r < ROWS; r++) {
            size_t in_row = 0;
            for (size_t c = 0; c < COLUMNS; c++) {
                const bool here = kept(&d, r, c);
                all += here;
                in_row += here;
                right += here && kept(&d, r, c + 1);
                below += here && kept(&d, r + 1, c);
                step += here && kept(&other_step, r, c);
                layer += here && kept(&other_layer, r, c);
                half += here && kept(&other_site, r, c);
                wide += here && kept(&d, r, c + 64);
            }
            check_close((double)in_row / COLUMNS, q, 6 * sqrt(p * q / COLUMNS), "of a row");
        }
        const size_t n = (size_t)ROWS * COLUMNS;
        check_share(all, n, q, "kept");
        check_share(right, n, q * q, "kept with the right neighbour");
        check_share(below, n, q * q, "kept with the one below");
        check_share(wide, n, q * q, "kept with the one 64 further");
        check_share(step, n, q * q, "kept in another step too");
        check_share(layer, n, q * q, "kept in another layer too");
        check_share(half, n, q * q, "kept at another site too");
        check(d.scale == (float)(1 / (1 - p)), "the scale");
    }
}

/* No two places of a model share their masks. */
static void test_sites(void)
{
    enum { LAYERS = 50, ALL = LAYERS * DROPOUT_SITES };
    for (int i = 0; i < ALL; i++)
        for (int j = 0; j < i; j++)
            check(dropout_site_key(7, (size_t)(i / DROPOUT_SITES), i % DROPOUT_SITES) !=
                      dropout_site_key(7, (size_t)(j / DROPOUT_SITES), j % DROPOUT_SITES),
                  "layer %d, site %d and layer %d, site %d", i / DROPOUT_SITES, i % DROPOUT_SITES, j / DROPOUT_SITES,
                  j % DROPOUT_SITES);
}

/* Loss and gradients of a step of 4 sequences. */
static double run_step(const GptConfig *config, size_t B, size_t threads, float *grads)
{
    enum { ALL = 4 };
    threads_set(threads);
    Gpt *gpt;
    Error e;
    const size_t T = config->T;
    int32_t tokens[ALL * 16], targets[ALL * 16];
    if (gpt_create(config, &(GptSetup){.B = B, .T = T, .mode = GPT_TRAINING, .dropout = true}, &gpt, &e) != 0 ||
        gpt_init(gpt, 3, &e) != 0) {
        check(false, "%s", e.text);
        return 0;
    }
    for (size_t i = 0; i < ALL * T; i++) {
        tokens[i] = (int32_t)(7 * i % config->V);
        targets[i] = (int32_t)(5 * i % config->V);
    }
    for (size_t b = 0; b < ALL; b += B) {
        gpt_dropout(gpt, (GptDropout){.p = 0.4, .key = 9, .first_sequence = b});
        gpt_forward(gpt, tokens + b * T, B, T);
        gpt_backward(gpt, targets + b * T, 1, b == 0);
    }
    const double loss = gpt_loss_sum(gpt);
    const GptTable *table = gpt_table(gpt);
    for (size_t i = 0; i < table->count; i++)
        gpt_read(gpt, GPT_GRADS, &table->tensors[i], grads + table->tensors[i].offset);
    gpt_free(gpt);
    threads_set(1);
    return loss;
}

/* Micro-batches change the order of sums alone; threads change nothing. */
static void test_places(void)
{
    const GptConfig config = {.T = 16, .V = 23, .L = 2, .NH = 2, .C = 16};
    GptTable table;
    Error e;
    if (!check(gpt_table_make(&config, &table, &e) == 0, "%s", e.text))
        return;
    const size_t n = table.arena_size;
    float *one = make_floats(n), *two = make_floats(n), *other = make_floats(n);
    const double loss = run_step(&config, 1, 1, one);
    check_close(run_step(&config, 2, 1, two), loss, 1e-6 * loss, "2 sequences at once");
    check_all_close(two, one, n, 1e-5 * norm_of(one, n), "their gradients");
    check_close(run_step(&config, 4, 1, two), loss, 1e-6 * loss, "4 sequences at once");
    check_all_close(two, one, n, 1e-5 * norm_of(one, n), "their gradients");
    check(run_step(&config, 4, 3, other) == run_step(&config, 4, 2, other), "the loss of 2 and 3 threads");
    check_same_bits(other, two, n * sizeof *two, "gradients of 1 and 2 threads");
    free(one);
    free(two);
    free(other);
    gpt_table_free(&table);
}

int main(void)
{
    check_run("shares and independence", test_shares);
    check_run("sites", test_sites);
    check_run("micro-batches and threads", test_places);
    return check_summary();
}
