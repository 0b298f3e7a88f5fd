#ifndef DEV_REFERENCE_LLMC_STATE_H
#define DEV_REFERENCE_LLMC_STATE_H

#include "train/llmc.h"

/*
 * llm.c's debug state (write_state in its train_gpt2.py), what PyTorch computes for a batch with the model of a model
 * file: magic 20240327, version 2, header[2..3] = B, T; then tokens and targets (B,T) int32, and in fp32 logits
 * (B,T,V), the mean loss, and the gradient of every parameter, in the model file's order and with its padding.
 */
typedef struct LlmcState {
    LlmcFile file;
    size_t B, T, V;
    LlmcValues gradients;
} LlmcState;

/* Opens a state that belongs to `model`, which it borrows: its size must be that of the model's sizes. The caller calls
 * llmc_close(&state->file), also after a failure. */
int llmc_state_open(const char *path, const LlmcModel *model, LlmcState *state, Error *e);

int llmc_state_tokens(const LlmcState *state, int32_t *to, Error *e);  /* (B,T) */
int llmc_state_targets(const LlmcState *state, int32_t *to, Error *e); /* (B,T) */
int llmc_state_logits(const LlmcState *state, float *to, Error *e);    /* (B,T,V) */
int llmc_state_loss(const LlmcState *state, float *to, Error *e);      /* mean, in nats */

#endif
