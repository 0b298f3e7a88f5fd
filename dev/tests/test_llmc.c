/* llm.c's files: where every value lies, rounding to bf16, and what is refused. dev/reference/llmc.py has written
 * others. */
#include "dev/reference/llmc_state.h"
#include "dev/tests/check.h"
#include "dev/tests/fixtures.h"
#include "dev/tests/folder.h"
#include "files/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { L = 2, NH = 2, C = 4, V = 5, T = 3, PADDED = 128, PARTS = 16, HEADER = 1024 };
static const GptConfig config = {.L = L, .NH = NH, .C = C, .V = V, .T = T};

/* llm.c's ParameterTensors: name, elements in each layer or in all, whether there is one for each layer. */
static const struct {
    const char *name;
    size_t size;
    bool each;
} parts[PARTS] = {{"wte.weight", PADDED *C, false},
                  {"wpe.weight", T *C, false},
                  {"ln_1.weight", C, true},
                  {"ln_1.bias", C, true},
                  {"attn.c_attn.weight", 3 * C *C, true},
                  {"attn.c_attn.bias", 3 * C, true},
                  {"attn.c_proj.weight", C *C, true},
                  {"attn.c_proj.bias", C, true},
                  {"ln_2.weight", C, true},
                  {"ln_2.bias", C, true},
                  {"mlp.c_fc.weight", 4 * C *C, true},
                  {"mlp.c_fc.bias", 4 * C, true},
                  {"mlp.c_proj.weight", 4 * C *C, true},
                  {"mlp.c_proj.bias", C, true},
                  {"ln_f.weight", C, false},
                  {"ln_f.bias", C, false}};

static void must(int status, const Error *e)
{
    if (status != 0) {
        fprintf(stderr, "test: %s\n", e->text);
        exit(1);
    }
}

static void refused(int status, const Error *e, const char *word, const char *path, const char *what)
{
    if (check(status == -1, "%s was accepted", what))
        check(strstr(e->text, word) != NULL && strstr(e->text, path) != NULL, "%s: '%s' does not say '%s'", what,
              e->text, word);
}

static size_t count_values(void)
{
    size_t n = 0;
    for (size_t i = 0; i < PARTS; i++)
        n += parts[i].size * (parts[i].each ? L : 1);
    return n;
}

/* The first element of a tensor among the values. */
static size_t place_of(const char *name)
{
    size_t at = 0;
    for (size_t i = 0; i < PARTS; i++) {
        for (size_t layer = 0; layer < (parts[i].each ? L : 1); layer++) {
            char own[64];
            snprintf(own, sizeof own, "h.%zu.%s", layer, parts[i].name);
            if (strcmp(name, parts[i].each ? own : parts[i].name) == 0)
                return at;
            at += parts[i].size;
        }
    }
    check(false, "llm.c has no %s", name);
    return 0;
}

/* Small whole numbers, exact in bf16; the padding is of no meaning, so it may hold anything. */
static float value_at(size_t i) { return i >= V * C && i < PADDED * C ? NAN : (float)(i % 251) - 100; }

/* A model file's bytes; the caller frees them. */
static unsigned char *make_model(LlmcVersion version, size_t *size)
{
    const int32_t header[8] = {20240326, (int32_t)version, T, V, L, NH, C, PADDED};
    const size_t n = count_values(), width = version == LLMC_BF16 ? 2 : 4;
    unsigned char *bytes = calloc(1, HEADER + n * width);
    memcpy(bytes, header, sizeof header);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        const float value = value_at(i);
        memcpy(&bits, &value, sizeof bits);
        for (size_t k = 0; k < width; k++)
            bytes[HEADER + i * width + k] = (unsigned char)(bits >> 8 * (k + 4 - width));
    }
    *size = HEADER + n * width;
    return bytes;
}

static Gpt *make_gpt(const GptConfig *c)
{
    Gpt *gpt;
    Error e;
    must(gpt_create(c, &(GptSetup){.B = 1, .T = 1, .mode = GPT_INFERENCE}, &gpt, &e), &e);
    return gpt;
}

static void read_model(const char *path, Gpt *gpt)
{
    LlmcModel model;
    Error e;
    must(llmc_open_model(path, &model, &e), &e);
    must(llmc_read_model(&model, gpt, &e), &e);
    llmc_close(&model.file);
}

