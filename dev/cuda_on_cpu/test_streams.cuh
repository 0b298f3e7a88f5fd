#ifndef TEST_STREAMS_CUH
#define TEST_STREAMS_CUH

#include "test_cublaslt.cuh"

/* Streams, events, graphs and the devices that a program may meet. */

struct Stream {
    cudaStream_t s = nullptr;
    explicit Stream(unsigned flags = cudaStreamNonBlocking) { CUDA_CHECK(cudaStreamCreateWithFlags(&s, flags)); }
    Stream(const Stream &) = delete;
    ~Stream() { cudaStreamDestroy(s); }
    operator cudaStream_t() const { return s; }
};
struct Event {
    cudaEvent_t e = nullptr;
    Event() { CUDA_CHECK(cudaEventCreate(&e)); }
    Event(const Event &) = delete;
    ~Event() { cudaEventDestroy(e); }
    operator cudaEvent_t() const { return e; }
};
/* 32 floats of pinned memory. */
struct Pinned {
    float *p = nullptr;
    explicit Pinned(float x)
    {
        CUDA_CHECK(cudaMallocHost(&p, 32 * sizeof(float)));
        fill(x);
    }
    Pinned(const Pinned &) = delete;
    ~Pinned() { cudaFreeHost(p); }
    void fill(float x)
    {
        for (int i = 0; i < 32; i++)
            p[i] = x;
    }
};

/* x[0 .. 31] *= factor */
inline cudaError_t scale_on(cudaStream_t stream, float *x, float factor)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(1);
    config.blockDim = dim3(32);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, scale<32>, (float *)x, factor);
}

inline void check_error(cudaError_t got, cudaError_t want, const char *what)
{
    check(got == want, "%s: %s, not %s", what, cudaGetErrorName(got), cudaGetErrorName(want));
}

/* ---- streams ---- */

static const size_t BYTES = 32 * sizeof(float);

/* What is ordered by events and by the legacy stream is ordered. */
inline void test_stream_order(void)
{
    const Stream a, b, blocking(cudaStreamDefault);
    const Event copied, scaled;
    const Pinned in(3), out(0);
    const Device<float> x(32), y(32);
    CUDA_CHECK(cudaMemcpyAsync(x, in.p, BYTES, cudaMemcpyHostToDevice, a));
    CUDA_CHECK(cudaEventRecord(copied, a));
    CUDA_CHECK(cudaStreamWaitEvent(b, copied, 0));
    CUDA_CHECK(scale_on(b, x, 2));
    CUDA_CHECK(cudaEventRecord(scaled, b));
    CUDA_CHECK(cudaMemcpyAsync(out.p, x, BYTES, cudaMemcpyDeviceToHost, b));
    CUDA_CHECK(cudaStreamSynchronize(b));
    check_close(out.p[31], 6, 0, "copied on one stream, scaled on another");
    float ms = -1;
    CUDA_CHECK(cudaEventSynchronize(scaled));
    CUDA_CHECK(cudaEventElapsedTime(&ms, copied, scaled));
    check(ms >= 0, "%g ms", double(ms));
    check_error(cudaEventQuery(scaled), cudaSuccess, "an event that has come");

    CUDA_CHECK(cudaMemset(y, 0, BYTES)); /* the legacy stream; then one that waits for it; then the legacy one again */
    CUDA_CHECK(cudaMemcpyAsync(y, in.p, BYTES, cudaMemcpyHostToDevice, blocking));
    CUDA_CHECK(scale_on(nullptr, y, 5));
    CUDA_CHECK(scale_on(blocking, y, 2));
    check_close(y.read()[7], 30, 0, "the legacy stream and a blocking one in turn");

    CUDA_CHECK(scale_on(a, y, 0.5f));
    Event done;
    CUDA_CHECK(cudaEventRecord(done, a));
    int asked = 0;
    while (cudaEventQuery(done) == cudaErrorNotReady && asked < 100000000)
        asked++;
    check_close(y.read()[7], 15, 0, "an event that is asked for until it comes");
    cudaGetLastError(); /* it is one to remember, though, that it was not ready */
}

