/*
 * Every kernel and product of a model, timed alone on the buffers of a model after a pass over drawn tokens.
 *
 * The kernels are train_gpt.cu's own, most of which no other file can call: it is included, and stands for its object
 * in this program.
 */
#include "train_gpt.cu"

#include "dev/bench/cuda/bench.cuh"
#include "dev/bench/cuda/table.cuh"

extern "C" {
#include "train/peak.h"
}

#include <algorithm>
#include <functional>
#include <string>

namespace bench {

/* --------------------------------------------------------------------------------------------------------------
 * What a kernel has to do
 */

const double COPY_SHARE = 0.8; /* of the copy's bandwidth: what elementwise kernels must reach */

/* The sizes that bytes and FLOPs follow from, as doubles; D: distinct tokens of a micro-batch. */
struct Sizes {
    double B, T, R, C, L, NH, Vp, D, block, blocks, arena, parameters;
};

static Sizes sizes_of(const GptConfig &c, size_t B, size_t T)
{
    const size_t R = B * T, block = std::min(R, classifier_rows(&c, GPT_RECOMPUTE_NOTHING));
    Sizes s = {};
    GptTable table;
    Error e;
    check(gpt_table_make(&c, &table, &e), &e);
    s.B = (double)B, s.T = (double)T, s.R = (double)R, s.C = (double)c.C, s.L = (double)c.L, s.NH = (double)c.NH;
    s.Vp = (double)gpt_padded_vocab(&c), s.D = (double)count_distinct(draw_tokens(R, c.V, 1));
    s.block = (double)block, s.blocks = s.R / s.block;
    s.arena = (double)table.arena_size, s.parameters = (double)table.parameters;
    gpt_table_free(&table);
    return s;
}

/* What the rows' functions run on: NULL where nothing is run. */
struct Subject {
    Gpt *g;
    Optim *adamw;
    float *qkv, *att, *lse, *dqkv, *scratch; /* of the fp32 attention */
};

static Activations<bf16> layer_of(const Gpt *g) { return activations_of<bf16>(g, 0, 0); }
static Weights<bf16> weights_of_layer(const Gpt *g) { return weights_of(g, (bf16 *)g->weights, 0); }

static void add_elementwise(std::vector<Row> *rows, const Sizes &s, const Subject *on)
{
    const double RC = s.R * s.C, must = COPY_SHARE;
    const auto add = [&](const char *name, double count, double bytes, std::function<void()> run) {
        rows->push_back({name, count, bytes, 0, MEMORY, must, run});
    };
    const auto R = [=] { return on->g->B * on->g->T; };
    const auto C = [=] { return on->g->config.C; };
    add("weights to bf16", 0, 6 * s.arena, [=] {
        on->g->params_version++;
        round_weights<bf16>(on->g);
    });
    add("embedding forward", 1, 4 * (s.D + s.T) * s.C + 4 * RC + 4 * s.R, [=] {
        const Weights<float> p = params_of(on->g, 0);
        embedding_forward(on->g, layer_of(on->g).residual, on->g->tokens, &p, R(), on->g->T, 0, C());
    });
    add("embedding backward", 1, 4 * RC + 8 * s.D * s.C + 4 * s.T * s.C + 8 * s.R, [=] {
        const Weights<float> dw = grads_of(on->g, 0);
        embedding_backward(on->g, &dw, on->g->dresidual, &on->g->config, on->g->B, on->g->T, true);
    });
    add("norm forward", 1, 6 * RC + 8 * s.R, [=] {
        const Activations<bf16> a = layer_of(on->g);
        const Weights<float> p = params_of(on->g, 0);
        norm_forward<bf16>(on->g, a.ln1, a.ln1_mean, a.ln1_rstd, NULL, a.residual, NULL, no_dropout(),
                           norm_of(on->g, p.ln1w, p.ln1b), R(), C());
    });
    add("sum and norm forward", 2 * s.L, 12 * RC + 8 * s.R, [=] {
        const Activations<bf16> a = layer_of(on->g);
        const Weights<float> p = params_of(on->g, 0);
        norm_forward<bf16>(on->g, a.ln2, a.ln2_mean, a.ln2_rstd, a.residual_mid, a.residual,
                           (const bf16 *)on->g->narrow, no_dropout(), norm_of(on->g, p.ln2w, p.ln2b), R(), C());
    });
    add("norm backward", 2 * s.L + 1, 16 * RC + 8 * s.R, [=] {
        Gpt *g = on->g;
        const Activations<bf16> a = layer_of(g);
        const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
        norm_backward<bf16>(g,
                            {g->dresidual, (bf16 *)g->dresidual_rounded, (const bf16 *)g->narrow, a.residual_mid,
                             a.ln2_mean, a.ln2_rstd, norm_of(g, p.ln2w, p.ln2b), false, no_dropout()},
                            dw.ln2w, dw.ln2b, dw.attprojb, R(), C(), true);
    });
    add("bias gradient apart, 4C", 0, 8 * RC,
        [=] { bias_backward(on->g, grads_of(on->g, 0).fcb, (const bf16 *)on->g->wide, 4 * C(), R(), 4 * C(), true); });
    add("bias gradient apart, 3C", 0, 6 * RC,
        [=] { bias_backward(on->g, grads_of(on->g, 0).qkvb, (const bf16 *)on->g->wide, 3 * C(), R(), 3 * C(), true); });
    add("gelu once more", 0, 16 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        activation_forward(on->g, a.act, a.fc, R(), 4 * C());
    });
    add("bias and gelu apart", 0, 24 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        apply_epilogue(on->g, a.fc, 4 * C(), params_of(on->g, 0).fcb, a.act, (const bf16 *)NULL, R(), 4 * C());
    });
    add("gelu slope apart", 0, 24 * RC, [=] {
        const Activations<bf16> a = layer_of(on->g);
        apply_epilogue(on->g, (bf16 *)on->g->wide, 4 * C(), NULL, (bf16 *)NULL, (const bf16 *)a.fc, R(), 4 * C());
    });
    /* Of a model that has them; here with what lies in the buffers for angles and roots. */
    const auto heads = [=] {
        const GptConfig &c = on->g->config;
        return Heads{on->g->T,
                     0,
                     (unsigned)c.NH,
                     (unsigned)c.KVH,
                     (unsigned)gpt_head_size(&c),
                     true,
                     1e-5f,
                     1,
                     on->g->residual_final,
                     NULL,
                     NULL,
                     on->g->partial_sums,
                     NULL};
    };
    const auto grid = [=] { return dim3(2 * (unsigned)on->g->config.NH, (unsigned)parts_of(R())); };
    add("q and k: norm and rotary", 0, 8 * RC, [=] {
        with_head_pack(&on->g->config, [&](auto N) {
            cuda_launch(heads_forward_kernel<N, bf16>, grid(), 32 * HEAD_WARPS, 0, on->g->stream, layer_of(on->g).qkv,
                        heads(), R());
        });
    });
    add("q and k: their gradients", 0, 12 * RC, [=] {
        with_head_pack(&on->g->config, [&](auto N) {
            cuda_launch(heads_backward_kernel<N, bf16>, grid(), 32 * HEAD_WARPS, 0, on->g->stream, (bf16 *)on->g->wide,
                        (const bf16 *)layer_of(on->g).qkv, (float *)NULL, heads(), R());
        });
    });
    const auto entropy = [=](bool backward) {
        Gpt *g = on->g;
        cross_entropy(g, (bf16 *)g->logits, g->losses, g->targets,
                      std::min(R(), classifier_rows(&g->config, g->setup.recompute)), &g->config, 1e-3f, backward);
    };
    add("cross-entropy alone", 0, 2 * s.block * s.Vp + 12 * s.block, [=] { entropy(false); });
    add("cross-entropy and gradient", s.blocks, 4 * s.block * s.Vp + 12 * s.block, [=] { entropy(true); });
    add("adamw, whole update", 0, 28 * s.parameters, [=] {
        optim_begin(on->adamw, 1e-6, 1e-6);
        optim_step(on->adamw, 1);
    });
    rows->push_back(
        {"gradient norm, to the host", 0, 4 * s.parameters, 0, MEMORY, 0, [=] { optim_grad_norm(on->adamw, NULL); }});
}