static void test_read(void)
{
    char path[128];
    Error e;
    for (LlmcVersion version = LLMC_FP32; version <= LLMC_BF16; version += LLMC_BF16 - LLMC_FP32) {
        size_t size;
        unsigned char *bytes = make_model(version, &size);
        must(files_write_atomic(in_folder("model.bin", path), bytes, size, &e), &e);
        Gpt *gpt = make_gpt(&config);
        read_model(path, gpt);
        const GptTable *table = gpt_table(gpt);
        check(table->count == 4 + 12 * L, "%zu tensors", table->count);
        for (const Tensor *t = table->tensors; t < table->tensors + table->count; t++) {
            float *got = make_floats(tensor_size(t)), *want = make_floats(tensor_size(t));
            gpt_read(gpt, GPT_PARAMS, t, got);
            for (size_t i = 0; i < tensor_size(t); i++)
                want[i] = value_at(place_of(t->name) + i);
            check_same_bits(got, want, tensor_size(t) * sizeof *got, t->name);
            free(got);
            free(want);
        }
        gpt_free(gpt);
        free(bytes);
    }
}

/* What was read is written as it was, but for the padding. */
static void test_write(void)
{
    char from[128], to[128], *got;
    Error e;
    in_folder("from.bin", from);
    in_folder("to.bin", to);
    for (LlmcVersion version = LLMC_FP32; version <= LLMC_BF16; version += LLMC_BF16 - LLMC_FP32) {
        size_t size, got_size;
        unsigned char *bytes = make_model(version, &size);
        const size_t width = version == LLMC_BF16 ? 2 : 4;
        must(files_write_atomic(from, bytes, size, &e), &e);
        Gpt *gpt = make_gpt(&config);
        read_model(from, gpt);
        must(llmc_write_model(to, gpt, version, &e), &e);
        must(files_read_all(to, 1 << 20, &got, &got_size, &e), &e);
        memset(bytes + HEADER + V * C * width, 0, (PADDED - V) * C * width);
        if (check(got_size == size, "%zu bytes, not %zu", got_size, size))
            check_same_bits(got, bytes, size, "the file");
        free(got);
        free(bytes);
        gpt_free(gpt);
    }
}

/* To the nearest, ties to even; 2^-8 is half of the last bit's weight at 1. */
static void test_rounding(void)
{
    static const struct {
        float x;
        unsigned bits;
    } pairs[] = {{1.0f, 0x3f80},         {1 + 0x1p-8f, 0x3f80},   {1 + 0x1.8p-8f, 0x3f81}, {1 + 0x1.8p-7f, 0x3f82},
                 {-1 - 0x1p-8f, 0xbf80}, {1 + 0x1.fp-9f, 0x3f80}, {-0x1p-133f, 0x8001},    {2 - 0x1p-23f, 0x4000},
                 {0x1.fep127f, 0x7f7f},  {0.0f, 0x0000},          {-3.0f, 0xc040}};
    enum { PAIRS = sizeof pairs / sizeof *pairs };
    char path[128], *text;
    size_t size;
    Error e;
    Gpt *gpt = make_gpt(&config);
    const Tensor *wte = gpt_table_find(gpt_table(gpt), "wte.weight");
    float *x = make_floats(tensor_size(wte));
    for (size_t i = 0; i < PAIRS; i++)
        x[i] = pairs[i].x;
    gpt_write(gpt, GPT_PARAMS, wte, x);
    must(llmc_write_model(in_folder("rounded.bin", path), gpt, LLMC_BF16, &e), &e);
    must(files_read_all(path, 1 << 20, &text, &size, &e), &e);
    for (size_t i = 0; i < PAIRS; i++) {
        const unsigned char *at = (unsigned char *)text + HEADER + 2 * i;
        const unsigned got = at[0] | (unsigned)at[1] << 8;
        check(got == pairs[i].bits, "%.9g is %04x, not %04x", (double)pairs[i].x, got, pairs[i].bits);
    }
    x[7] = 0x1.ffp127f;
    gpt_write(gpt, GPT_PARAMS, wte, x);
    must(llmc_write_model(path, gpt, LLMC_FP32, &e), &e);
    refused(llmc_write_model(path, gpt, LLMC_BF16, &e), &e, "bf16 cannot hold", path, "a number beyond bf16's");
    free(x);
    free(text);
    gpt_free(gpt);
}

