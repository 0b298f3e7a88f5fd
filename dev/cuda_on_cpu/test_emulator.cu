/*
 * Tests of the emulator: kernels in every idiom a trainer uses, cuBLAS, and the runtime's functions, against plain
 * loops in double. Nothing but CUDA, so that nvcc compiles it too and a GPU can judge the tests. On the CPU every test
 * runs with its threads in forward, in reverse and in several random orders, and with lazy streams.
 */
#include "needs.cuh"
#include "test_cublaslt.cuh"
#include "test_limits.cuh"

static void test_layernorm(void)
{
    const int rows = 13, C = 96;
    const std::vector<bf16> x = random_bf16(rows * C);
    const std::vector<float> w = random_floats(C), b = random_floats(C);
    const Device<bf16> dx(x), out(rows * C);
    const Device<float> dw(w), db(b), mean(rows), rstd(rows);
    launch(layernorm_forward, dim3((rows + 3) / 4), dim3(128), 0, out, mean, rstd, dx, dw, db, rows, C);
    const std::vector<bf16> got = out.read();
    const std::vector<float> got_mean = mean.read(), got_rstd = rstd.read();
    for (int i = 0; i < rows; i++) {
        double m = 0, variance = 0;
        for (int c = 0; c < C; c++)
            m += value(x[i * C + c]) / C;
        for (int c = 0; c < C; c++)
            variance += (value(x[i * C + c]) - m) * (value(x[i * C + c]) - m) / C;
        const double s = 1 / sqrt(variance + 1e-5);
        check_close(got_mean[i], m, 4 * C * FP32, "mean");
        check_close(got_rstd[i], s, 4 * C * FP32 * s, "1 / standard deviation");
        for (int c = 0; c < C; c++) {
            const double y = (value(x[i * C + c]) - m) * s * w[c] + b[c];
            check_close(value(got[i * C + c]), y, BF16 * fabs(y) + 1e-4, "layernorm"); /* 4 C FP32 |w| is below 1e-4 */
        }
    }
}

static void test_block_sum(void)
{
    const int n = 5000;
    const std::vector<float> x = random_floats(n);
    const Device<float> dx(x), out(std::vector<float>{0.0f});
    launch(sum_squares, dim3(3), dim3(192), 0, out, dx, n);
    double want = 0;
    for (float v : x)
        want += value(v) * v;
    check_close(out.read()[0], want, 40 * FP32 * want, "sum of squares"); /* no sum has more than 40 terms */
}

static void test_tensor_matmul(void)
{
    const int M = 64, N = 96, K = 96;
    const std::vector<bf16> a = random_bf16(M * K), b = random_bf16(N * K);
    const Device<bf16> da(a), db(b), c(M * N);
    launch(tensor_matmul, dim3(N / TILE, M / TILE), dim3(128), 4 * TILE * TILE_LD * sizeof(bf16), c, da, db, N, K);
    const std::vector<bf16> got = c.read();
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                const double product = value(a[i * K + k]) * value(b[j * K + k]);
                sum += product;
                size += fabs(product);
            }
            check_close(value(got[i * N + j]), sum, BF16 * fabs(sum) + 2 * K * FP32 * size, "product");
        }
}

/* Softmax-weighted sums of v in double for query i of a head, and its log-sum-exp. */
static double attend(const bf16 *q, const bf16 *k, const bf16 *v, int i, std::vector<double> &out,
                     std::vector<double> &size)
{
    std::vector<double> p(i + 1);
    double maximum = -INFINITY, sum = 0;
    for (int j = 0; j <= i; j++) {
        for (int d = 0; d < HS; d++)
            p[j] += value(q[i * HS + d]) * value(k[j * HS + d]) / 8;
        maximum = fmax(maximum, p[j]);
    }
    for (double &x : p)
        sum += x = exp(x - maximum);
    out.assign(HS, 0);
    size.assign(HS, 0);
    for (int j = 0; j <= i; j++)
        for (int d = 0; d < HS; d++) {
            out[d] += p[j] / sum * value(v[j * HS + d]);
            size[d] += p[j] / sum * fabs(value(v[j * HS + d]));
        }
    return maximum + log(sum);
}

