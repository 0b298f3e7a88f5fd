/* What a program says and does when a call of CUDA's or of its libraries fails: each in a process of its own, with a
 * GPU of a little memory. */
#include "base/cuda/lt.cuh"
#include "optim/verbs/cusolver_check.cuh"

#include <string>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include "dev/tests/check.h"
}

struct Failure {
    const char *name, *memory; /* bytes that the GPU has */
    void (*call)(void);
    const char *says;
};

static const char ENOUGH[] = "4000000000", LITTLE[] = "100000000";

static const Failure failures[] = {
    {"cudaMalloc", LITTLE,
     [] {
         void *p;
         CUDA_CHECK(cudaMalloc(&p, 200000000));
     },
     "train_gpt: out of GPU memory: cudaMalloc(&p, 200000000) failed: out of memory; lower --batch-size"},
    {"another error of CUDA", LITTLE, [] { CUDA_CHECK(cudaErrorInvalidValue); },
     "test_checks.cu:LINE: cudaErrorInvalidValue failed: invalid argument"},
    {"cuBLAS's workspace", ENOUGH, [] { CUBLAS_CHECK(CUBLAS_STATUS_ALLOC_FAILED); }, "train_gpt: out of GPU memory: "},
    {"cuBLAS's handle, without memory", LITTLE, [] { CUBLAS_CHECK(CUBLAS_STATUS_NOT_INITIALIZED); },
     "train_gpt: out of GPU memory: "},
    {"cuBLAS's handle, with memory", ENOUGH, [] { CUBLAS_CHECK(CUBLAS_STATUS_NOT_INITIALIZED); },
     "test_checks.cu:LINE: CUBLAS_STATUS_NOT_INITIALIZED failed: "},
    {"cuSOLVER's workspace", ENOUGH, [] { CUSOLVER_CHECK((cusolverStatus_t)2); },
     "train_gpt: out of GPU memory: (cusolverStatus_t)2 failed: cuSOLVER status 2; lower --batch-size"},
    {"cuSOLVER's handle, without memory", LITTLE, [] { CUSOLVER_CHECK(CUSOLVER_STATUS_NOT_INITIALIZED); },
     "train_gpt: out of GPU memory: "},
    {"another error of cuSOLVER", LITTLE, [] { CUSOLVER_CHECK(CUSOLVER_STATUS_NOT_SUPPORTED); },
     "test_checks.cu:LINE: CUSOLVER_STATUS_NOT_SUPPORTED failed: cuSOLVER status 9"},
    {"a product that cuBLASLt does not have", ENOUGH,
     [] {
         const LtShape fp32_to_bf16 = {
             2, 5, 3, false, true, 3, 3, 5, CUDA_R_32F, CUDA_R_16BF, CUBLAS_COMPUTE_32F, LT_PLAIN, 7};
         Lt lt = {};
         lt_create(&lt, 0);
         if (!lt_product(&lt, 0, fp32_to_bf16, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL))
             lt_fail(fp32_to_bf16);
     },
     "product failed: cuBLASLt cannot multiply 2 x 3 by 5 x 3 transposed in bf16, 7 at once"},
};
static const Failure *current;

/* What `current` prints on stderr, with LINE in place of the line's number. */
static std::string said(int *status)
{
    int ends[2];
    std::string text;
    if (pipe(ends) != 0)
        return "";
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        setenv("CUDA_ON_CPU_MEMORY", current->memory, 1);
        current->call();
        _exit(0);
    }
    close(ends[1]);
    char c;
    while (read(ends[0], &c, 1) == 1)
        if (c < '0' || c > '9' || text.empty() || text.find(".cu:") != text.size() - 4)
            text += c;
    close(ends[0]);
    waitpid(child, status, 0);
    const size_t place = text.find(".cu:");
    return place == std::string::npos ? text : text.insert(place + 4, "LINE");
}

static void test_failure(void)
{
    int status = 0;
    const std::string text = said(&status);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 1, "it ends with %d", status);
    check(text.find(current->says) != std::string::npos, "it says '%s', without '%s'", text.c_str(), current->says);
}

int main()
{
    for (const Failure &failure : failures) {
        current = &failure;
        check_run(failure.name, test_failure);
    }
    return check_summary();
}