/* One number of the header, another file size, or one value. */
static void test_refused_files(void)
{
    static const struct {
        int at, number;
        const char *word;
    } headers[] = {
        {0, 20240327, "begins with 20240327"},
        {0, 0, "begins with 0"},
        {1, 1, "version 1"},
        {1, 4, "version 4"},
        {1, -3, "version -3"},
        {2, 0, "n_positions"},
        {2, 4, "bytes"},
        {3, -1, "vocab_size is -1"},
        {3, PADDED + 1, "padded vocabulary"},
        {4, 0, "n_layer"},
        {4, 1, "bytes"},
        {4, 2147483647, "n_layer"},
        {5, 3, "heads"},
        {5, 0, "n_head"},
        {6, 2147483647, "n_embd"},
        {6, 1 << 20, "bytes"},
        {7, 0, "padded vocabulary"},
        {7, 256, "bytes"},
        {7, 2147483647, "bytes"},
        {7, -1, "padded vocabulary"},
    };
    static const size_t sizes[] = {0, 3, 1023, 1024, 2000};
    char path[128];
    size_t size;
    LlmcModel model;
    Error e;
    unsigned char *bytes = make_model(LLMC_FP32, &size);
    in_folder("refused.bin", path);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        int32_t was;
        unsigned char *at = bytes + 4 * headers[i].at;
        memcpy(&was, at, sizeof was);
        memcpy(at, &headers[i].number, sizeof was);
        must(files_write_atomic(path, bytes, size, &e), &e);
        refused(llmc_open_model(path, &model, &e), &e, headers[i].word, path, headers[i].word);
        llmc_close(&model.file);
        memcpy(at, &was, sizeof was);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        must(files_write_atomic(path, bytes, sizes[i], &e), &e);
        refused(llmc_open_model(path, &model, &e), &e, "bytes", path, "a file cut short");
        llmc_close(&model.file);
    }
    bytes = realloc(bytes, size + 1);
    must(files_write_atomic(path, bytes, size + 1, &e), &e);
    refused(llmc_open_model(path, &model, &e), &e, "bytes", path, "a byte too many");
    llmc_close(&model.file);
    refused(llmc_open_model("/none/model.bin", &model, &e), &e, "cannot be opened", "/none/model.bin", "no file");
    llmc_close(&model.file);
    const float infinite = INFINITY;
    memcpy(bytes + HEADER + 4 * place_of("h.1.mlp.c_fc.bias"), &infinite, sizeof infinite);
    must(files_write_atomic(path, bytes, size, &e), &e);
    Gpt *gpt = make_gpt(&config);
    must(llmc_open_model(path, &model, &e), &e);
    refused(llmc_read_model(&model, gpt, &e), &e, "h.1.mlp.c_fc.bias holds inf", path, "an infinite weight");
    llmc_close(&model.file);
    gpt_free(gpt);
    free(bytes);
}

static void test_refused_models(void)
{
#define SIZES .L = L, .NH = NH, .C = C, .V = V, .T = T
    static const struct {
        const char *word;
        GptConfig c;
    } others[] = {
        {"activation_function is relu2; only gelu_new", {SIZES, .activation = GPT_RELU2}},
        {"n_inner is 17; only 16", {SIZES, .F = 17}},
        {"head is untied", {SIZES, .head = GPT_UNTIED}},
        {"num_key_value_heads is 1", {SIZES, .KVH = 1}},
        {"position_encoding is rotary", {SIZES, .positions = GPT_ROTARY}},
        {"norm is rmsnorm", {SIZES, .norm = GPT_RMSNORM}},
        {"layer_norm_epsilon is 0.001", {SIZES, .norm_eps = 1e-3}},
        {"attention_scale is 1", {SIZES, .attention_scale = 1}},
        {"mlp_bias is off", {SIZES, .mlp_bias = GPT_MLP_BIAS_OFF}},
        {"logit_softcap is tanh", {SIZES, .softcap = GPT_SOFTCAP_TANH}},
    };
    char path[128];
    Error e;
    in_folder("other.bin", path);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        Gpt *gpt = make_gpt(&others[i].c);
        refused(llmc_write_model(path, gpt, LLMC_FP32, &e), &e, others[i].word, path, others[i].word);
        check(!exists(path), "%s: a file was made", others[i].word);
        gpt_free(gpt);
    }
    Gpt *gpt = make_gpt(&(GptConfig){SIZES, .init = GPT_INIT_TRACK3});
    must(llmc_write_model(path, gpt, LLMC_FP32, &e), &e); /* what it was drawn from is nothing to its weights */
    gpt_free(gpt);
#undef SIZES
}

/* A state's bytes, of 2 x 3 tokens; the caller frees them. */
static unsigned char *make_state(size_t *size)
{
    enum { B = 2, R = B * T };
    const int32_t header[4] = {20240327, 2, B, T};
    const size_t n = 2 * R + R * V + 1 + count_values();
    unsigned char *bytes = calloc(4, HEADER / 4 + n);
    memcpy(bytes, header, sizeof header);
    for (size_t i = 0; i < n; i++) {
        const float real = (float)i;
        const int32_t whole = (int32_t)i;
        memcpy(bytes + HEADER + 4 * i, i < 2 * R ? (const void *)&whole : (const void *)&real, 4);
    }
    *size = HEADER + 4 * n;
    return bytes;
}