static void attention(int T)
{
    const int heads = 2;
    const size_t n = size_t(heads) * T * HS;
    const std::vector<bf16> q = random_bf16(n), k = random_bf16(n), v = random_bf16(n);
    const Device<bf16> dq(q), dk(k), dv(v), o(n);
    const Device<float> lse(heads * T);
    launch(attention_forward, dim3((T + QUERIES - 1) / QUERIES, heads), dim3(128), 0, o, lse, dq, dk, dv, T);
    const std::vector<bf16> got = o.read();
    const std::vector<float> got_lse = lse.read();
    std::vector<double> out, size;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < T; i++) {
            const size_t head = size_t(h) * T * HS;
            const double want = attend(&q[head], &k[head], &v[head], i, out, size);
            check_close(got_lse[h * T + i], want, 1e-4, "log of the sum of exponentials");
            for (int d = 0; d < HS; d++) /* the probabilities are rounded, and the result */
                check_close(value(got[head + i * HS + d]), out[d], BF16 * (fabs(out[d]) + size[d]) + 1e-4 * size[d],
                            "attention");
        }
}
static void test_attention_one_tile(void) { attention(64); }
static void test_attention_odd_length(void) { attention(101); }

static void test_tiles(void)
{
    const int rows = 8, C = 77;
    const std::vector<float> x = random_floats(rows * C);
    const Device<float> dx(x), by32(rows), by8(rows);
    launch(row_max<32>, dim3(2), dim3(128), 0, by32, dx, C);
    launch(row_max<8>, dim3(1), dim3(64), 0, by8, dx, C);
    std::vector<float> want(rows, -INFINITY);
    for (int i = 0; i < rows * C; i++)
        want[i / C] = fmaxf(want[i / C], x[i]);
    check_same_bits(by32.read().data(), want.data(), rows * sizeof(float), "row maxima by 32 threads");
    check_same_bits(by8.read().data(), want.data(), rows * sizeof(float), "row maxima by 8 threads");
}

static void test_idioms(void)
{
    std::vector<float> x(64);
    for (int i = 0; i < 64; i++)
        x[i] = float(i);
    const Device<float> dx(x);
    const Device<unsigned> count(std::vector<unsigned>{0});
    launch(scale<32>, dim3(2), dim3(48), 0, dx, 2.0f);
    launch(reverse, dim3(1), dim3(33), 64 * sizeof(float), dx, 64);
    launch(count_threads, dim3(3), dim3(70), 0, count);
    const std::vector<float> got = dx.read();
    for (int i = 0; i < 64; i++)
        check_close(got[i], 2.0 * (63 - i), 0, "twice and reversed");
    check(count.read()[0] == 210, "210 threads counted %u", count.read()[0]);
}

static void test_indices(void)
{
    const Device<int> out(3 * 5 * 2);
    launch(check_indices, dim3(3, 5, 2), dim3(2, 4, 8), 0, out);
    for (int counts : out.read())
        check(counts == 64 + 100 + 1000, "count, all and any are %d", counts);
}

static void test_warp_functions(void)
{
    const Device<int> out(32 * 8);
    launch(warp_functions, dim3(1), dim3(32), 0, out);
    const std::vector<int> got = out.read();
    for (int lane = 0; lane < 32; lane++) {
        const int in_half = lane % 16, *mine = &got[8 * lane];
        check(mine[0] == lane / 8 * 80, "lane %d: __shfl_sync gives %d", lane, mine[0]);
        check(mine[1] == (in_half < 3 ? lane : lane - 3), "lane %d: __shfl_up_sync gives %d", lane, mine[1]);
        check(mine[2] == (in_half > 12 ? lane : lane + 3), "lane %d: __shfl_down_sync gives %d", lane, mine[2]);
        check(unsigned(mine[3]) == 0x49249249u, "lane %d: __ballot_sync gives %x", lane, unsigned(mine[3]));
        check(mine[4] == 1, "lane %d: __any_sync and __all_sync give %d", lane, mine[4]);
        check(mine[5] == 496 + 31000, "lane %d: __reduce_add_sync and _max_ give %d", lane, mine[5]);
        check(mine[6] == (lane ^ (lane % 2 ? 2 : 4)), "lane %d: __shfl_xor_sync gives %d", lane, mine[6]);
        check(mine[7] == (lane ^ 1 ^ (lane % 2 ? 4 : 2)), "lane %d reads %d after __syncwarp", lane, mine[7]);
    }
}