/* What CUDA does not promise, and a lazy emulator shows: work is done as late as can be. */
inline void test_lazy_streams(void)
{
#ifdef CUDA_ON_CPU
    const bool before = emu::lazy();
    emu::lazy() = true;
    {
        const Stream a, b, blocking(cudaStreamDefault);
        const Event event;
        Pinned in(3), out(-1);
        const Device<float> x(32), y(std::vector<float>(32, 1.0f));
        CUDA_CHECK(cudaMemcpyAsync(x, in.p, BYTES, cudaMemcpyHostToDevice, a));
        in.fill(4);
        CUDA_CHECK(cudaMemcpyAsync(out.p, x, BYTES, cudaMemcpyDeviceToHost, a));
        check_close(out.p[0], -1, 0, "a copy to the host that nobody has waited for");
        CUDA_CHECK(cudaStreamSynchronize(b));
        check_close(out.p[0], -1, 0, "a copy of another stream than waited for");
        CUDA_CHECK(cudaStreamSynchronize(a));
        check_close(out.p[0], 4, 0, "pinned memory, written again before its copy");

        std::vector<float> pageable(32, 5.0f);
        CUDA_CHECK(cudaMemcpyAsync(x, pageable.data(), BYTES, cudaMemcpyHostToDevice, a));
        pageable.assign(32, 6.0f);
        CUDA_CHECK(cudaEventRecord(event, a));
        CUDA_CHECK(scale_on(b, x, 2)); /* without a wait: of what x held before */
        check_error(cudaEventQuery(event), cudaErrorNotReady, "an event nobody waits for");
        check_error(cudaGetLastError(), cudaErrorNotReady, "the error it leaves");
        float ms;
        check_error(cudaEventElapsedTime(&ms, event, event), cudaErrorNotReady, "its time");
        CUDA_CHECK(cudaStreamSynchronize(b));
        CUDA_CHECK(cudaStreamSynchronize(a));
        check_close(x.read()[0], 10, 0, "pageable memory, written again after its copy was asked for");
        CUDA_CHECK(cudaMemcpyAsync(x, in.p, BYTES, cudaMemcpyHostToDevice, a));
        CUDA_CHECK(scale_on(b, x, 2));
        CUDA_CHECK(cudaStreamSynchronize(b));
        CUDA_CHECK(cudaStreamSynchronize(a));
        check_close(x.read()[0], 4, 0, "a stream that did not wait for another");

        out.fill(-1);
        CUDA_CHECK(cudaMemcpyAsync(out.p, x, BYTES, cudaMemcpyDeviceToHost, a));
        CUDA_CHECK(cudaEventRecord(event, a));
        CUDA_CHECK(scale_on(a, x, 2));
        CUDA_CHECK(cudaMemcpyAsync(in.p, x, BYTES, cudaMemcpyDeviceToHost, a));
        in.fill(1);
        CUDA_CHECK(cudaEventSynchronize(event));
        check(out.p[0] == 4 && in.p[0] == 1, "an event's wait is for what came before it: %g %g", double(out.p[0]),
              double(in.p[0]));

        CUDA_CHECK(cudaStreamSynchronize(a));
        out.fill(-1); /* waited for when memory is freed, and done though its stream is destroyed */
        cudaStream_t brief;
        CUDA_CHECK(cudaStreamCreateWithFlags(&brief, cudaStreamNonBlocking));
        CUDA_CHECK(cudaMemcpyAsync(out.p, x, BYTES, cudaMemcpyDeviceToHost, brief));
        CUDA_CHECK(cudaStreamDestroy(brief));
        check_close(out.p[0], -1, 0, "a stream destroyed");
        check_error(scale_on(brief, x, 1), cudaErrorInvalidResourceHandle, "work for a stream destroyed");
        CUDA_CHECK(cudaFree(nullptr));
        check_close(out.p[0], 8, 0, "cudaFree waits");

        CUDA_CHECK(cudaMemset(y, 0, BYTES)); /* waited for by blocking streams, and by no others */
        CUDA_CHECK(cudaMemcpyAsync(out.p, y, BYTES, cudaMemcpyDeviceToHost, a));
        CUDA_CHECK(cudaStreamSynchronize(a));
        check_close(out.p[0], 1, 0, "cudaMemset and a non-blocking stream");
        CUDA_CHECK(cudaMemcpyAsync(out.p, y, BYTES, cudaMemcpyDeviceToHost, blocking));
        CUDA_CHECK(cudaStreamSynchronize(blocking));
        check_close(out.p[0], 0, 0, "cudaMemset and a blocking stream");
        CUDA_CHECK(cudaMemcpyAsync(out.p, in.p, BYTES, cudaMemcpyHostToHost, blocking));
        CUDA_CHECK(cudaStreamSynchronize(nullptr));
        check_close(out.p[0], 8, 0, "a blocking stream and a wait for the legacy one");
    }
    emu::lazy() = before;
#else
    check_skip("a GPU may be in time where nobody waits for it");
#endif
}