/* FLOPs of causal attention: the half of the (T,T) products that is needed; 2 forward, 5 backward. */
static void add_attention(std::vector<Row> *rows, const Sizes &s, const Subject *on)
{
    const double RC = s.R * s.C, product = s.R * s.T * s.C, lse = 4 * s.R * s.NH;
    rows->push_back({"flash forward", s.L, 8 * RC + lse, 2 * product, TENSOR_CORES, 0, [=] {
                         const Activations<bf16> a = layer_of(on->g);
                         attention_forward(on->g, 0, a.att, a.att_lse, (const bf16 *)a.qkv);
                     }});
    rows->push_back({"flash backward", s.L, 16 * RC + lse, 5 * product, TENSOR_CORES, 0, [=] {
                         const Activations<bf16> a = layer_of(on->g);
                         attention_backward(on->g, 0, (bf16 *)on->g->wide, (const bf16 *)on->g->narrow, &a);
                     }});
    rows->push_back({"fp32 attention forward", 0, 16 * RC + lse, 2 * product, FP32_CORES, 0,
                     [=] { attention_forward(on->g, 0, on->att, on->lse, (const float *)on->qkv); }});
    rows->push_back({"fp32 attention backward", 0, 32 * RC + lse, 5 * product, FP32_CORES, 0, [=] {
                         const Gpt *g = on->g;
                         attention_fp32_backward(g->stream, on->dqkv, on->att, on->qkv, on->att, on->lse, on->scratch,
                                                 attention_shape(&g->config, g->B, g->T), attention_drop(g, 0));
                     }});
}