static void test_bf16_rounding(void)
{
    const struct {
        float x;
        unsigned short bits;
    } cases[] = {{1.0f, 0x3f80},        {1.00390625f, 0x3f80}, /* halfway: to even */
                 {1.01171875f, 0x3f82}, {1.003907f, 0x3f81},       {-2.5f, 0xc020},
                 {3.4e38f, 0x7f80},     {(float)INFINITY, 0x7f80}, {0.0f, 0x0000},
                 {-0.0f, 0x8000},       {1e-40f, 0x0001}};
    for (const auto &c : cases) {
        const unsigned short bits = __bfloat16_as_ushort(__float2bfloat16_rn(c.x));
        check(bits == c.bits, "%g rounds to %04x, not %04x", double(c.x), bits, c.bits);
    }
    for (unsigned bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu}) { /* rounded, they would be infinite, and -0 */
        float nan;
        memcpy(&nan, &bits, sizeof nan);
        check(std::isnan(__bfloat162float(__float2bfloat16_rn(nan))), "the NaN %08x stays NaN", bits);
    }
}

/* ---- cuBLAS ---- */

/* `batch` products by three loops in double, column-major; the bound is that of sums in fp32 in any order. */
struct Product {
    bool ta, tb;
    int m, n, k;
    float alpha, beta;
    int lda, ldb, ldc;
    long long stride_a, stride_b, stride_c;
    int batch;
};

static void check_product(const Product &p, const std::vector<float> &a, const std::vector<float> &b,
                          const std::vector<float> &before, const std::vector<float> &after)
{
    std::vector<bool> written(after.size());
    for (int index = 0; index < p.batch; index++)
        for (int j = 0; j < p.n; j++)
            for (int i = 0; i < p.m; i++) {
                double sum = 0, size = 0;
                for (int q = 0; q < p.k; q++) {
                    const double x = a[index * p.stride_a + (p.ta ? i * p.lda + q : q * p.lda + i)];
                    const double y = b[index * p.stride_b + (p.tb ? q * p.ldb + j : j * p.ldb + q)];
                    sum += x * y;
                    size += fabs(x * y);
                }
                const size_t at = size_t(index * p.stride_c + j * p.ldc + i);
                const double old = p.beta == 0 ? 0 : double(p.beta) * before[at];
                check_close(after[at], p.alpha * sum + old, (p.k + 3) * FP32 * (fabs(p.alpha) * size + fabs(old)),
                            "cublasSgemm");
                written[at] = true;
            }
    for (size_t i = 0; i < after.size(); i++)
        if (!written[i] && memcmp(&after[i], &before[i], sizeof(float)) != 0)
            check(false, "float %zu between the columns of C was written", i);
}