/* ---- graphs ---- */

inline cudaGraphExec_t end_capture(cudaStream_t stream)
{
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    CUDA_CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));
    return exec;
}

inline void test_graph(void)
{
    const Stream stream;
    const Pinned in(3), out(0);
    const Device<float> x(std::vector<float>(32, 1.0f)), y(std::vector<float>(32, 7.0f));
    cudaStreamCaptureStatus status;
    float factor = 2;
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
    check(status == cudaStreamCaptureStatusActive, "a stream that captures says %d", status);
    CUDA_CHECK(scale_on(stream, x, factor));
    CUDA_CHECK(cudaMemsetAsync(y, 0, BYTES / 2, stream));
    CUDA_CHECK(cudaMemcpyAsync(y + 24, in.p, BYTES / 4, cudaMemcpyHostToDevice, stream));
    CUDA_CHECK(cudaMemcpyAsync(out.p, x, BYTES, cudaMemcpyDeviceToHost, stream));
    factor = 100;
    cudaGraphExec_t exec = end_capture(stream);
    CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
    check(status == cudaStreamCaptureStatusNone, "a stream that has captured says %d", status);
    check_close(x.read()[5], 1, 0, "what is captured is not run");
    check_close(y.read()[5], 7, 0, "what is captured is not run");
    CUDA_CHECK(cudaGraphUpload(exec, stream));
    for (int launches = 1; launches <= 3; launches++) {
        CUDA_CHECK(cudaGraphLaunch(exec, stream));
        CUDA_CHECK(scale_on(stream, x, 10)); /* beside the graph */
        CUDA_CHECK(cudaStreamSynchronize(stream));
        check_close(out.p[5], pow(2, launches) * pow(10, launches - 1), 0, "x as the graph copied it");
        check_close(x.read()[5], pow(20, launches), 0, "x");
    }
    const std::vector<float> got = y.read();
    check(got[0] == 0 && got[15] == 0 && got[16] == 7 && got[23] == 7 && got[24] == 3 && got[31] == 3,
          "y is %g %g %g %g", double(got[0]), double(got[16]), double(got[24]), double(got[31]));
    CUDA_CHECK(cudaGraphLaunch(exec, stream));
    CUDA_CHECK(cudaGraphExecDestroy(exec)); /* what is launched is done all the same */
    CUDA_CHECK(cudaStreamSynchronize(stream));
    check_close(x.read()[5], 2 * 8000, 0, "a graph destroyed after its launch");
}

/* A product in a graph: what the handles and alpha said when it was captured. */
inline void test_graph_product(void)
{
    const Stream stream;
    const int n = 16;
    const LtMatrix shape = {n, n, n, n * n, CUDA_R_32F, {}};
    std::vector<float> identity(n * n);
    for (int i = 0; i < n; i++)
        identity[i * n + i] = 1;
    const Device<float> a(identity), b(std::vector<float>(n * n, 3.0f)), d(std::vector<float>(n * n, 0.0f));
    float alpha = 2, beta = 1;
    CUDA_CHECK(cudaDeviceSynchronize()); /* the memory is written on another stream */
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    {
        Lt l(CUBLAS_COMPUTE_32F, CUBLASLT_EPILOGUE_DEFAULT, false, false);
        for (int i = 0; i < 4; i++)
            l.shape(i, shape, 1);
        lt(cublasLtMatmul(l.handle, l.desc, &alpha, a.p, l.layout[0], b.p, l.layout[1], &beta, d.p, l.layout[2], d.p,
                          l.layout[3], nullptr, nullptr, 0, stream));
        alpha = beta = 100;
    }
    cudaGraphExec_t exec = end_capture(stream);
    for (int launches = 1; launches <= 2; launches++) {
        CUDA_CHECK(cudaGraphLaunch(exec, stream));
        CUDA_CHECK(cudaStreamSynchronize(stream));
        check_close(d.read()[17], 6 * launches, 0, "D = 2 A B + D");
    }
    CUDA_CHECK(cudaGraphExecDestroy(exec));
}

