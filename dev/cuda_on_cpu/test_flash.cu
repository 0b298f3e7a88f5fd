/*
 * Tests of flash attention (gpt/cuda/flash.cuh) against plain loops in double, for every width of head, sequences of one and of several
 * tiles, whole and ragged, and one split or several. On the CPU every test runs with its threads in forward, in reverse
 * and in random order, and the orders must agree in every bit. It is plain CUDA, so a GPU can judge it too.
 */
#include "base/cuda.cuh"
#include "gpt/cuda/flash.cuh"

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

struct Sizes {
    size_t B, T, NH, HS;
    size_t
        splits; /* of the backward pass, and groups of 2 heads in the forward; 0: what flash_forward and flash_backward choose */
    size_t C() const { return NH * HS; }
};

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

static std::vector<bf16> random_bf16(size_t n, unsigned seed)
{
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    std::vector<bf16> v(n);
    for (bf16 &x : v)
        x = __float2bfloat16_rn(normal(generator));
    return v;
}

static double value(bf16 x) { return double(__bfloat162float(x)); }

/* One head in double: every array (T,HS) but those said to be (T,T) or (T). */
struct Head {
    size_t T, HS;
    double scale;
    std::vector<double> q, k, v, dout;
    std::vector<double> P;              /* (T,T) */
    std::vector<double> lse, s_error;   /* (T); the error that fp32 may put into a score of the row */
    std::vector<double> att, att_error; /* and the error that the kernel may make */
    std::vector<double> dq, dk, dv, dq_error, dk_error, dv_error;
};

static std::vector<double> part_of(const std::vector<bf16> &x, size_t T, size_t HS, size_t at, size_t stride)
{
    std::vector<double> part(T * HS);
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < HS; c++)
            part[t * HS + c] = value(x[at + t * stride + c]);
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

/*
 * The bounds: every sum is in fp32, of at most HS or T terms, and so wrong by at most (terms FP32) of its terms'
 * absolute values. A score's error e, of s_error, makes a probability wrong by the part e, its normaliser too; 2^x adds
 * 4 FP32. As operands, probabilities are rounded to bf16 once, and results once.
 */
static void forward(Head *h)
{
    const size_t T = h->T, HS = h->HS;
    h->P.assign(T * T, 0);
    h->lse.resize(T);
    h->s_error.assign(T, 0);
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
        for (size_t j = 0; j <= i; j++)
            sum += p[j] = exp(p[j] - most);
        h->lse[i] = most + log(sum);
        const double part = 2 * h->s_error[i] + FP32 * (double(T) + 8);
        for (size_t j = 0; j <= i; j++) {
            p[j] /= sum;
            for (size_t c = 0; c < HS; c++) {
                h->att[i * HS + c] += p[j] * h->v[j * HS + c];
                h->att_error[i * HS + c] += (BF16 + 2 * part) * p[j] * fabs(h->v[j * HS + c]);
            }
        }
        for (size_t c = 0; c < HS; c++)
            h->att_error[i * HS + c] += BF16 * fabs(h->att[i * HS + c]);
    }
}

/* Beside what holds for the forward pass: dS is rounded to bf16 as an operand. given: att, as the forward pass rounded
 * it, is an input. */
static void backward(Head *h, const std::vector<double> &given)
{
    const size_t T = h->T, HS = h->HS;
    for (std::vector<double> *x : {&h->dq, &h->dk, &h->dv, &h->dq_error, &h->dk_error, &h->dv_error})
        x->assign(T * HS, 0);
    for (size_t i = 0; i < T; i++) {
        double delta_size, size;
        const double *dout = &h->dout[i * HS], delta = dot(dout, &given[i * HS], HS, &delta_size);
        const double part = 2 * h->s_error[i] + FP32 * (double(T) + 8 + 2 * fabs(h->lse[i]));
        for (size_t j = 0; j <= i; j++) {
            const double p = h->P[i * T + j], dp = dot(dout, &h->v[j * HS], HS, &size), ds = p * (dp - delta);
            const double ds_error = (BF16 + 2 * part) * fabs(ds) + FP32 * (double(HS) + 2) * p * (size + delta_size);
            for (size_t c = 0; c < HS; c++) {
                const double q = h->scale * h->q[i * HS + c], k = h->scale * h->k[j * HS + c];
                h->dv[j * HS + c] += p * dout[c];
                h->dv_error[j * HS + c] += (BF16 + 2 * part) * p * fabs(dout[c]);
                h->dq[i * HS + c] += ds * k;
                h->dq_error[i * HS + c] += (ds_error + FP32 * double(T) * fabs(ds)) * fabs(k);
                h->dk[j * HS + c] += ds * q;
                h->dk_error[j * HS + c] += (ds_error + FP32 * double(T) * fabs(ds)) * fabs(q);
            }
        }
    }
    for (size_t x = 0; x < T * HS; x++) {
        h->dq_error[x] += BF16 * fabs(h->dq[x]);
        h->dk_error[x] += BF16 * fabs(h->dk[x]);
        h->dv_error[x] += BF16 * fabs(h->dv[x]);
    }
}