/* Gaps between columns and between matrices, and NaN in C where it must not be read. */
static void run_product(cublasHandle_t handle, bool ta, bool tb, int m, int n, int k, float alpha, float beta,
                        int batch)
{
    Product p = {ta, tb, m, n, k, alpha, beta, (ta ? k : m) + 3, (tb ? n : k) + 1, m + 2, 0, 0, 0, batch};
    p.stride_a = p.lda * (ta ? m : k) + 5;
    p.stride_b = p.ldb * (tb ? k : n) + 7;
    p.stride_c = p.ldc * n + 2;
    const std::vector<float> a = random_floats(size_t(p.stride_a * batch));
    const std::vector<float> b = random_floats(size_t(p.stride_b * batch));
    std::vector<float> c = random_floats(size_t(p.stride_c * batch));
    if (beta == 0)
        c.assign(c.size(), NAN);
    const Device<float> da(a), db(b), dc(c);
    const cublasOperation_t opa = ta ? CUBLAS_OP_T : CUBLAS_OP_N, opb = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasStatus_t status =
        batch == 1 ? cublasSgemm(handle, opa, opb, m, n, k, &alpha, da, p.lda, db, p.ldb, &beta, dc, p.ldc)
                   : cublasSgemmStridedBatched(handle, opa, opb, m, n, k, &alpha, da, p.lda, p.stride_a, db, p.ldb,
                                               p.stride_b, &beta, dc, p.ldc, p.stride_c, batch);
    if (check(status == CUBLAS_STATUS_SUCCESS, "%s", cublasGetStatusString(status)))
        check_product(p, a, b, c, dc.read());
}

static void test_cublas_sgemm(void)
{
    cublasHandle_t handle;
    check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "cublasCreate");
    check(cublasSetMathMode(handle, CUBLAS_DEFAULT_MATH) == CUBLAS_STATUS_SUCCESS, "cublasSetMathMode");
    const int sizes[][3] = {{1, 1, 1}, {7, 5, 3}, {17, 33, 65}, {101, 67, 31}, {3, 129, 1}};
    for (int trans = 0; trans < 4; trans++)
        for (const auto &s : sizes) {
            run_product(handle, trans & 1, trans & 2, s[0], s[1], s[2], 1.0f, 0.0f, 1);
            run_product(handle, trans & 1, trans & 2, s[0], s[1], s[2], -0.5f, 1.0f, 1);
            run_product(handle, trans & 1, trans & 2, s[0], s[1], s[2], 2.0f, 0.25f, 1);
        }
    run_product(handle, false, true, 9, 4, 0, 1.0f, 0.5f, 1); /* k = 0 scales C */
    cublasDestroy(handle);
}

static void test_cublas_batched(void)
{
    cublasHandle_t handle;
    cudaStream_t stream;
    CUDA_CHECK(cudaStreamCreate(&stream));
    check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "cublasCreate");
    check(cublasSetStream(handle, stream) == CUBLAS_STATUS_SUCCESS, "cublasSetStream");
    for (int trans = 0; trans < 4; trans++) {
        run_product(handle, trans & 1, trans & 2, 13, 11, 17, 1.0f, 0.0f, 6);
        run_product(handle, trans & 1, trans & 2, 37, 16, 37, 0.125f, 1.0f, 5);
    }
    cublasDestroy(handle);
    CUDA_CHECK(cudaStreamDestroy(stream));
}