/* One forbidden thing in a capture: what it gives, and that the capture is no good afterwards. */
template <class F>
void forbidden(const char *what, unsigned flags, cudaStreamCaptureMode mode, cudaError_t want, F call)
{
    const Stream stream(flags);
    cudaGraph_t graph = nullptr;
    const Device<float> x(32);
    cudaStreamCaptureStatus status;
    CUDA_CHECK(cudaDeviceSynchronize());
    CUDA_CHECK(cudaStreamBeginCapture(stream, mode));
    CUDA_CHECK(scale_on(stream, x, 1));
    check_error(call(stream), want, what);
    CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
    check((status == cudaStreamCaptureStatusInvalidated) == (want != cudaSuccess), "%s: the capture's status is %d",
          what, status);
    check_error(scale_on(stream, x, 1), want == cudaSuccess ? want : cudaErrorStreamCaptureInvalidated, what);
    check_error(cudaStreamEndCapture(stream, &graph), want == cudaSuccess ? want : cudaErrorStreamCaptureInvalidated,
                what);
    check((graph != nullptr) == (want == cudaSuccess), "%s: a graph at %p", what, (void *)graph);
    if (graph)
        cudaGraphDestroy(graph);
    cudaGetLastError();
}

inline void test_capture_errors(void)
{
    const unsigned blocking = cudaStreamDefault, loose = cudaStreamNonBlocking;
    const cudaStreamCaptureMode global = cudaStreamCaptureModeGlobal, local = cudaStreamCaptureModeThreadLocal;
    const cudaStreamCaptureMode relaxed = cudaStreamCaptureModeRelaxed;
    const Stream other;
    const Event outside, inside;
    const Device<float> x(32);
    float host[32] = {};
    CUDA_CHECK(cudaEventRecord(outside, other));
    const auto allocate = [](cudaStream_t) {
        void *p = nullptr;
        const cudaError_t e = cudaMalloc(&p, 64);
        return e == cudaSuccess ? cudaFree(p) : e;
    };
    const auto copy = [&](cudaStream_t) { return cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice); };
    const auto default_stream = [&](cudaStream_t) { return scale_on(nullptr, x, 1); };
    const auto wait = [](cudaStream_t s) { return cudaStreamSynchronize(s); };
    const auto wait_all = [](cudaStream_t) { return cudaDeviceSynchronize(); };
    const auto wait_outside = [&](cudaStream_t s) { return cudaStreamWaitEvent(s, outside, 0); };
    const auto wait_inside = [&](cudaStream_t s) {
        CUDA_CHECK(cudaEventRecord(inside, s));
        CUDA_CHECK(cudaStreamWaitEvent(s, inside, 0));
        return cudaEventSynchronize(inside);
    };
    const auto ask_legacy = [](cudaStream_t) {
        cudaStreamCaptureStatus status;
        check_error(cudaStreamIsCapturing(nullptr, &status), cudaErrorStreamCaptureImplicit, "the legacy stream asked");
        return cudaSuccess;
    };
    forbidden("nothing", loose, global, cudaSuccess, [](cudaStream_t) { return cudaSuccess; });
    forbidden("cudaStreamIsCapturing", blocking, global, cudaSuccess, ask_legacy);
    forbidden("cudaMalloc", loose, global, cudaErrorStreamCaptureUnsupported, allocate);
    forbidden("cudaMalloc, local", loose, local, cudaErrorStreamCaptureUnsupported, allocate);
    forbidden("cudaMalloc, relaxed", loose, relaxed, cudaSuccess, allocate);
    forbidden("cudaFree", loose, global, cudaErrorStreamCaptureUnsupported, [](cudaStream_t) { return cudaFree(0); });
    forbidden("cudaMemcpy", loose, global, cudaErrorStreamCaptureUnsupported, copy);
    forbidden("cudaMemcpy, blocking", blocking, relaxed, cudaErrorStreamCaptureImplicit, copy);
    forbidden("cudaStreamSynchronize", loose, relaxed, cudaErrorStreamCaptureUnsupported, wait);
    forbidden("cudaDeviceSynchronize", loose, relaxed, cudaErrorStreamCaptureUnsupported, wait_all);
    forbidden("the legacy stream", loose, global, cudaSuccess, default_stream);
    forbidden("the legacy stream, blocking", blocking, global, cudaErrorStreamCaptureImplicit, default_stream);
    forbidden("an event from outside", loose, global, cudaErrorStreamCaptureIsolation, wait_outside);
    forbidden("cudaEventSynchronize", loose, global, cudaErrorCapturedEvent, wait_inside);

    cudaGraph_t graph = nullptr;
    check_error(cudaStreamBeginCapture(nullptr, global), cudaErrorStreamCaptureUnsupported,
                "a capture on the legacy stream");
    check_error(cudaStreamEndCapture(other, &graph), cudaErrorIllegalState, "the end of no capture");
    CUDA_CHECK(cudaStreamBeginCapture(other, relaxed));
    check_error(cudaStreamBeginCapture(other, relaxed), cudaErrorIllegalState, "a capture begun twice");
    CUDA_CHECK(cudaStreamEndCapture(other, &graph));
    CUDA_CHECK(cudaGraphDestroy(graph));
    cudaGetLastError();
}