/* Products of two errors are not counted above: the bounds are 1% wider. */
static void check_part(const std::vector<bf16> &got, size_t at, size_t stride, const std::vector<double> &want,
                       const std::vector<double> &error, const Head &h, const char *what)
{
    for (size_t t = 0; t < h.T; t++)
        for (size_t c = 0; c < h.HS; c++)
            if (!check_close(value(got[at + t * stride + c]), want[t * h.HS + c], 1.01 * error[t * h.HS + c], what))
                return;
}

struct Results {
    std::vector<bf16> att, dqkv;
    std::vector<float> lse;
};

static Results run(const Sizes &s, const std::vector<bf16> &qkv, const std::vector<bf16> &datt)
{
    const size_t R = s.B * s.T, C = s.C();
    size_t floats = flash_scratch(s.B, s.T, C, s.NH);
    if (s.splits != 0) /* not what flash_scratch is for: a slab of dQ a split */
        floats = s.B * s.NH * (s.T + 63) / 64 * 64 * (2 + s.splits * 128) + 4096;
    const Guarded<bf16> d_qkv(qkv, "qkv"), d_datt(datt, "datt"), att(R * C, "att"), dqkv(3 * R * C, "dqkv");
    const Guarded<float> lse(R * s.NH, "lse"), scratch(floats, "the scratch");
    if (s.splits == 0) {
        flash_forward(0, att.p(), lse.p(), d_qkv.p(), s.B, s.T, C, s.NH);
        flash_backward(0, dqkv.p(), d_datt.p(), d_qkv.p(), att.p(), lse.p(), scratch.p(), s.B, s.T, C, s.NH);
    } else {
        flash::forward(0, att.p(), lse.p(), d_qkv.p(), s.B, s.T, C, s.NH, 2);
        flash::backward(0, dqkv.p(), d_datt.p(), d_qkv.p(), att.p(), lse.p(), scratch.p(), s.B, s.T, C, s.NH, s.splits);
    }
    check_same_bits(d_qkv.read().data(), qkv.data(), qkv.size() * sizeof(bf16), "qkv, which is only read");
    return {att.read(), dqkv.read(), lse.read()};
}

static void check_results(const Sizes &s, const Results &got, const std::vector<bf16> &qkv,
                          const std::vector<bf16> &datt)
{
    const size_t T = s.T, HS = s.HS, C = s.C();
    for (size_t head = 0; head < s.B * s.NH; head++) {
        const size_t row = head / s.NH * T, column = head % s.NH * HS, at = row * 3 * C + column;
        Head h = {};
        h.T = T;
        h.HS = HS;
        h.scale = 1 / sqrt(double(HS));
        h.q = part_of(qkv, T, HS, at, 3 * C);
        h.k = part_of(qkv, T, HS, at + C, 3 * C);
        h.v = part_of(qkv, T, HS, at + 2 * C, 3 * C);
        h.dout = part_of(datt, T, HS, row * C + column, C);
        forward(&h);
        backward(&h, part_of(got.att, T, HS, row * C + column, C));
        for (size_t i = 0; i < T; i++)
            check_close(double(got.lse[head * T + i]), h.lse[i], h.s_error[i] + FP32 * (double(T) + 8 + fabs(h.lse[i])),
                        "lse");
        check_part(got.att, row * C + column, C, h.att, h.att_error, h, "att");
        check_part(got.dqkv, at, 3 * C, h.dq, h.dq_error, h, "dq");
        check_part(got.dqkv, at + C, 3 * C, h.dk, h.dk_error, h, "dk");
        check_part(got.dqkv, at + 2 * C, 3 * C, h.dv, h.dv_error, h, "dv");
    }
}

