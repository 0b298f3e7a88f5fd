/*
 * Causal attention in fp32, forward and backward, in plain loops over tiles in shared memory.
 */
#include "gpt/cuda/attention.cuh"

#include "base/cuda.cuh"
#include "gpt/cuda/score.cuh"

#include <cmath>

namespace {

/* A block takes TILE queries (or keys) of one head against tiles of as many keys (or queries). Four
 * threads share a row; each owns a quarter of its scores and a quarter of its ATTENTION_HEAD_MOST channels. */
enum {
    TILE = 32,
    ROW_THREADS = 4,
    ATTENTION_HEAD_MOST = 128,
    OWN_SCORES = TILE / ROW_THREADS,
    OWN_CHANNELS = ATTENTION_HEAD_MOST / ROW_THREADS
};

/* With the widths of rows, which kernels would work out again and again. */
struct Shape : AttentionShape {
    size_t C, S;
    Shape(const AttentionShape &s) : AttentionShape(s), C(attention_width(s)), S(attention_row(s)) {}
};

/* One of the B NH heads of queries, and the head of keys and values that it reads. */
struct Head {
    const float *q, *k, *v; /* (T,HS) at stride S */
    size_t at;              /* of the head in a (B,T,C) array */
};

__device__ Head head_of(const float *qkv, size_t head, const Shape &s)
{
    const size_t b = head / s.NH, h = head % s.NH;
    const float *row = qkv + b * s.T * s.S, *k = row + s.C + h / (s.NH / s.KVH) * s.HS;
    return {row + h * s.HS, k, k + s.KVH * s.HS, b * s.T * s.C + h * s.HS};
}

/* A tile of rows first .. of x, `stride` floats apart, into shared memory (TILE, HS+1); zeros past the end. */
__device__ void load_tile(float *tile, const float *x, size_t first, size_t T, size_t HS, size_t stride)
{
    for (size_t i = threadIdx.x; i < TILE * HS; i += blockDim.x) {
        const size_t row = i / HS, c = i % HS;
        tile[row * (HS + 1) + c] = first + row < T ? x[(first + row) * stride + c] : 0.0f;
    }
}

__device__ float dot(const float *x, const float *y, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = fmaf(x[i], y[i], sum);
    return sum;
}

/* acc (own channels) += sum over j of weights[j] rows[j] */
__device__ void accumulate(float *acc, const float *weights, const float *rows, size_t HS)
{
    for (size_t j = 0; j < TILE; j++) {
        const float weight = weights[j], *row = rows + j * (HS + 1) + threadIdx.x % ROW_THREADS;
#pragma unroll
        for (size_t own = 0; own < OWN_CHANNELS; own++) /* unrolled, so that acc stays in registers */
            if (threadIdx.x % ROW_THREADS + own * ROW_THREADS < HS)
                acc[own] = fmaf(weight, row[own * ROW_THREADS], acc[own]);
    }
}

/* to (T,HS) at `stride`: row `row` = factor acc */
__device__ void store_row(float *to, size_t row, size_t stride, size_t HS, const float *acc, float factor)
{
#pragma unroll
    for (size_t own = 0; own < OWN_CHANNELS; own++) {
        const size_t c = threadIdx.x % ROW_THREADS + own * ROW_THREADS;
        if (c < HS)
            to[row * stride + c] = factor * acc[own];
    }
}

enum { ATTENTION_THREADS = TILE * ROW_THREADS };

/* Bytes of `tiles` tiles of rows and `squares` of scores. */
size_t attention_shared(size_t tiles, size_t squares, size_t HS)
{
    return (tiles * TILE * (HS + 1) + squares * TILE * (TILE + 1)) * sizeof(float);
}

/* The bits of the thread's row of queries. */
__device__ uint64_t row_bits(const AttentionDropout &drop, const Shape &s, size_t row)
{
    const Dropout d = attention_dropout(drop, s.NH, s.T);
    return dropout_row(&d, row);
}

__device__ float factor_of(const AttentionDropout &drop, uint64_t row, size_t key)
{
    const Dropout d = {0, 0, drop.threshold, drop.scale};
    return dropout_factor(&d, row, (uint32_t)key);
}

template <bool DROP>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_forward_kernel(float *att, float *lse, uint32_t *largest, const float *qkv, Shape s,
                             AttentionDropout drop)
{
    float *q = dynamic_shared<float>();
    const Head head = head_of(qkv, blockIdx.x, s);
    const size_t T = s.T, HS = s.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *k = q + tile, *v = k + tile, *p = v + tile;
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, query = first + row;
    float *p_row = p + row * (TILE + 1);
    const uint64_t bits = DROP ? row_bits(drop, s, blockIdx.x * T + query) : 0;
    float acc[OWN_CHANNELS] = {}, maximum = -INFINITY, sum = 0;
    load_tile(q, head.q, first, T, HS, s.S);
    for (size_t key = 0; key <= first; key += TILE) {
        __syncthreads(); /* the previous round's tiles are read */
        load_tile(k, head.k, key, T, HS, s.S);
        load_tile(v, head.v, key, T, HS, s.S);
        __syncthreads();
        float scores[OWN_SCORES], highest = -INFINITY;
#pragma unroll
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const size_t j = quarter + own * ROW_THREADS;
            scores[own] = key + j <= query ? s.scale * dot(q + row * (HS + 1), k + j * (HS + 1), HS) : -INFINITY;
            highest = fmaxf(highest, scores[own]);
        }
        const float new_maximum = fmaxf(maximum, quad_max(highest)), fade = expf(maximum - new_maximum);
        float added = 0;
#pragma unroll
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const float weight = expf(scores[own] - new_maximum);
            const size_t j = quarter + own * ROW_THREADS;
            p_row[j] = DROP ? weight * factor_of(drop, bits, key + j) : weight;
            added += weight;
        }
        sum = sum * fade + quad_sum(added);
        maximum = new_maximum;
#pragma unroll
        for (size_t own = 0; own < OWN_CHANNELS; own++)
            acc[own] *= fade;
        __syncwarp(); /* a row of p is written and read by four threads of one warp */
        accumulate(acc, p_row, v, HS);
    }
    if (query < T) {
        store_row(att + head.at, query, s.C, HS, acc, 1.0f / sum);
        if (quarter == 0)
            lse[(size_t)blockIdx.x * T + query] = maximum + logf(sum);
    }
    if (largest != NULL)
        score_record(largest + blockIdx.x % s.NH, query < T ? score_key(maximum, sum) : 0);
}