/* Layer 0's linear maps, IC -> OC channels. */
struct Map {
    const char *name;
    size_t IC, OC;
    bf16 *inp = NULL, *out = NULL, *gelu = NULL, *weight = NULL;
    const bf16 *bias = NULL;
    const float *bias_fp32 = NULL;
    float *dweight = NULL, *dbias = NULL;
};

static std::vector<Map> list_maps(const GptConfig &c, const Gpt *g)
{
    const size_t C = c.C;
    if (g == NULL)
        return {{"qkv", C, 3 * C}, {"attproj", C, C}, {"fc", C, 4 * C}, {"fcproj", 4 * C, C}};
    const Activations<bf16> a = layer_of(g);
    const Weights<bf16> w = weights_of_layer(g);
    const Weights<float> p = params_of(g, 0), dw = grads_of(g, 0);
    bf16 *narrow = (bf16 *)g->narrow;
    return {{"qkv", C, 3 * C, a.ln1, a.qkv, NULL, w.qkvw, w.qkvb, p.qkvb, dw.qkvw, dw.qkvb},
            {"attproj", C, C, a.att, narrow, NULL, w.attprojw, w.attprojb, p.attprojb, dw.attprojw},
            {"fc", C, 4 * C, a.ln2, a.fc, a.act, w.fcw, w.fcb, p.fcb, dw.fcw, dw.fcb},
            {"fcproj", 4 * C, C, a.act, narrow, NULL, w.fcprojw, w.fcprojb, p.fcprojb, dw.fcprojw}};
}