static void open_model(LlmcModel *model)
{
    char path[128];
    size_t size;
    Error e;
    unsigned char *bytes = make_model(LLMC_BF16, &size); /* the state is in fp32 all the same */
    must(files_write_atomic(in_folder("states.bin", path), bytes, size, &e), &e);
    must(llmc_open_model(path, model, &e), &e);
    free(bytes);
}

static void test_state(void)
{
    char path[128];
    size_t size;
    LlmcModel model;
    LlmcState state;
    GptTable table;
    int32_t tokens[6], targets[6];
    float logits[6 * V], loss, *gradient = make_floats(4 * C * C);
    Error e;
    open_model(&model);
    unsigned char *bytes = make_state(&size);
    must(files_write_atomic(in_folder("state.bin", path), bytes, size, &e), &e);
    must(llmc_state_open(path, &model, &state, &e), &e);
    must(llmc_state_tokens(&state, tokens, &e), &e);
    must(llmc_state_targets(&state, targets, &e), &e);
    must(llmc_state_logits(&state, logits, &e), &e);
    must(llmc_state_loss(&state, &loss, &e), &e);
    check(state.B == 2 && state.T == T, "%zu x %zu tokens", state.B, state.T);
    check(tokens[0] == 0 && tokens[5] == 5 && targets[0] == 6 && targets[5] == 11, "tokens %d .. %d, targets %d .. %d",
          (int)tokens[0], (int)tokens[5], (int)targets[0], (int)targets[5]);
    check(logits[0] == 12 && logits[29] == 41 && loss == 42, "logits %g .. %g, loss %g", (double)logits[0],
          (double)logits[29], (double)loss);
    must(gpt_table_make(&model.config, &table, &e), &e);
    for (const Tensor *t = table.tensors; t < table.tensors + table.count; t++) {
        must(llmc_read_tensor(&state.gradients, &table, t, gradient, &e), &e);
        const size_t first = 43 + place_of(t->name), n = tensor_size(t);
        check(gradient[0] == (float)first && gradient[n - 1] == (float)(first + n - 1), "%s begins with %g, not %zu",
              t->name, (double)gradient[0], first);
    }
    gpt_table_free(&table);
    llmc_close(&state.file);
    llmc_close(&model.file);
    free(gradient);
    free(bytes);
}

static void test_refused_states(void)
{
    static const struct {
        int at, number;
        const char *word;
    } headers[] = {
        {0, 20240326, "begins with 20240326"},
        {1, 1, "version 1"},
        {1, 3, "version 3"},
        {2, 0, "B = 0"},
        {2, -1, "B = -1"},
        {2, 2147483647, "sequences"},
        {2, 3, "bytes"},
        {3, 0, "T = 0"},
        {3, T + 1, "T = 4"},
        {3, -2147483647, "T = -"},
        {3, 1, "bytes"},
        {2, 1 << 20, "bytes"},
    };
    char path[128];
    size_t size;
    LlmcModel model;
    LlmcState state;
    Error e;
    open_model(&model);
    unsigned char *bytes = make_state(&size);
    in_folder("refused.bin", path);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        int32_t was;
        unsigned char *at = bytes + 4 * headers[i].at;
        memcpy(&was, at, sizeof was);
        memcpy(at, &headers[i].number, sizeof was);
        must(files_write_atomic(path, bytes, size, &e), &e);
        refused(llmc_state_open(path, &model, &state, &e), &e, headers[i].word, path, headers[i].word);
        llmc_close(&state.file);
        memcpy(at, &was, sizeof was);
    }
    must(files_write_atomic(path, bytes, size - 1, &e), &e);
    refused(llmc_state_open(path, &model, &state, &e), &e, "bytes", path, "a state cut short");
    llmc_close(&state.file);
    llmc_close(&model.file);
    free(bytes);
}

int main(void)
{
    if (!folder_begin("llmc"))
        return 1;
    check_run("a model is read", test_read);
    check_run("a model is written", test_write);
    check_run("rounding to bf16", test_rounding);
    check_run("refused files", test_refused_files);
    check_run("models that llm.c does not have", test_refused_models);
    check_run("a debug state", test_state);
    check_run("refused states", test_refused_states);
    folder_end();
    return check_summary();
}