/* ---- devices ---- */

#ifdef CUDA_ON_CPU
/* A GPU as the variables say, until the end of the scope. */
struct Simulated {
    const char *name;
    Simulated(const char *variable, const char *value) : name(variable)
    {
        setenv(variable, value, 1);
        emu::read_gpu();
    }
    Simulated(const Simulated &) = delete;
    ~Simulated()
    {
        unsetenv(name);
        emu::read_gpu();
        cudaGetLastError();
    }
};
#endif

inline void test_simulated_devices(void)
{
#ifdef CUDA_ON_CPU
    int count = -1, number = -1;
    float *p = nullptr;
    cudaDeviceProp properties;
    cublasLtHandle_t handle;
    {
        const Simulated none("CUDA_ON_CPU_DEVICES", "0");
        check_error(cudaGetDeviceCount(&count), cudaErrorNoDevice, "no device");
        check(count == 0, "%d devices", count);
        check_error(cudaMalloc(&p, 64), cudaErrorNoDevice, "cudaMalloc without a device");
        check_error(scale_on(nullptr, p, 1), cudaErrorNoDevice, "a launch without a device");
        check(cublasLtCreate(&handle) == CUBLAS_STATUS_NOT_INITIALIZED, "cuBLASLt without a device");
    }
    {
        const Simulated old("CUDA_ON_CPU_DRIVER", "12000");
        check_error(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver, "an old driver");
        check_error(cudaDeviceSynchronize(), cudaErrorInsufficientDriver, "an old driver");
        check_error(cudaGetDeviceProperties(&properties, 0), cudaErrorInsufficientDriver, "an old driver");
        CUDA_CHECK(cudaDriverGetVersion(&number));
        check(number == 12000, "driver %d", number);
    }
    {
        const Simulated turing("CUDA_ON_CPU_CAPABILITY", "7.5"), named("CUDA_ON_CPU_NAME", "NVIDIA T4");
        CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
        CUDA_CHECK(cudaDeviceGetAttribute(&number, cudaDevAttrComputeCapabilityMinor, 0));
        check(properties.major == 7 && properties.minor == 5 && number == 5 && !strcmp(properties.name, "NVIDIA T4") &&
                  properties.sharedMemPerBlockOptin == 65536 && properties.maxThreadsPerMultiProcessor == 1024,
              "capability %d.%d of '%s'", properties.major, properties.minor, properties.name);
        check_error(cudaFuncSetAttribute(reverse, cudaFuncAttributeMaxDynamicSharedMemorySize, 65537),
                    cudaErrorInvalidValue, "more shared memory than it has");
    }
    {
        const Simulated small("CUDA_ON_CPU_MEMORY", "67108864"), two("CUDA_ON_CPU_DEVICES", "2");
        size_t left, total;
        CUDA_CHECK(cudaGetDeviceProperties(&properties, 1));
        const Device<char> most(60 << 20);
        CUDA_CHECK(cudaMemGetInfo(&left, &total));
        check(properties.totalGlobalMem == 64 << 20 && total == 64 << 20 && left == 4 << 20, "%zu of %zu", left, total);
        check_error(cudaMalloc(&p, (4 << 20) + 1), cudaErrorMemoryAllocation, "one byte too many");
        CUDA_CHECK(cudaGetDeviceCount(&count));
        CUDA_CHECK(cudaSetDevice(1));
        check(count == 2, "%d devices", count);
        check_error(cudaSetDevice(2), cudaErrorInvalidDevice, "the third of two devices");
        CUDA_CHECK(cudaSetDevice(0));
    }
#else
    check_skip("only the emulator's devices can be chosen");
#endif
}

#endif