static void test_cublas_statuses(void)
{
    cublasHandle_t handle;
    check(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS, "cublasCreate");
    const Device<float> x(std::vector<float>(64, 1.0f)), c(64);
    const float one = 1.0f, zero = 0.0f;
    cublasStatus_t s = cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 8, 8, 8, &one, x, 7, x, 8, &zero, c, 8);
    check(s == CUBLAS_STATUS_INVALID_VALUE, "lda below the rows of A: %s", cublasGetStatusString(s));
    s = cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 8, -1, 8, &one, x, 8, x, 8, &zero, c, 8);
    check(s == CUBLAS_STATUS_INVALID_VALUE, "n = -1: %s", cublasGetStatusString(s));
    check(strcmp(cublasGetStatusString(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED") == 0, "a name");
    cublasDestroy(handle);
}

/* ---- the runtime ---- */

static void test_memory(void)
{
    const std::vector<float> x = random_floats(100);
    const Device<float> a(x), b(100);
    float *pinned;
    CUDA_CHECK(cudaMallocHost(&pinned, 100 * sizeof(float)));
    CUDA_CHECK(cudaMemcpyAsync(b, a, 100 * sizeof(float), cudaMemcpyDeviceToDevice, nullptr));
    CUDA_CHECK(cudaMemsetAsync(b + 50, 0, 10 * sizeof(float), nullptr));
    CUDA_CHECK(cudaMemcpyAsync(pinned, b, 100 * sizeof(float), cudaMemcpyDefault, nullptr));
    CUDA_CHECK(cudaDeviceSynchronize());
    for (int i = 0; i < 100; i++)
        check_close(pinned[i], i >= 50 && i < 60 ? 0.0 : value(x[i]), 0, "copied");
    CUDA_CHECK(cudaFreeHost(pinned));
    CUDA_CHECK(cudaFree(nullptr));
    size_t left, total, left_with_more;
    CUDA_CHECK(cudaMemGetInfo(&left, &total));
    const Device<char> more(64 << 20);
    CUDA_CHECK(cudaMemGetInfo(&left_with_more, &total));
    check(left <= total && left_with_more < left, "64 MB more leave %zu of %zu bytes", left_with_more, left);
}

static void test_errors(void)
{
    const Device<float> d(16);
    float *p = nullptr;
    check(cudaMalloc(&p, size_t(1) << 60) == cudaErrorMemoryAllocation, "an exabyte was allocated");
    check(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess, "the last error stays");
    check(strcmp(cudaGetErrorName(cudaErrorMemoryAllocation), "cudaErrorMemoryAllocation") == 0, "a name");
    check(strcmp(cudaGetErrorString(cudaErrorMemoryAllocation), "out of memory") == 0, "a sentence");
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(1025);
    check(cudaLaunchKernelEx(&config, scale<32>, (float *)d, 1.0f) == cudaErrorInvalidConfiguration, "1025 threads");
    config.blockDim = dim3(32, 33);
    check(cudaLaunchKernelEx(&config, scale<32>, (float *)d, 1.0f) == cudaErrorInvalidConfiguration, "1056 threads");
    config.blockDim = dim3(1, 1, 65);
    check(cudaLaunchKernelEx(&config, scale<32>, (float *)d, 1.0f) == cudaErrorInvalidConfiguration, "65 in z");
    config.blockDim = dim3(32, 0);
    check(cudaLaunchKernelEx(&config, scale<32>, (float *)d, 1.0f) == cudaErrorInvalidConfiguration, "no threads");
    config.blockDim = dim3(32);
    config.gridDim = dim3(1, 65536);
    check(cudaLaunchKernelEx(&config, scale<32>, (float *)d, 1.0f) == cudaErrorInvalidConfiguration, "65536 blocks");
    config.gridDim = dim3(1);
    config.dynamicSmemBytes = 60000;
    check(cudaLaunchKernelEx(&config, reverse, (float *)d, 16) == cudaErrorInvalidValue, "60000 bytes not asked for");
    cudaGetLastError();
    CUDA_CHECK(cudaMemset(d, 0, 64));
    CUDA_CHECK(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
    CUDA_CHECK(cudaLaunchKernelEx(&config, reverse, (float *)d, 16));
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 48 * 1024));
    check(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) != cudaSuccess, "1 MB");
    check(cudaSetDevice(99) == cudaErrorInvalidDevice, "there is a device 99");
    cudaGetLastError();
}

static void test_device_and_events(void)
{
    int devices = 0, driver = 0, runtime = 0;
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDeviceCount(&devices));
    CUDA_CHECK(cudaSetDevice(0));
    CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
    check(devices >= 1 && properties.name[0] && properties.warpSize == 32 && properties.multiProcessorCount >= 1,
          "device 0 of %d is '%s'", devices, properties.name);
    check(driver >= 11000 && runtime >= 11000, "versions %d and %d", driver, runtime);
    cudaStream_t stream;
    cudaEvent_t start, stop;
    float ms = -1.0f;
    CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    CUDA_CHECK(cudaEventCreate(&start));
    CUDA_CHECK(cudaEventCreate(&stop));
    CUDA_CHECK(cudaEventRecord(start, stream));
    CUDA_CHECK(cudaEventRecord(stop, stream));
    CUDA_CHECK(cudaEventSynchronize(stop));
    CUDA_CHECK(cudaEventElapsedTime(&ms, start, stop));
    check(ms >= 0.0f && ms < 60000.0f, "%g ms", double(ms));
    CUDA_CHECK(cudaStreamSynchronize(stream));
    CUDA_CHECK(cudaEventDestroy(start));
    CUDA_CHECK(cudaEventDestroy(stop));
    CUDA_CHECK(cudaStreamDestroy(stream));
}