static void add_map(std::vector<Row> *rows, const Sizes &s, const Map &map, Gpt *g)
{
    const double IC = (double)map.IC, OC = (double)map.OC, flops = 2 * s.R * IC * OC;
    const bool is_fc = strcmp(map.name, "fc") == 0, is_fcproj = strcmp(map.name, "fcproj") == 0;
    const double moved = 2 * (s.R * IC + s.R * OC);
    const std::string name = map.name;
    rows->push_back({name + (is_fc ? " + bias, gelu" : " + bias"), s.L,
                     moved + 2 * IC * OC + (is_fc ? 2 * s.R * OC : 0), flops, TENSOR_CORES, 0, [=] {
                         linear_forward<bf16>(g, map.out, map.OC, map.gelu, map.inp,
                                              {map.weight, map.bias, map.bias_fp32}, g->B * g->T, map.IC, map.OC);
                     }});
    /* gradients of the wide side lie in wide, of the narrow side in dresidual_rounded or narrow */
    rows->push_back({name + (is_fcproj ? " input's gradient, gelu" : " input's gradient"), s.L,
                     moved + 2 * IC * OC + (is_fcproj ? 2 * s.R * IC : 0), flops, TENSOR_CORES, 0, [=] {
                         bf16 *dres = (bf16 *)g->dresidual_rounded, *wide = (bf16 *)g->wide;
                         if (is_fcproj)
                             fc_backward(g, wide, (const bf16 *)dres, layer_of(g), weights_of_layer(g), g->B * g->T);
                         else
                             linear_backward_input(g, (bf16 *)g->narrow,
                                                   (const bf16 *)(map.OC > g->config.C ? wide : dres), map.OC,
                                                   (const bf16 *)map.weight, g->B * g->T, map.IC, map.OC, true);
                     }});
    const auto weight = [=](float *dbias) {
        const bf16 *dout = (const bf16 *)(map.OC > g->config.C ? g->wide : g->dresidual_rounded);
        linear_backward_weight(g, map.dweight, dbias, dout, map.OC, (const bf16 *)map.inp, g->B * g->T, map.IC, map.OC,
                               false);
    };
    const double gradient = moved + 8 * IC * OC;
    const bool with_bias = map.OC > map.IC; /* the narrow maps' is norm_backward's */
    rows->push_back(
        {name + " weight's gradient", with_bias ? 0 : s.L, gradient, flops, TENSOR_CORES, 0, [=] { weight(NULL); }});
    if (with_bias)
        rows->push_back({name + " weight's, bias's gradient", s.L, gradient + 8 * OC, flops, TENSOR_CORES, 0,
                         [=] { weight(map.dbias); }});
}

static void add_products(std::vector<Row> *rows, const Sizes &s, const GptConfig &c, Gpt *g)
{
    for (const Map &map : list_maps(c, g))
        add_map(rows, s, map, g);
    const double flops = 2 * s.block * s.C * s.Vp, lnf = 2 * s.block * s.C, wte = 2 * s.Vp * s.C;
    const double logits = 2 * s.block * s.Vp;
    const size_t C = c.C, Vp = gpt_padded_vocab(&c), block = (size_t)s.block;
    const auto wte_of = [=] { return (const bf16 *)weights_of_layer(g).wte; };
    rows->push_back({"logits", s.blocks, lnf + wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, false, true, block, Vp, C, (const bf16 *)g->lnf, C, wte_of(), C, 0,
                                 (bf16 *)g->logits, Vp);
                     }});
    rows->push_back({"lnf's gradient", s.blocks, lnf + wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, false, false, block, C, Vp, (const bf16 *)g->logits, Vp, wte_of(), C, 0,
                                 (bf16 *)g->narrow, C);
                     }});
    rows->push_back({"wte's gradient", s.blocks, lnf + 4 * wte + logits, flops, TENSOR_CORES, 0, [=] {
                         product(g, true, false, Vp, C, block, (const bf16 *)g->logits, Vp, (const bf16 *)g->lnf, C, 1,
                                 grads_of(g, 0).wte, C);
                     }});
}

/* --------------------------------------------------------------------------------------------------------------
 * The timing
 */

