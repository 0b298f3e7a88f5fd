/*
 * Tests of both attentions (gpt/cuda/flash.cuh, gpt/cuda/attention.cuh) against plain loops in double, for every width
 * of head, heads of queries that share keys or have their own, sequences of one and of several tiles, whole and ragged,
 * groups of one head or several, without dropout and with it. On the CPU every test runs with its threads in forward,
 * in reverse and in random order, and the orders must agree in every bit; so must the kernels for GPUs with less shared
 * memory, and a sequence alone and in a batch. It is plain CUDA, so a GPU can judge it too.
 *
 * attention.cu is included, and stands for its object in this program.
 */
#include "base/cuda.cuh"
#include "dev/cuda_on_cpu/needs.cuh"
#include "gpt/cuda/attention.cu"
#include "gpt/cuda/flash.cuh"
#include "gpt/cuda/score.cuh"

#include <cfloat>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

extern "C" {
#include "dev/tests/check.h"
}

using bf16 = __nv_bfloat16;

/* Rounding moves a number by at most this part of itself: bf16 has 8 bits, fp32 has 24. */
static const double BF16 = 1.0 / (1 << 8), FP32 = 1.0 / (1 << 24);
enum { GUARDS = 64 };

/* group: heads whose blocks are neighbours, of queries in flash attention's forward pass, of keys in its backward pass.
 * CHOSEN: what flash_forward and flash_backward choose. PLAIN: not flash attention, but that in fp32. */
enum : size_t { CHOSEN = 0, PLAIN = 99 };
struct Sizes {
    size_t B, T, NH, KVH, HS, group;
    float scale = 0;    /* 0: 1/sqrt(HS) */
    double p = 0;       /* of dropout */
    size_t first = 0;   /* number of the first sequence */
    bool other = false; /* what flash attention does on GPUs with less shared memory, unless CHOSEN */
    AttentionShape shape() const { return {B, T, NH, KVH, HS, scale != 0 ? scale : 1 / sqrtf(float(HS))}; }
};

/* Dropout's key and layer; the rest is of the sizes. */
static const uint64_t KEY = 0x0123456789abcdef;
static const size_t LAYER = 3;

static AttentionDropout dropout_of(const Sizes &s, const uint64_t *pass)
{
    return {pass, LAYER, uint32_t(s.p * 4294967296.0), 1 / (1 - float(s.p))};
}