/* delta (B,NH,T) = rowsum(datt att). One warp per row of a head. */
__global__ void attention_delta_kernel(float *delta, const float *datt, const float *att, Shape s)
{
    const size_t t = (size_t)blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    const size_t b = blockIdx.x / s.NH, h = blockIdx.x % s.NH, T = s.T, HS = s.HS;
    if (t >= T)
        return;
    const size_t at = (b * T + t) * s.C + h * HS;
    float sum = 0;
    for (size_t c = lane; c < HS; c += 32)
        sum += datt[at + c] * att[at + c];
    sum = warp_sum(sum);
    if (lane == 0)
        delta[(size_t)blockIdx.x * T + t] = sum;
}

/* A block of queries against all keys up to them: dQ = scale dS K. */
template <bool DROP>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dq_kernel(float *dqkv, const float *datt, const float *qkv, const float *lse, const float *delta, Shape s,
                        AttentionDropout drop)
{
    float *q = dynamic_shared<float>();
    const Head head = head_of(qkv, blockIdx.x, s);
    const size_t T = s.T, HS = s.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *dout = q + tile, *k = dout + tile, *v = k + tile, *ds = v + tile;
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, query = first + row;
    const float lse_row = query < T ? lse[(size_t)blockIdx.x * T + query] : 0.0f;
    const float delta_row = query < T ? delta[(size_t)blockIdx.x * T + query] : 0.0f;
    const uint64_t bits = DROP ? row_bits(drop, s, blockIdx.x * T + query) : 0;
    float *ds_row = ds + row * (TILE + 1), acc[OWN_CHANNELS] = {};
    load_tile(q, head.q, first, T, HS, s.S);
    load_tile(dout, datt + head.at, first, T, HS, s.C);
    for (size_t key = 0; key <= first; key += TILE) {
        __syncthreads();
        load_tile(k, head.k, key, T, HS, s.S);
        load_tile(v, head.v, key, T, HS, s.S);
        __syncthreads();
#pragma unroll
        for (size_t own = 0; own < OWN_SCORES; own++) {
            const size_t j = quarter + own * ROW_THREADS;
            const float score = s.scale * dot(q + row * (HS + 1), k + j * (HS + 1), HS);
            const float p = key + j <= query && query < T ? expf(score - lse_row) : 0.0f;
            const float dp = dot(dout + row * (HS + 1), v + j * (HS + 1), HS);
            ds_row[j] = p * (DROP ? fmaf(factor_of(drop, bits, key + j), dp, -delta_row) : dp - delta_row);
        }
        __syncwarp();
        accumulate(acc, ds_row, k, HS);
    }
    if (query < T)
        store_row(dqkv + (head.q - qkv), query, s.S, HS, acc, s.scale);
}

/* A block of keys against all queries from them on, of one after another of the heads that read them: dV = P^T datt,
 * dK = scale dS^T Q. The grid: B KVH heads of keys. */