static double measure_gemm(Timer *t, Gpt *g, size_t n)
{
    bf16 *a = allocate_filled<bf16>(n * n), *b = allocate_filled<bf16>(n * n);
    bf16 *c = (bf16 *)allocate(n * n * sizeof(bf16));
    const double seconds = time_of(t, [&] { product(g, false, true, n, n, n, a, n, b, n, 0, c, n); });
    const double rate = 2 * (double)n * (double)n * (double)n / seconds;
    printf("product of %zu x %zu in bf16: %.1f TFLOP/s\n", n, n, 1e-12 * rate);
    for (bf16 *x : {a, b, c})
        CUDA_CHECK(cudaFree(x));
    return rate;
}

static Subject make_subject(const Options &o, size_t B)
{
    const size_t R = B * o.T, C = o.config.C;
    const std::vector<int32_t> tokens = draw_tokens(R, o.config.V, 1), targets = draw_tokens(R, o.config.V, 2);
    Subject s = {};
    s.g = make_gpt(o, B);
    const Arenas arenas = gpt_arenas(s.g);
    s.adamw = make_optim("adamw", gpt_table(s.g), &arenas);
    gpt_forward(s.g, tokens.data(), B, o.T);
    gpt_backward(s.g, targets.data(), 1.0 / (double)R, true);
    gpt_loss_sum(s.g);
    s.qkv = allocate_filled<float>(3 * R * C);
    s.att = (float *)allocate(R * C * sizeof(float));
    s.lse = (float *)allocate(R * o.config.NH * sizeof(float));
    s.dqkv = (float *)allocate(3 * R * C * sizeof(float));
    s.scratch = (float *)allocate(attention_fp32_scratch(attention_shape(gpt_config(s.g), B, o.T)) * sizeof(float));
    return s;
}

static void free_subject(Subject *s)
{
    for (float *x : {s->qkv, s->att, s->lse, s->dqkv, s->scratch})
        CUDA_CHECK(cudaFree(x));
    optim_free(s->adamw);
    gpt_free(s->g);
}

/* 16 sequences, or what fits beside the fp32 attention's buffers, the copy's and the product's. */
static size_t kernels_batch(const Options &o)
{
    const double others = 2 * (double)(o.copy_mib << 20) + 6 * (double)o.gemm * (double)o.gemm;
    const double row = 40 * (double)o.config.C;
    size_t B = o.B > 0 ? o.B : 16;
    if (o.counted)
        return B;
    const double room = 0.92 * (double)gpt_memory_present() - others;
    while (B > 1 && memory_of(o, B, "adamw") + row * (double)(B * o.T) > room)
        B /= 2;
    return B;
}

void part_kernels(const Options &o)
{
    const size_t B = kernels_batch(o);
    const Sizes s = sizes_of(o.config, B, o.T);
    Ceilings ceilings = yardstick;
    Subject subject = {};
    Timer timer = {};
    std::vector<Row> rows;
    printf("\nKernels of %s, B=%zu T=%zu: %zu rows, %.0f distinct tokens\n", o.model, B, o.T, B * o.T, s.D);
    if (!o.counted) {
        subject = make_subject(o, B);
        timer = make_timer(subject.g->stream, o.flush_mib << 20, o.rounds);
        ceilings = {measure_copy(&timer, o.copy_mib << 20), measure_gemm(&timer, subject.g, o.gemm),
                    peak_flops(gpt_device_name(), GPT_FP32)};
        number("kernels_batch", (double)B);
        number("copy_bytes_per_second", ceilings.copy);
        number("gemm_flops", ceilings.gemm);
    }
    add_elementwise(&rows, s, &subject);
    add_attention(&rows, s, &subject);
    add_products(&rows, s, o.config, subject.g);
    report_rows(rows, ceilings, s.R, s.R * gpt_flops_per_token(&o.config, o.T), o.counted ? NULL : &timer);
    if (o.counted)
        return;
    for (const auto &entry : subject.g->lt.plans)
        if (!entry.second.found)
            printf("cuBLASLt lacks a product of %zu x %zu x %zu with epilogue %zu: taken apart\n", entry.first[0],
                   entry.first[1], entry.first[2], entry.first[9]);
    free_timer(&timer);
    free_subject(&subject);
}

} // namespace bench
