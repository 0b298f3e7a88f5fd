/*
 * ./train_gpt: executes train_gpt_cuda if it was built and a GPU answers, otherwise train_gpt_cpu.
 * `--device cpu` and `--device cuda` override this; the chosen program parses all options itself.
 */
#define _DEFAULT_SOURCE /* readlink */
#include "base/error.h" /* refuses 32-bit machines */
#include "train/run.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_MOST = 4096, WHY_MOST = 512 };

/* The value of the last --device, or "auto". */
static const char *asked_device(int argc, char **argv)
{
    const char *device = "auto";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            device = argv[i + 1];
        else if (strncmp(argv[i], "--device=", 9) == 0)
            device = argv[i] + 9;
    }
    return device;
}

/* This program's path, where the system has no /proc: argv[0], or where the PATH has it. */
static void find_self(char *self, const char *argv0)
{
    const char *path = getenv("PATH");
    snprintf(self, PATH_MOST, "%s", argv0);
    if (strchr(argv0, '/') != NULL)
        return;
    while (path != NULL) {
        const int length = (int)strcspn(path, ":"); /* an empty folder is the current one */
        snprintf(self, PATH_MOST, "%.*s%s%s", length, path, length == 0 ? "./" : "/", argv0);
        if (access(self, X_OK) == 0)
            return;
        path = path[length] == ':' ? path + length + 1 : NULL;
    }
    snprintf(self, PATH_MOST, "./%s", argv0);
}

/* The path of `name` in this program's directory. */
static bool beside(char *path, const char *argv0, const char *name)
{
    char self[PATH_MOST];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        self[n] = '\0';
    else
        find_self(self, argv0);
    const char *slash = strrchr(self, '/');
    const int length = slash != NULL ? (int)(slash + 1 - self) : 0;
    return snprintf(path, PATH_MOST, "%.*s%s", length, self, name) < PATH_MOST;
}

/* A feature of CPUs that the programs were compiled for and this CPU lacks; NULL if there is none. */
static const char *missing_feature(void)
{
#ifdef CPU_FEATURES /* NEEDS("avx2") NEEDS("fma"), by the Makefile; this file is compiled for any CPU */
#define NEEDS(feature)                    \
    if (!__builtin_cpu_supports(feature)) \
        return feature;
    CPU_FEATURES
#endif
    return NULL;
}

/* Whether the system has a GPU of NVIDIA's, by its driver's device or, in WSL, where every maker's GPU is /dev/dxg, by
 * its tool; and CUDA_VISIBLE_DEVICES does not hide it: by "", "-1", or Slurm's NoDevFiles. */
static bool has_gpu(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (visible != NULL && strchr("-N", *visible) != NULL) /* '\0' is found too */
        return false;
    return access("/dev/nvidiactl", F_OK) == 0 || access("/usr/lib/wsl/lib/nvidia-smi", F_OK) == 0;
}

/* Whether `program --probe` finds a GPU. If not, `why` is the first line that it said, or how it ended; "" if there is
 * simply no GPU. */
static bool gpu_answers(const char *program, char why[WHY_MOST])
{
    char said[WHY_MOST];
    int ends[2], status = 0;
    size_t length = 0;
    ssize_t n = 0;
    if (pipe(ends) != 0) {
        snprintf(why, WHY_MOST, "no pipe to it: %s", strerror(errno));
        return false;
    }
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execl(program, program, "--probe", (char *)NULL);
        fprintf(stderr, "%s\n", strerror(errno));
        _exit(1);
    }
    close(ends[1]);
    while (length < sizeof said - 1 && (n = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)n;
    close(ends[0]);
    said[length] = '\0';
    if (child < 0 || waitpid(child, &status, 0) != child) {
        snprintf(why, WHY_MOST, "it cannot be started: %s", strerror(errno));
        return false;
    }
    if (WIFSIGNALED(status)) {
        snprintf(why, WHY_MOST, "it ended with signal %d", WTERMSIG(status));
        return false;
    }
    if (WEXITSTATUS(status) == 0 || (WEXITSTATUS(status) == RUN_NO_DEVICE && !has_gpu()))
        return WEXITSTATUS(status) == 0;
    const char *line = said + strspn(said, "\n");
    if (*line != '\0')
        snprintf(why, WHY_MOST, "%.*s", (int)strcspn(line, "\n"), line);
    else
        snprintf(why, WHY_MOST, "it ended with exit status %d", WEXITSTATUS(status));
    return false;
}

int main(int argc, char **argv)
{
    char cpu[PATH_MOST], cuda[PATH_MOST], why[WHY_MOST] = "";
    const char *device = asked_device(argc, argv);
    if (!beside(cpu, argv[0], "train_gpt_cpu") || !beside(cuda, argv[0], "train_gpt_cuda"))
        return RUN_WRONG_COMMAND;
    const char *missing = missing_feature();
    const bool built = access(cuda, X_OK) == 0;
    const bool gpu = missing == NULL && built &&
                     (strcmp(device, "cuda") == 0 || (strcmp(device, "auto") == 0 && gpu_answers(cuda, why)));
    const char *program = gpu ? cuda : cpu;
    if (missing != NULL) {
        fprintf(stderr,
                "train_gpt: %s was built for a CPU with %s, which this one lacks; run make clean && make here\n",
                strrchr(program, '/') + 1, missing);
        return 1;
    }
    if (!gpu && *why != '\0')
        fprintf(stderr, "train_gpt: the GPU program cannot run (%s); using the CPU\n", why);
    execv(program, argv);
    fprintf(stderr, "train_gpt: cannot start %s; run make first\n", program);
    return 1;
}
