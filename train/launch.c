/*
 * ./train_gpt: executes train_gpt_cuda if it was built and a GPU answers, otherwise train_gpt_cpu.
 * `--device cpu` and `--device cuda` override this; the chosen program parses all options itself.
 */
#define _DEFAULT_SOURCE /* readlink */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_MOST = 4096, WRONG_COMMAND = 2 };

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

/* The path of `name` in this program's directory. */
static bool beside(char *path, const char *argv0, const char *name)
{
    char self[PATH_MOST];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0)
        self[n] = '\0';
    else
        snprintf(self, sizeof self, "%s", argv0);
    const char *slash = strrchr(self, '/');
    const int length = slash != NULL ? (int)(slash + 1 - self) : 0;
    return snprintf(path, PATH_MOST, "%.*s%s%s", length, self, length == 0 ? "./" : "", name) < PATH_MOST;
}

/* Whether `program --probe` reports a GPU. */
static bool gpu_answers(const char *program)
{
    int status = 1;
    const pid_t child = fork();
    if (child == 0) {
        execl(program, program, "--probe", (char *)NULL);
        _exit(1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    char cpu[PATH_MOST], cuda[PATH_MOST];
    const char *device = asked_device(argc, argv);
    if (!beside(cpu, argv[0], "train_gpt_cpu") || !beside(cuda, argv[0], "train_gpt_cuda"))
        return WRONG_COMMAND;
    const bool built = access(cuda, X_OK) == 0;
    const bool gpu = built && (strcmp(device, "cuda") == 0 || (strcmp(device, "auto") == 0 && gpu_answers(cuda)));
    const char *program = gpu ? cuda : cpu;
    execv(program, argv);
    fprintf(stderr, "train_gpt: cannot start %s; run make first\n", program);
    return 1;
}
