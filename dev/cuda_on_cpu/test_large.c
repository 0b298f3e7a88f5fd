/*
 * test_large L NH C V T B: gradients of one model in bf16 and in tf32 against those in fp32, all by the twin that this
 * program is linked with. Meant for GPT-2 124M with 2 sequences of 1024 tokens, where no reference file is at hand.
 *
 * The bound is twice the error of PyTorch's own bf16 (autocast, 2.15, on a CPU), as in test_gpt.c, at that size and of
 * these parameters: 9.0e-3 of the norm of the worst tensor's gradient (h.0.ln_1.weight), 4.7e-4 of the loss of a
 * position, by
 *
 *     reference.py OUT --layers 12 --heads 12 --width 768 --vocab 50257 --seq-len 1024 --batch 2 --steps 0 --fp32 --bf16
 *
 * TF32 has three bits more and may be cut off, not rounded: a quarter of that.
 */
#include "base/random.h"
#include "dev/reference/verdict.h"
#include "gpt/gpt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double GRADIENTS = 2 * 9.0e-3, LOSS = 2 * 4.7e-4; /* in bf16 */

typedef struct Model {
    GptConfig config;
    size_t B;
    Gpt *gpt;
    GptTable table;
    int32_t *tokens, *targets; /* (B,T) */
} Model;

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);
    if (p == NULL) {
        fprintf(stderr, "test_large: out of memory\n");
        exit(1);
    }
    return p;
}

/* The distributions of draw_parameters in dev/reference/reference.py: far from the initialisation, so that every
 * parameter has a gradient. */
static void draw_parameters(Model *m)
{
    Random random = random_make(1, 0);
    for (const Tensor *t = m->table.tensors; t < m->table.tensors + m->table.count; t++) {
        const bool vector = t->role == ROLE_GAIN || t->role == ROLE_BIAS;
        const bool added = strstr(t->name, "c_proj.weight") != NULL; /* to the residual stream */
        const double std = vector ? 0.1 : 1 / sqrt((double)t->cols * (added ? 2.0 * (double)m->config.L : 1));
        float *x = allocate(tensor_size(t), sizeof *x);
        for (size_t i = 0; i < tensor_size(t); i++)
            x[i] = (float)((t->role == ROLE_GAIN ? 1 : 0) + std * random_normal(&random));
        gpt_write(m->gpt, GPT_PARAMS, t, x);
        free(x);
    }
}

/* grads (arena), and the mean loss. */
static double pass(Model *m, GptDtype dtype, float *grads)
{
    const GptSetup setup = {.B = m->B, .T = m->config.T, .mode = GPT_TRAINING, .dtype = dtype};
    const double positions = (double)(m->B * m->config.T);
    Error e;
    if (gpt_create(&m->config, &setup, &m->gpt, &e) != 0) {
        printf("%s\n", e.text);
        exit(strstr(e.text, "memory") != NULL ? 77 : 1); /* gpu.sh takes 77 for skipped */
    }
    draw_parameters(m);
    gpt_forward(m->gpt, m->tokens, m->B, m->config.T);
    gpt_backward(m->gpt, m->targets, 1 / positions, true);
    const double loss = gpt_loss_sum(m->gpt) / positions;
    for (const Tensor *t = m->table.tensors; t < m->table.tensors + m->table.count; t++)
        gpt_read(m->gpt, GPT_GRADS, t, grads + t->offset);
    return loss;
}

static void compare(Model *m, GptDtype dtype, double share, double loss, const float *grads, Tally *tally)
{
    const char *name = gpt_dtype_names[dtype];
    char title[2][32];
    float *got = allocate(m->table.arena_size, sizeof *got);
    Row losses = {0}, gradients = {0};
    row_record(&losses, "loss", relative_difference(pass(m, dtype, got), loss), share * LOSS);
    for (const Tensor *t = m->table.tensors; t < m->table.tensors + m->table.count; t++)
        row_record(&gradients, t->name, tensor_distance(&m->config, t, got + t->offset, grads + t->offset),
                   share * GRADIENTS);
    snprintf(title[0], sizeof title[0], "loss, %s", name);
    snprintf(title[1], sizeof title[1], "gradients, %s", name);
    verdict_row(title[0], &losses, tally);
    verdict_row(title[1], &gradients, tally);
    gpt_free(m->gpt);
    free(got);
}

int main(int argc, char **argv)
{
    Model m = {0};
    Tally tally = {0};
    Error e;
    if (argc != 7) {
        fprintf(stderr, "usage: %s L NH C V T B\n", argv[0]);
        return 2;
    }
    m.config = (GptConfig){.L = strtoul(argv[1], NULL, 10),
                           .NH = strtoul(argv[2], NULL, 10),
                           .C = strtoul(argv[3], NULL, 10),
                           .V = strtoul(argv[4], NULL, 10),
                           .T = strtoul(argv[5], NULL, 10)};
    m.B = strtoul(argv[6], NULL, 10);
    if (gpt_config_check(&m.config, &e) != 0 || gpt_table_make(&m.config, &m.table, &e) != 0 || gpt_probe(&e) != 0) {
        fprintf(stderr, "test_large: %s\n", e.text);
        return 1;
    }
    m.config = gpt_resolve(&m.config);
    if (gpt_default_dtype(&m.config) != GPT_BF16) {
        printf("this GPU has no bf16\n");
        return 77;
    }
    Random random = random_make(2, 0);
    m.tokens = allocate(m.B * m.config.T, sizeof *m.tokens);
    m.targets = allocate(m.B * m.config.T, sizeof *m.targets);
    for (size_t i = 0; i < m.B * m.config.T; i++) {
        m.tokens[i] = (int32_t)random_below(&random, m.config.V);
        m.targets[i] = (int32_t)random_below(&random, m.config.V);
    }
    verdict_head();
    float *grads = allocate(m.table.arena_size, sizeof *grads);
    const double loss = pass(&m, GPT_FP32, grads);
    gpt_free(m.gpt);
    compare(&m, GPT_BF16, 1, loss, grads, &tally);
    compare(&m, GPT_TF32, 0.25, loss, grads, &tally);
    free(grads);
    free(m.tokens);
    free(m.targets);
    gpt_table_free(&m.table);
    return verdict_summary(&tally);
}