static const Sizes all_sizes[] = {
    {1, 1, 1, 8, 0},    {2, 37, 3, 8, 0},   {1, 150, 2, 16, 0},  {1, 150, 5, 16, 1},  {2, 64, 1, 24, 0},
    {1, 65, 2, 24, 0},  {1, 200, 2, 32, 0}, {1, 129, 1, 32, 1},  {1, 1, 3, 64, 0},    {2, 65, 2, 64, 0},
    {1, 128, 1, 64, 0}, {1, 200, 2, 64, 0}, {1, 200, 1, 64, 1},  {1, 300, 1, 64, 2},  {1, 300, 1, 64, 1},
    {2, 37, 2, 72, 0},  {1, 150, 1, 72, 1}, {1, 65, 2, 80, 0},   {1, 200, 1, 80, 2},  {1, 64, 1, 96, 0},
    {1, 150, 2, 96, 0}, {2, 65, 1, 128, 1}, {1, 200, 1, 128, 0}, {1, 150, 1, 128, 2}, {1, 1, 1, 128, 0},
};
static size_t current;

/* What the first order gave. */
static std::map<size_t, Results> first_results;

static void test_sizes(void)
{
    const Sizes s = all_sizes[current];
    const size_t R = s.B * s.T, C = s.C();
    check(flash_takes(s.HS), "heads of %zu channels are taken", s.HS);
    const std::vector<bf16> qkv = random_bf16(3 * R * C, unsigned(2 * current)),
                            datt = random_bf16(R * C, unsigned(2 * current + 1));
    const Results got = run(s, qkv, datt);
    const auto first = first_results.find(current);
    if (first == first_results.end()) {
        check_results(s, got, qkv, datt);
        first_results[current] = got;
        return;
    }
    const Results &want = first->second;
    check_same_bits(got.att.data(), want.att.data(), got.att.size() * sizeof(bf16), "att in another order");
    check_same_bits(got.lse.data(), want.lse.data(), got.lse.size() * sizeof(float), "lse in another order");
    check_same_bits(got.dqkv.data(), want.dqkv.data(), got.dqkv.size() * sizeof(bf16), "dqkv in another order");
}

/* A NaN among the keys reaches the queries from it on, and no others; not a number is lost on the way. */
static void test_nan(void)
{
    const Sizes s = {1, 70, 1, 16, 0};
    std::vector<bf16> qkv = random_bf16(3 * s.T * s.C(), 1), datt = random_bf16(s.T * s.C(), 2);
    qkv[66 * 3 * s.C() + s.C() + 3] = __float2bfloat16_rn(NAN);
    const Results got = run(s, qkv, datt);
    for (size_t t = 0; t < s.T; t++)
        for (size_t c = 0; c < s.C(); c++)
            check(std::isnan(value(got.att[t * s.C() + c])) == (t >= 66), "query %zu and the NaN in key 66", t);
}

/* What is enough for a batch is enough for smaller and for shorter ones, which may be cut into more parts. */
static void test_scratch(void)
{
    for (size_t HS : {16, 64, 96, 128})
        for (size_t B : {1, 40, 43, 60, 128})
            for (size_t T : {1, 128, 1000, 2048})
                for (size_t b : {size_t(1), B / 2 + 1, B})
                    for (size_t t : {size_t(1), T / 2 + 1, T})
                        check(flash_scratch(b, t, 12 * HS, 12) <= flash_scratch(B, T, 12 * HS, 12),
                              "HS %zu: B %zu, T %zu need more scratch than B %zu, T %zu", HS, b, t, B, T);
    for (size_t HS : {0, 4, 12, 130, 136})
        check(!flash_takes(HS), "heads of %zu channels are not taken", HS);
}

static void run_tests(const std::string &order)
{
    for (current = 0; current < sizeof all_sizes / sizeof *all_sizes; current++) {
        const Sizes &s = all_sizes[current];
        char name[128];
        snprintf(name, sizeof name, "B %zu, T %zu, %zu heads of %zu, splits %zu%s", s.B, s.T, s.NH, s.HS, s.splits,
                 order.c_str());
        check_run(name, test_sizes);
    }
    check_run(("a NaN" + order).c_str(), test_nan);
}

int main()
{
    check_run("what it takes, and scratch", test_scratch);
#ifdef CUDA_ON_CPU
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