/* n elements on the device between guards, which the destructor looks at; all of it is NaN at first. */
template <class T> struct Guarded {
    T *all = nullptr;
    size_t n;
    const char *what;
    Guarded(size_t count, const char *name) : n(count), what(name)
    {
        const std::vector<unsigned char> bytes((n + 2 * GUARDS) * sizeof(T), 0xff);
        CUDA_CHECK(cudaMalloc(&all, bytes.size()));
        CUDA_CHECK(cudaMemcpy(all, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    }
    Guarded(const std::vector<T> &v, const char *name) : Guarded(v.size(), name)
    {
        CUDA_CHECK(cudaMemcpy(p(), v.data(), n * sizeof(T), cudaMemcpyHostToDevice));
    }
    Guarded(const Guarded &) = delete;
    ~Guarded()
    {
        std::vector<unsigned char> bytes((n + 2 * GUARDS) * sizeof(T));
        CUDA_CHECK(cudaMemcpy(bytes.data(), all, bytes.size(), cudaMemcpyDeviceToHost));
        const size_t edge = GUARDS * sizeof(T);
        bool whole = true;
        for (size_t i = 0; i < edge; i++)
            whole = whole && bytes[i] == 0xff && bytes[bytes.size() - 1 - i] == 0xff;
        check(whole, "something was written beside %s", what);
        CUDA_CHECK(cudaFree(all));
    }
    T *p() const { return all + GUARDS; }
    std::vector<T> read() const
    {
        std::vector<T> v(n);
        CUDA_CHECK(cudaMemcpy(v.data(), p(), n * sizeof(T), cudaMemcpyDeviceToHost));
        return v;
    }
};

static void set(bf16 *x, float to) { *x = __float2bfloat16_rn(to); }
static void set(float *x, float to) { *x = to; }
static double value(bf16 x) { return double(__bfloat162float(x)); }
static double value(float x) { return double(x); }

template <class X> static std::vector<X> random_numbers(size_t n, unsigned seed)
{
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<X> v(n);
    for (X &x : v)
        set(&x, normal(generator));
    return v;
}

template <class X> static std::vector<double> values(const std::vector<X> &x)
{
    std::vector<double> v(x.size());
    for (size_t i = 0; i < v.size(); i++)
        v[i] = value(x[i]);
    return v;
}

/* A head of queries and the head of keys that it reads, in double: every array (T,HS) but those said to be (T,T) or
 * (T). */
struct Judge {
    size_t T, HS, share; /* share: heads of queries that read this head of keys */
    double scale;
    double operand, result; /* the part of itself by which rounding may move an operand of a product, and a result */
    std::vector<double> q, k, v, dout;
    std::vector<double> P, factors;     /* (T,T); factors: dropout's, or empty */
    std::vector<double> lse, s_error;   /* (T); the error that fp32 may put into a score of the row */
    double largest, largest_error;      /* score */
    std::vector<double> att, att_error; /* and the error that the kernel may make */
    std::vector<double> dq, dq_error;
    std::vector<double> dk, dv, dk_error, dv_error; /* sums over the heads of queries */
};

static std::vector<double> part_of(const std::vector<double> &x, size_t T, size_t HS, size_t at, size_t stride)
{
    std::vector<double> part(T * HS);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < HS; c++)
            part[t * HS + c] = x[at + t * stride + c];
    return part;
}

/* Row i of x times row j of y; size: of the absolute values. */
static double dot(const double *x, const double *y, size_t n, double *size)
{
    double sum = 0;
    *size = 0;
    for (size_t c = 0; c < n; c++) {
        sum += x[c] * y[c];
        *size += fabs(x[c] * y[c]);
    }
    return sum;
}

/* What dropout multiplies element (i,j) of P with. */
static double factor(const Judge &h, size_t i, size_t j) { return h.factors.empty() ? 1 : h.factors[i * h.T + j]; }

/*
 * The bounds: every sum is in fp32, of at most HS, T or, over the heads that share keys, T share terms, and so wrong by
 * at most (terms FP32) of its terms' absolute values. A score's error e, of s_error, makes a probability wrong by the
 * part e, its normaliser too; an exponential adds 4 FP32. Flash attention rounds probabilities to bf16 once, as
 * operands, and results once; the fp32 attention rounds results to fp32.
 *
 * Dropout comes after the normaliser, which knows nothing of it. A factor m, 0 or 1/(1-p), makes a probability, and
 * every error above that is a part of it, m times as large; the product m P is rounded once more, by FP32. It makes dP
 * and its error m times as large too, but a fused multiply-add subtracts delta, without a rounding of m dP. In dS, P
 * itself has no factor.
 */
static void forward(Judge *h)
{
    const size_t T = h->T, HS = h->HS;
    h->P.assign(T * T, 0);
    h->lse.resize(T);
    h->s_error.assign(T, 0);
    h->largest = -INFINITY;
    h->largest_error = 0;
    h->att.assign(T * HS, 0);
    h->att_error.assign(T * HS, 0);
    for (size_t i = 0; i < T; i++) {
        double *p = &h->P[i * T], most = -INFINITY, sum = 0, size;
        for (size_t j = 0; j <= i; j++) {
            p[j] = h->scale * dot(&h->q[i * HS], &h->k[j * HS], HS, &size);
            most = fmax(most, p[j]);
            /* sums of HS terms; the scale, its product and the maximum's, to base 2 and back */
            h->s_error[i] = fmax(h->s_error[i], FP32 * (double(HS) + 8) * h->scale * size);
        }
        h->largest = fmax(h->largest, most);
        h->largest_error = fmax(h->largest_error, h->s_error[i]);
        for (size_t j = 0; j <= i; j++)
            sum += p[j] = exp(p[j] - most);
        h->lse[i] = most + log(sum);
        const double part = 2 * h->s_error[i] + FP32 * (double(T) + 8), again = h->factors.empty() ? 0 : FP32;
        for (size_t j = 0; j <= i; j++) {
            p[j] /= sum;
            const double mp = factor(*h, i, j) * p[j];
            for (size_t c = 0; c < HS; c++) {
                h->att[i * HS + c] += mp * h->v[j * HS + c];
                h->att_error[i * HS + c] += (h->operand + 2 * part + again) * mp * fabs(h->v[j * HS + c]);
            }
        }
        for (size_t c = 0; c < HS; c++)
            h->att_error[i * HS + c] += h->result * fabs(h->att[i * HS + c]);
    }
}

/* Beside what holds for the forward pass: dS is an operand too. given: att, as the forward pass rounded it, is an
 * input. dk and dv go on from the previous head of queries. */
static void backward(Judge *h, const std::vector<double> &given)
{
    const size_t T = h->T, HS = h->HS;
    const double sum = FP32 * double(T), shared_sum = sum * double(h->share), again = h->factors.empty() ? 0 : FP32;
    h->dq.assign(T * HS, 0);
    h->dq_error.assign(T * HS, 0);
    for (size_t i = 0; i < T; i++) {
        double delta_size, size;
        const double *dout = &h->dout[i * HS], delta = dot(dout, &given[i * HS], HS, &delta_size);
        const double part = 2 * h->s_error[i] + FP32 * (double(T) + 8 + 2 * fabs(h->lse[i]));
        for (size_t j = 0; j <= i; j++) {
            const double p = h->P[i * T + j], m = factor(*h, i, j), mp = m * p;
            const double dp = m * dot(dout, &h->v[j * HS], HS, &size), ds = p * (dp - delta);
            const double p_error = (h->operand + 2 * part + again) * mp;
            const double ds_error =
                (h->operand + 2 * part) * fabs(ds) + FP32 * (double(HS) + 2) * p * (m * size + delta_size);
            for (size_t c = 0; c < HS; c++) {
                const double q = h->scale * h->q[i * HS + c], k = h->scale * h->k[j * HS + c];
                h->dv[j * HS + c] += mp * dout[c];
                h->dv_error[j * HS + c] += (p_error + (shared_sum - sum) * mp) * fabs(dout[c]); /* part has the first */
                h->dq[i * HS + c] += ds * k;
                h->dq_error[i * HS + c] += (ds_error + sum * fabs(ds)) * fabs(k);
                h->dk[j * HS + c] += ds * q;
                h->dk_error[j * HS + c] += (ds_error + shared_sum * fabs(ds)) * fabs(q);
            }
        }
    }
    for (size_t x = 0; x < T * HS; x++)
        h->dq_error[x] += h->result * fabs(h->dq[x]);
}

/* Products of two errors are not counted above: the bounds are 1% wider. */
static void check_part(const std::vector<double> &got, size_t at, size_t stride, const std::vector<double> &want,
                       const std::vector<double> &error, const Judge &h, const char *what)
{
    for (size_t t = 0; t < h.T; t++)
        for (size_t c = 0; c < h.HS; c++)
            if (!check_close(got[at + t * stride + c], want[t * h.HS + c], 1.01 * error[t * h.HS + c], what))
                return;
}

struct Results {
    std::vector<double> att, dqkv;
    std::vector<float> lse;
    std::vector<uint32_t> largest; /* keys */
};

static void run_kernels(const Sizes &s, bf16 *att, float *lse, uint32_t *largest, bf16 *dqkv, const bf16 *qkv,
                        const bf16 *datt, float *scratch, const AttentionDropout &drop)
{
    if (s.group == CHOSEN) {
        flash_forward(0, att, lse, largest, qkv, s.shape(), drop);
        flash_backward(0, dqkv, datt, qkv, att, lse, scratch, s.shape(), drop);
    } else {
        flash::forward(0, att, lse, largest, qkv, s.shape(), drop, {s.group, s.other});
        flash::backward(0, dqkv, datt, qkv, att, lse, scratch, s.shape(), drop, {s.group, s.other});
    }
}

static void run_kernels(const Sizes &s, float *att, float *lse, uint32_t *largest, float *dqkv, const float *qkv,
                        const float *datt, float *scratch, const AttentionDropout &drop)
{
    attention_fp32_forward(0, att, lse, largest, qkv, s.shape(), drop);
    attention_fp32_backward(0, dqkv, datt, qkv, att, lse, scratch, s.shape(), drop);
}

static size_t scratch_floats(const Sizes &s)
{
    return s.group == PLAIN ? attention_fp32_scratch(s.shape()) : flash_scratch(s.shape());
}

template <class X> static Results run(const Sizes &s, const std::vector<X> &qkv, const std::vector<X> &datt)
{
    const size_t R = s.B * s.T;
    const Guarded<X> d_qkv(qkv, "qkv"), d_datt(datt, "datt"), att(datt.size(), "att"), dqkv(qkv.size(), "dqkv");
    const Guarded<float> lse(R * s.NH, "lse"), scratch(scratch_floats(s), "the scratch");
    const Guarded<uint32_t> largest(std::vector<uint32_t>(s.NH), "the largest scores");
    const Guarded<uint64_t> pass({KEY, s.first}, "the pass");
    run_kernels(s, att.p(), lse.p(), largest.p(), dqkv.p(), d_qkv.p(), d_datt.p(), scratch.p(),
                dropout_of(s, s.p > 0 ? pass.p() : nullptr));
    check_same_bits(d_qkv.read().data(), qkv.data(), qkv.size() * sizeof(X), "qkv, which is only read");
    return {values(att.read()), values(dqkv.read()), lse.read(), largest.read()};
}

/* (T,T) of a head of queries of a batch's sequence b; without dropout none. */
static std::vector<double> factors_of(const Sizes &s, size_t b, size_t head)
{
    if (s.p == 0)
        return {};
    const AttentionDropout of = dropout_of(s, nullptr);
    const Dropout d = {dropout_site_key(KEY, LAYER, DROPOUT_ATTENTION), s.first * s.NH * s.T, of.threshold, of.scale};
    std::vector<double> factors(s.T * s.T);
    for (size_t i = 0; i < s.T; i++)
        for (size_t j = 0; j < s.T; j++)
            factors[i * s.T + j] =
                double(dropout_factor(&d, dropout_row(&d, (b * s.NH + head) * s.T + i), uint32_t(j)));
    return factors;
}

/* A head's largest score in a batch, and the error that it may have. */
struct Largest {
    double score = -INFINITY, error = 0;
};

/* One head of keys of a batch's sequence b, and the heads of queries that read it; their largest scores go into
 * largest (NH). */
static void check_key_head(const Sizes &s, size_t b, size_t key_head, const Results &got,
                           const std::vector<double> &qkv, const std::vector<double> &datt,
                           std::vector<Largest> &largest)
{
    const AttentionShape shape = s.shape();
    const size_t T = s.T, HS = s.HS, C = attention_width(shape), S = attention_row(shape), row = b * T;
    const size_t k_at = row * S + (s.NH + key_head) * HS, v_at = k_at + s.KVH * HS;
    Judge h = {};
    h.T = T;
    h.HS = HS;
    h.share = s.NH / s.KVH;
    h.scale = double(shape.scale);
    h.operand = s.group == PLAIN ? 0 : BF16;
    h.result = s.group == PLAIN ? FP32 : BF16;
    h.k = part_of(qkv, T, HS, k_at, S);
    h.v = part_of(qkv, T, HS, v_at, S);
    for (std::vector<double> *x : {&h.dk, &h.dv, &h.dk_error, &h.dv_error})
        x->assign(T * HS, 0);
    for (size_t head = 0; head < s.NH; head++) {
        if (head / h.share != key_head)
            continue;
        const size_t q_at = row * S + head * HS, at = row * C + head * HS;
        h.q = part_of(qkv, T, HS, q_at, S);
        h.dout = part_of(datt, T, HS, at, C);
        h.factors = factors_of(s, b, head);
        forward(&h);
        backward(&h, part_of(got.att, T, HS, at, C));
        largest[head].score = fmax(largest[head].score, h.largest);
        largest[head].error = fmax(largest[head].error, h.largest_error);
        for (size_t i = 0; i < T; i++)
            check_close(double(got.lse[(b * s.NH + head) * T + i]), h.lse[i],
                        h.s_error[i] + FP32 * (double(T) + 8 + fabs(h.lse[i])), "lse");
        check_part(got.att, at, C, h.att, h.att_error, h, "att");
        check_part(got.dqkv, q_at, S, h.dq, h.dq_error, h, "dq");
    }
    for (size_t x = 0; x < T * HS; x++) {
        h.dk_error[x] += h.result * fabs(h.dk[x]);
        h.dv_error[x] += h.result * fabs(h.dv[x]);
    }
    check_part(got.dqkv, k_at, S, h.dk, h.dk_error, h, "dk");
    check_part(got.dqkv, v_at, S, h.dv, h.dv_error, h, "dv");
}

static const Sizes all_sizes[] = {
    {1, 1, 1, 1, 8, CHOSEN},
    {2, 37, 3, 3, 8, CHOSEN},
    {1, 150, 2, 2, 16, CHOSEN},
    {1, 150, 5, 5, 16, 1},
    {2, 64, 1, 1, 24, CHOSEN},
    {1, 65, 2, 2, 24, CHOSEN},
    {1, 200, 2, 2, 32, CHOSEN},
    {1, 129, 1, 1, 32, 1},
    {1, 1, 3, 3, 64, CHOSEN},
    {2, 65, 2, 2, 64, CHOSEN},
    {1, 128, 1, 1, 64, CHOSEN},
    {1, 200, 2, 2, 64, CHOSEN},
    {1, 200, 1, 1, 64, 1},
    {1, 300, 1, 1, 64, 2},
    {1, 300, 1, 1, 64, 1},
    {2, 37, 2, 2, 72, CHOSEN},
    {1, 150, 1, 1, 72, 1},
    {1, 65, 2, 2, 80, CHOSEN},
    {1, 200, 1, 1, 80, 2},
    {1, 64, 1, 1, 96, CHOSEN},
    {1, 150, 2, 2, 96, CHOSEN},
    {2, 65, 1, 1, 128, 1},
    {1, 200, 1, 1, 128, CHOSEN},
    {1, 150, 1, 1, 128, 2},
    {1, 1, 1, 1, 128, CHOSEN},
    /* heads of queries that share keys */
    {2, 157, 6, 1, 8, 2, 0.12f},
    {1, 301, 6, 2, 8, 1},
    {2, 37, 6, 3, 8, CHOSEN, 0.12f},
    {1, 157, 6, 6, 8, CHOSEN, 0.12f},
    {1, 301, 6, 1, 24, 2},
    {2, 129, 6, 2, 24, CHOSEN, 0.12f},
    {1, 259, 6, 3, 24, 1, 0.12f},
    {1, 37, 4, 1, 32, 1, 0.12f},
    {1, 301, 6, 1, 64, 1, 0.12f},
    {2, 157, 6, 2, 64, CHOSEN},
    {1, 301, 6, 3, 64, 2, 0.12f},
    {1, 301, 6, 3, 64, CHOSEN},
    {2, 65, 6, 6, 64, 1, 0.12f},
    {1, 1, 6, 2, 64, CHOSEN, 0.12f},
    {1, 157, 6, 1, 96, 3},
    {2, 65, 6, 2, 96, 1, 0.12f},
    {1, 131, 6, 3, 96, 2, 0.12f},
    {2, 37, 6, 6, 96, CHOSEN, 0.12f},
    {1, 199, 6, 1, 128, 2, 0.12f},
    {2, 67, 6, 2, 128, CHOSEN},
    {1, 157, 6, 3, 128, 1, 0.12f},
    {1, 65, 6, 6, 128, 2, 0.12f},
    /* in fp32 */
    {1, 1, 3, 3, 8, PLAIN},
    {2, 37, 6, 1, 8, PLAIN, 0.12f},
    {1, 65, 6, 3, 24, PLAIN},
    {2, 33, 5, 5, 24, PLAIN, 0.12f},
    {1, 97, 6, 2, 64, PLAIN, 0.12f},
    {1, 64, 4, 2, 64, PLAIN},
    {2, 31, 6, 1, 96, PLAIN},
    {1, 67, 4, 2, 96, PLAIN, 0.12f},
    {1, 65, 4, 1, 128, PLAIN, 0.12f},
    {2, 37, 2, 2, 128, PLAIN},
    {1, 37, 6, 2, 5, PLAIN}, /* widths that only it takes */
    {1, 1, 2, 1, 1, PLAIN},
    /* with dropout */
    {2, 37, 3, 3, 8, CHOSEN, 0, 0.2, 5},
    {1, 301, 4, 2, 24, 3, 0.12f, 0.9, 1},
    {1, 150, 2, 1, 32, 1, 0, 0.2},
    {2, 131, 4, 2, 64, CHOSEN, 0.12f, 0.2, 7},
    {1, 301, 2, 1, 64, 3, 0, 0.9, 1000003},
    {1, 1, 3, 1, 64, 1, 0, 0.9, 2},
    {1, 259, 2, 2, 64, 1, 0.12f, 0.2, 1},
    {1, 157, 6, 2, 80, 1, 0.12f, 0.9, 3},
    {2, 197, 2, 1, 96, 3, 0, 0.2, 11},
    {1, 199, 4, 2, 128, 3, 0.12f, 0.2, 9},
    {2, 67, 3, 1, 128, 1, 0, 0.9, 4},
    {2, 37, 6, 2, 8, PLAIN, 0.12f, 0.2, 5},
    {1, 97, 4, 1, 64, PLAIN, 0, 0.9, 1000003},
    {2, 65, 2, 2, 96, PLAIN, 0.12f, 0.2},
    {1, 33, 4, 2, 128, PLAIN, 0, 0.9, 3},
    {1, 37, 6, 3, 5, PLAIN, 0, 0.2, 2},
};
static size_t current;

/* What the first order gave. */
static std::map<size_t, Results> first_results;

/* Blocks of more warps and smaller tiles give the same bits. */
template <class X>
static void check_other(Sizes s, const std::vector<X> &qkv, const std::vector<X> &datt, const Results &want)
{
    s.other = true;
    s.group = s.group == CHOSEN ? 1 : s.group;
    const Results got = run(s, qkv, datt);
    check_same_bits(got.att.data(), want.att.data(), got.att.size() * sizeof(double), "att by more warps");
    check_same_bits(got.lse.data(), want.lse.data(), got.lse.size() * sizeof(float), "lse by more warps");
    check(got.largest == want.largest, "the largest scores by more warps");
    check_same_bits(got.dqkv.data(), want.dqkv.data(), got.dqkv.size() * sizeof(double), "dqkv by small tiles");
}

template <class X> static void test_in(const Sizes &s)
{
    const AttentionShape shape = s.shape();
    const size_t R = s.B * s.T;
    const std::vector<X> qkv = random_numbers<X>(R * attention_row(shape), unsigned(2 * current)),
                         datt = random_numbers<X>(R * attention_width(shape), unsigned(2 * current + 1));
    const Results got = run(s, qkv, datt);
    const auto first = first_results.find(current);
    if (first == first_results.end()) {
        std::vector<Largest> largest(s.NH);
        for (size_t b = 0; b < s.B; b++)
            for (size_t key_head = 0; key_head < s.KVH; key_head++)
                check_key_head(s, b, key_head, got, values(qkv), values(datt), largest);
        for (size_t head = 0; head < s.NH; head++)
            check_close(double(score_of(got.largest[head])), largest[head].score, largest[head].error,
                        "the largest score");
        if (s.group != PLAIN)
            check_other(s, qkv, datt, got);
        first_results[current] = got;
        return;
    }
    const Results &want = first->second;
    check_same_bits(got.att.data(), want.att.data(), got.att.size() * sizeof(double), "att in another order");
    check_same_bits(got.lse.data(), want.lse.data(), got.lse.size() * sizeof(float), "lse in another order");
    check(got.largest == want.largest, "the largest scores in another order");
    check_same_bits(got.dqkv.data(), want.dqkv.data(), got.dqkv.size() * sizeof(double), "dqkv in another order");
}

static void test_sizes(void)
{
    const Sizes &s = all_sizes[current];
    if (s.group == PLAIN) {
        check(attention_fp32_takes(s.HS), "heads of %zu channels are taken in fp32", s.HS);
        test_in<float>(s);
    } else {
        check(flash_takes(s.HS), "heads of %zu channels are taken", s.HS);
        test_in<bf16>(s);
    }
}

/* A NaN among the keys reaches the queries from it on, of the heads that read these keys, and no others; not a number
 * is lost on the way. */
template <class X> static void test_nan_in(const Sizes &s)
{
    const size_t C = attention_width(s.shape()), S = attention_row(s.shape());
    std::vector<X> qkv = random_numbers<X>(s.T * S, 1), datt = random_numbers<X>(s.T * C, 2);
    set(&qkv[66 * S + C + s.HS + 3], NAN); /* in the second head of keys */
    const Results got = run(s, qkv, datt);
    for (size_t t = 0; t < s.T; t++)
        for (size_t c = 0; c < C; c++) {
            const size_t head = c / s.HS;
            const bool reads = t >= 66 && head / (s.NH / s.KVH) == 1;
            check(std::isnan(got.att[t * C + c]) == reads, "query %zu of head %zu and the NaN in key 66", t, head);
        }
    for (size_t head = 0; head < s.NH; head++)
        check(std::isnan(score_of(got.largest[head])) == (head / (s.NH / s.KVH) == 1),
              "the largest score of head %zu is %g", head, double(score_of(got.largest[head])));
}

/* Keys are ordered as scores are, and a key has its score. */
static void test_keys(void)
{
    const float ascending[] = {-INFINITY, -FLT_MAX, -1, -FLT_MIN, 0, FLT_MIN, 1, 1.0000001f, FLT_MAX, INFINITY};
    const uint32_t nan = score_key(1, NAN);
    uint32_t below = 0;
    check(score_of(0) == -INFINITY, "no score is %g", double(score_of(0)));
    check(std::isnan(score_of(nan)), "NaN's key has the score %g", double(score_of(nan)));
    for (float x : ascending) {
        const uint32_t key = score_key(x, 1);
        check(key > below && key < nan, "the key of %g is %#x, after %#x", double(x), key, below);
        check(score_of(key) == x, "the key of %g has the score %g", double(x), double(score_of(key)));
        below = key;
    }
}

static void test_nan(void)
{
    test_nan_in<bf16>({1, 70, 2, 2, 16, CHOSEN});
    test_nan_in<bf16>({1, 70, 6, 3, 16, CHOSEN});
    test_nan_in<float>({1, 70, 6, 3, 16, PLAIN});
}

/* What is enough for a batch is enough for smaller and for shorter ones. */
static void test_scratch(void)
{
    for (size_t KVH : {1, 2, 6, 12})
        for (size_t HS : {16, 64, 96, 128})
            for (size_t B : {1, 40, 43, 60, 128, 800})
                for (size_t T : {1, 128, 1000, 2048})
                    for (size_t b : {size_t(1), B / 2 + 1, B})
                        for (size_t t : {size_t(1), T / 2 + 1, T})
                            check(flash_scratch({b, t, 12, KVH, HS, 1}) <= flash_scratch({B, T, 12, KVH, HS, 1}),
                                  "HS %zu, KVH %zu: B %zu, T %zu need more scratch than B %zu, T %zu", HS, KVH, b, t, B,
                                  T);
    for (size_t HS : {0, 4, 12, 130, 136})
        check(!flash_takes(HS), "heads of %zu channels are not taken", HS);
}

static size_t group_of(const AttentionShape &s) { return flash::backward_plan(s, false).group; }

/* Groups are of equal size, and their sums of dQ, in fp32, fit 24 MiB where those of one head do. */
static void test_group(void)
{
    check(group_of({16, 1024, 12, 12, 64, 1}) == 96, "192 heads of 256 KiB");
    check(group_of({16, 1024, 12, 4, 64, 1}) == 32, "64 heads of keys, of 768 KiB");
    check(group_of({1, 1, 1, 1, 8, 1}) == 1, "one small head");
    check(group_of({3, 1 << 20, 2, 1, 128, 1}) == 1, "heads larger than the cache");
    check(group_of({1, 1024, 96, 96, 64, 1}) == 96, "as much as fits");
    check(group_of({1, 1024, 97, 97, 64, 1}) == 49, "a head more");
}

#ifdef CUDA_ON_CPU
/* Where two blocks are too much for a multiprocessor: with 100 KB, in the forward pass heads of more than 64 channels;
 * in the backward pass of 64 and of 128 channels, and of 32 if dropout comes on top. */
static void test_tiles(void)
{
    static const struct {
        const char *capability;
        bool many[4], small[4], small_drop[4]; /* for heads of 32, 64, 96 and 128 channels */
    } gpus[] = {{"8.0", {}, {}, {}},
                {"8.6", {false, false, true, true}, {false, true, false, true}, {true, true, false, true}},
                {"9.0", {}, {}, {}},
                {"12.0", {false, false, true, true}, {false, true, false, true}, {true, true, false, true}}};
    for (const auto &gpu : gpus) {
        setenv("CUDA_ON_CPU_CAPABILITY", gpu.capability, 1);
        emu::read_gpu();
        for (size_t i = 0; i < 4; i++) {
            const AttentionShape shape = {1, 1024, 1, 1, 32 * (i + 1), 1};
            check(flash::forward_plan(shape).many == gpu.many[i], "warps for %zu channels on %s", shape.HS,
                  gpu.capability);
            for (bool drops : {false, true})
                check(flash::backward_plan(shape, drops).small == (drops ? gpu.small_drop : gpu.small)[i],
                      "tiles for %zu channels on %s%s", shape.HS, gpu.capability, drops ? ", dropout" : "");
        }
    }
    unsetenv("CUDA_ON_CPU_CAPABILITY");
    emu::read_gpu();
}
#endif

/* Sequence b of a batch: its rows of x. */
template <class X> static std::vector<X> sequence(const std::vector<X> &x, size_t b, size_t B)
{
    const size_t n = x.size() / B;
    return std::vector<X>(x.begin() + long(b * n), x.begin() + long((b + 1) * n));
}

/* A sequence's results have the same bits alone as in a batch, whatever the groups. */
template <class X> static void test_alone_in(const Sizes &s)
{
    const std::vector<X> qkv = random_numbers<X>(s.B * s.T * attention_row(s.shape()), 1),
                         datt = random_numbers<X>(s.B * s.T * attention_width(s.shape()), 2);
    const Results all = run(s, qkv, datt);
    for (size_t b = 0; b < s.B; b++) {
        Sizes alone = s;
        alone.B = 1;
        alone.first += b;
        alone.group = s.group == PLAIN ? PLAIN : b + 1;
        const Results got = run(alone, sequence(qkv, b, s.B), sequence(datt, b, s.B));
        const std::vector<double> att = sequence(all.att, b, s.B), dqkv = sequence(all.dqkv, b, s.B);
        const std::vector<float> lse = sequence(all.lse, b, s.B);
        check_same_bits(got.att.data(), att.data(), att.size() * sizeof(double), "att alone");
        check_same_bits(got.lse.data(), lse.data(), lse.size() * sizeof(float), "lse alone");
        check_same_bits(got.dqkv.data(), dqkv.data(), dqkv.size() * sizeof(double), "dqkv alone");
    }
}

static void test_alone(void)
{
    test_alone_in<bf16>({3, 301, 4, 2, 64, CHOSEN});
    test_alone_in<bf16>({3, 157, 2, 2, 96, 4, 0.12f, 0.2, 5});
    test_alone_in<float>({2, 65, 4, 2, 24, PLAIN, 0, 0.2, 5});
}

static void run_tests(const std::string &order)
{
    for (current = 0; current < sizeof all_sizes / sizeof *all_sizes; current++) {
        const Sizes &s = all_sizes[current];
        char name[128];
        const std::string how = s.group == PLAIN    ? "fp32"
                                : s.group == CHOSEN ? "flash"
                                                    : "flash, group " + std::to_string(s.group);
        char dropout[48] = "";
        if (s.p > 0)
            snprintf(dropout, sizeof dropout, ", dropout %.1f from sequence %zu", s.p, s.first);
        snprintf(name, sizeof name, "%s: B %zu, T %zu, %zu heads of %zu on %zu, scale %.3f%s%s", how.c_str(), s.B, s.T,
                 s.NH, s.HS, s.KVH, double(s.shape().scale), dropout, order.c_str());
        check_run(name, test_sizes);
    }
    check_run(("a NaN" + order).c_str(), test_nan);
    check_run(("a sequence alone" + order).c_str(), test_alone);
}

int main()
{
    needs_bf16();
    check_run("what it takes, and scratch", test_scratch);
    check_run("groups of heads", test_group);
    check_run("keys of scores", test_keys);
#ifdef CUDA_ON_CPU
    check_run("tiles by shared memory", test_tiles);
    emu::set_order(emu::FORWARD);
    run_tests(" (forward)");
    emu::set_order(emu::REVERSE);
    run_tests(" (reverse)");
    emu::set_order(emu::RANDOM, 1);
    run_tests(" (random)");
#else
    run_tests("");
    run_tests(" (again)");
#endif
    return check_summary();
}
