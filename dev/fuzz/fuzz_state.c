/* libFuzzer entry for state.json, in an otherwise whole checkpoint of a tiny model: it is refused with a sentence, or
 * read as a state that agrees with the optimizer's file. */
#include "files/files.h"
#include "train/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char run[] = "/tmp/fuzz_state_XXXXXX", state_path[64], checkpoint[64];
static Gpt *gpt;
static Optim *optim;

static void leave(void)
{
    Error e;
    files_remove_tree(run, &e);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    static const OptimConfig adamw = {.rule = "adamw"};
    GptConfig config;
    const GptSetup setup = {.B = 1, .T = 4, .mode = GPT_TRAINING};
    CheckpointState state = {.step = 3, .val_loss = 1, .best_loss = (double)NAN};
    Error e;
    if (gpt_preset("nano", &config) != 0)
        abort();
    config.L = config.NH = 1;
    config.C = config.T = 4;
    config.V = 5;
    if (mkdtemp(run) == NULL || gpt_create(&config, &setup, &gpt, &e) != 0 || gpt_init(gpt, 1, &e) != 0)
        abort();
    const Arenas arenas = gpt_arenas(gpt);
    if (optim_create(&adamw, gpt_table(gpt)->tensors, gpt_table(gpt)->count, &arenas, &optim, &e) != 0)
        abort();
    optim_set_scalars(optim, (OptimScalars){.steps_done = 3, .tail_began = 0});
    if (checkpoint_write(run, gpt, optim, NULL, &state, "{}", &e) != 0)
        abort();
    snprintf(checkpoint, sizeof checkpoint, "%s/step_000003", run);
    snprintf(state_path, sizeof state_path, "%s/state.json", checkpoint);
    atexit(leave);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[128];
    CheckpointState state;
    Error damage, e = {""};
    FILE *file = fopen(state_path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0)
        abort();
    if (checkpoint_find(run, path, sizeof path, &damage, &e) != 0 && e.text[0] == '\0')
        abort();
    e.text[0] = '\0';
    if (checkpoint_read_state(checkpoint, optim, &state, &e) == 0 ? state.step != optim_steps_done(optim)
                                                                  : e.text[0] == '\0')
        abort();
    return 0;
}