template <bool DROP>
__global__ void __launch_bounds__(ATTENTION_THREADS)
    attention_dkv_kernel(float *dqkv, const float *datt, const float *qkv, const float *lse, const float *delta,
                         Shape s, AttentionDropout drop)
{
    float *k = dynamic_shared<float>();
    const size_t share = s.NH / s.KVH, first_head = blockIdx.x * share;
    const Head keys = head_of(qkv, first_head, s);
    const size_t T = s.T, HS = s.HS, tile = TILE * (HS + 1), first = (size_t)blockIdx.y * TILE;
    float *v = k + tile, *q = v + tile, *dout = q + tile, *p = dout + tile, *ds = p + TILE * (TILE + 1);
    const size_t row = threadIdx.x / ROW_THREADS, quarter = threadIdx.x % ROW_THREADS, key = first + row;
    float *p_row = p + row * (TILE + 1), *ds_row = ds + row * (TILE + 1);
    float dk[OWN_CHANNELS] = {}, dv[OWN_CHANNELS] = {};
    load_tile(k, keys.k, first, T, HS, s.S);
    load_tile(v, keys.v, first, T, HS, s.S);
    for (size_t h = 0; h < share; h++)
        for (size_t query = first; query < T; query += TILE) {
            __syncthreads();
            load_tile(q, keys.q + h * HS, query, T, HS, s.S);
            load_tile(dout, datt + keys.at + h * HS, query, T, HS, s.C);
            __syncthreads();
            /* of the lane's query of the tile; the warp needs them all */
            const uint64_t lane_bits = DROP ? row_bits(drop, s, (first_head + h) * T + query + threadIdx.x % TILE) : 0;
#pragma unroll
            for (size_t own = 0; own < OWN_SCORES; own++) {
                const size_t i = quarter + own * ROW_THREADS, at = query + i, stat = (first_head + h) * T + at;
                const bool visible = key <= at && at < T;
                const float score = s.scale * dot(q + i * (HS + 1), k + row * (HS + 1), HS);
                p_row[i] = visible ? expf(score - lse[stat]) : 0.0f;
                const float dp = dot(dout + i * (HS + 1), v + row * (HS + 1), HS);
                if (DROP) {
                    const float factor = factor_of(drop, __shfl_sync(0xffffffffu, lane_bits, (int)i), key);
                    ds_row[i] = visible ? p_row[i] * fmaf(factor, dp, -delta[stat]) : 0.0f;
                    p_row[i] *= factor;
                } else
                    ds_row[i] = visible ? p_row[i] * (dp - delta[stat]) : 0.0f;
            }
            __syncwarp();
            accumulate(dv, p_row, dout, HS);
            accumulate(dk, ds_row, q, HS);
        }
    if (key < T) {
        store_row(dqkv + (keys.k - qkv), key, s.S, HS, dk, s.scale);
        store_row(dqkv + (keys.v - qkv), key, s.S, HS, dv, 1);
    }
}

} // namespace

bool attention_fp32_takes(size_t HS) { return HS <= ATTENTION_HEAD_MOST; }

size_t attention_fp32_shared(size_t HS) { return attention_shared(4, 2, HS); }

void attention_fp32_forward(cudaStream_t stream, float *att, float *lse, uint32_t *largest, const float *qkv,
                            const AttentionShape &s, const AttentionDropout &drop)
{
    const size_t shared = attention_shared(3, 1, s.HS);
    const auto kernel = drop.threshold ? attention_forward_kernel<true> : attention_forward_kernel<false>;
    cuda_allow_shared(kernel, shared);
    cuda_launch(kernel, dim3((unsigned)(s.B * s.NH), cuda_blocks(s.T, TILE)), ATTENTION_THREADS, shared, stream, att,
                lse, largest, qkv, Shape(s), drop);
}

size_t attention_fp32_scratch(const AttentionShape &s) { return s.B * s.NH * s.T; }

/* With P the probabilities and S the scaled scores:  dV = P^T datt,  dP = datt V^T,  dS = P (dP - rowsum(datt att)),
 * dQ = scale dS K,  dK = scale dS^T Q. Dropout multiplies the elements of P in dV, and those of dP, by its factors; the
 * sum of a row of dP P is then still rowsum(datt att). */
void attention_fp32_backward(cudaStream_t stream, float *dqkv, const float *datt, const float *qkv, const float *att,
                             const float *lse, float *scratch, const AttentionShape &s, const AttentionDropout &drop)
{
    const unsigned heads = (unsigned)(s.B * s.NH), key_heads = (unsigned)(s.B * s.KVH), tiles = cuda_blocks(s.T, TILE);
    const size_t dq_shared = attention_shared(4, 1, s.HS), dkv_shared = attention_fp32_shared(s.HS);
    const auto dq_kernel = drop.threshold ? attention_dq_kernel<true> : attention_dq_kernel<false>;
    const auto dkv_kernel = drop.threshold ? attention_dkv_kernel<true> : attention_dkv_kernel<false>;
    cuda_allow_shared(dq_kernel, dq_shared);
    cuda_allow_shared(dkv_kernel, dkv_shared);
    cuda_launch(attention_delta_kernel, dim3(heads, cuda_blocks(s.T, 8)), 256, 0, stream, scratch, datt, att, Shape(s));
    cuda_launch(dq_kernel, dim3(heads, tiles), ATTENTION_THREADS, dq_shared, stream, dqkv, datt, qkv, lse, scratch,
                Shape(s), drop);
    cuda_launch(dkv_kernel, dim3(key_heads, tiles), ATTENTION_THREADS, dkv_shared, stream, dqkv, datt, qkv, lse,
                scratch, Shape(s), drop);
}
