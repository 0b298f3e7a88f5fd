/* The program of either twin: ./train_gpt_cpu, ./train_gpt_cuda. Only it prints errors and sets the exit status. */
#include "base/matmul.h"
#include "base/threads.h"
#include "gpt/gpt.h"
#include "train/completion.h"
#include "train/manual.h"
#include "train/presets.h"
#include "train/run.h"
#include "train/version.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* If stdin, stdout or stderr was closed, the next file opened would get its descriptor, and progress would be printed
 * into metrics.csv. */
static void fill_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

/* Begins anew where OpenBLAS did not know this CPU, told what it is; only once, and not against the user's own word. */
static void choose_kernels(char **argv)
{
    const char *core = matmul_missed_core();
    if (core != NULL && getenv("OPENBLAS_CORETYPE") == NULL && setenv("OPENBLAS_CORETYPE", core, 1) == 0)
        execv("/proc/self/exe", argv); /* where that is not possible it goes on as it is */
}

/* Prints what the command line asks for, if that is all that it does. */
static bool informs(const Options *o)
{
    const bool any = o->help || o->man || o->completes || o->list_presets || o->version;
    if (!any || !comm_speaks(NULL))
        return any;
    if (o->help)
        manual_help(stdout);
    else if (o->man)
        manual_page(stdout);
    else if (o->completes)
        completion_print(o->completion, stdout);
    else if (o->list_presets)
        presets_list(stdout);
    else
        printf("train_gpt %s (%s)\n", TRAIN_GPT_VERSION, train_gpt_source);
    return true;
}

/* Ends the output, and says what went wrong. */
static int conclude(int status, bool speaks, Error *e)
{
    if (fflush(stdout) != 0 && status == RUN_DONE) {
        error_set(e, "the output could not be written (is the disk full?)");
        status = RUN_FAILED;
    }
    if (speaks && (status == RUN_FAILED || status == RUN_WRONG_COMMAND || status == RUN_DIVERGED))
        fprintf(stderr, "train_gpt: %s\n", e->text);
    return status;
}

/* Joins the other ranks, if there are any, and does with them what the command line asks for, if that is no error. */
static int run(Options *options, int status, Error *e)
{
    Comm *comm;
    Error meeting;
    const int joined = comm_open(&comm, &meeting);
    if (joined != 0)
        return conclude(status != RUN_DONE ? status : RUN_FAILED, comm_speaks(NULL) || joined == COMM_NOT_MET,
                        status != RUN_DONE ? e : &meeting);
    if (!comm_speaks(comm) && freopen("/dev/null", "w", stdout) == NULL)
        return RUN_FAILED;
    options->optim.comm = comm;
    threads_choose(comm_neighbours(comm).sharers);
    status = comm_agree(comm, status, e);
    if (status == RUN_DONE)
        status = run_main(options, e);
    status = conclude(status, comm_speaks(comm), e);
    comm_close(comm);
    return status;
}

int main(int argc, char **argv)
{
    Options options;
    Error error;
    if (argc == 2 && strcmp(argv[1], "--probe") == 0) { /* the launcher asks whether the device answers */
        const int answer = gpt_probe(&error);
        if (answer != 0)
            fprintf(stderr, "%s\n", error.text);
        return answer == 0 ? RUN_DONE : answer < 0 ? RUN_FAILED : RUN_NO_DEVICE;
    }
    fill_standard_streams();
    choose_kernels(argv);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows beyond a limit is a failed write, with its sentence */
    int status = options_parse(&options, argc, argv, &error) != 0 ? RUN_WRONG_COMMAND : RUN_DONE;
    if (status == RUN_DONE && informs(&options))
        status = conclude(status, true, &error);
    else if (status == RUN_DONE && comm_start(options.start_ranks, &error) != 0)
        status = conclude(RUN_FAILED, comm_speaks(NULL), &error);
    else
        status = run(&options, status, &error);
    options_free(&options);
    return status;
}