/* What no GPU promises, and the emulator does: memory nobody has written to is NaN. */
static void test_garbage(void)
{
#ifdef CUDA_ON_CPU
    const Device<float> memory(1000);
    for (float x : memory.read())
        check(std::isnan(x), "new device memory holds %g", double(x));
#if !defined(EMU_ASAN) && !defined(EMU_TSAN)
    const Device<float> shared(64);
    launch(read_unwritten<float>, dim3(3), dim3(32), 128, shared);
    for (float x : shared.read())
        check(std::isnan(x), "new shared memory holds %g", double(x));
#endif
#else
    check_skip("only the emulator fills memory with garbage");
#endif
}

static const struct {
    const char *name;
    void (*test)(void);
} tests[] = {
    {"layernorm, a warp for each row", test_layernorm},
    {"a sum over the block, and atomicAdd", test_block_sum},
    {"a product by mma, ldmatrix and cp.async", test_tensor_matmul},
    {"flash attention, T = 64", test_attention_one_tile},
    {"flash attention, T = 101", test_attention_odd_length},
    {"cooperative groups: tiles of 32 and of 8", test_tiles},
    {"templates, dynamic shared memory, counting", test_idioms},
    {"indices in three dimensions, and barriers that vote", test_indices},
    {"shuffles, votes and reductions", test_warp_functions},
    {"bf16 rounds to nearest even", test_bf16_rounding},
    {"cublasSgemm", test_cublas_sgemm},
    {"cublasSgemmStridedBatched", test_cublas_batched},
    {"cuBLAS's statuses", test_cublas_statuses},
    {"cublasLt: types and epilogues", test_lt_epilogues},
    {"cublasLt: batches", test_lt_batches},
    {"cublasLt: what is refused", test_lt_refusals},
    {"cublasLt: algorithms", test_lt_algorithms},
    {"memory: copies, sets, pinned", test_memory},
    {"errors: what is refused", test_errors},
    {"the device, streams and events", test_device_and_events},
    {"streams: what orders them", test_stream_order},
    {"streams: nothing waits by itself", test_lazy_streams},
    {"graphs: launches, copies, sets", test_graph},
    {"graphs: a product", test_graph_product},
    {"graphs: what a capture forbids", test_capture_errors},
    {"simulated devices", test_simulated_devices},
    {"memory begins as garbage", test_garbage},
    {"limits: launch bounds", test_launch_bounds},
    {"limits: static and dynamic shared memory", test_shared_limit},
#ifdef CUDA_ON_CPU
    {"limits: kernels for other GPUs", test_images},
    {"limits: memory in pages, shared with libraries", test_granular_memory},
    {"limits: after a trap nothing works", test_trap},
    {"cuBLAS: TF32 has 10 bits", test_tf32},
    {"cuBLAS: another order of sums", test_varied_products},
    {"cuBLAS: an approximate GELU", test_fast_gelu},
#endif
};

static void run_tests(const char *order)
{
    generator.seed(7);
    for (const auto &t : tests)
        check_run((std::string(t.name) + order).c_str(), t.test);
}

int main()
{
    needs_bf16();
#ifdef CUDA_ON_CPU
    emu::set_order(emu::FORWARD);
    run_tests(" (forward)");
    emu::set_order(emu::REVERSE);
    run_tests(" (reverse)");
    for (int seed = 1; seed <= 3; seed++) {
        emu::set_order(emu::RANDOM, uint64_t(seed));
        run_tests((" (random " + std::to_string(seed) + ")").c_str());
    }
    emu::lazy() = true;
    emu::set_order(emu::REVERSE);
    run_tests(" (lazy streams)");
#else
    run_tests("");
#endif
    return check_summary();
}
