/* The program of either twin: ./train_gpt_cpu, ./train_gpt_cuda. Only it prints errors and sets the exit status. */
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

/* All ranks do what the command line says; one speaks. */
static int run(int argc, char **argv, Options *options, Error *e)
{
    Comm *comm = options->optim.comm;
    if (options_parse(options, argc, argv, e) != 0)
        return RUN_WRONG_COMMAND;
    options->optim.comm = comm;
    if (options->help)
        manual_help(stdout);
    else if (options->man)
        manual_page(stdout);
    else if (options->completes)
        completion_print(options->completion, stdout);
    else if (options->list_presets)
        presets_list(stdout);
    else if (options->version)
        printf("train_gpt %s (%s)\n", TRAIN_GPT_VERSION, train_gpt_source);
    else
        return run_main(options, e);
    return RUN_DONE;
}

int main(int argc, char **argv)
{
    Options options = {0};
    Error error;
    Comm *comm;
    if (argc == 2 && strcmp(argv[1], "--probe") == 0) { /* the launcher asks whether the device answers */
        const int answer = gpt_probe(&error);
        if (answer < 0)
            fprintf(stderr, "%s\n", error.text);
        return answer == 0 ? 0 : 1;
    }
    fill_standard_streams();
    signal(SIGXFSZ, SIG_IGN); /* a file that grows beyond a limit is a failed write, with its sentence */
    threads_choose();
    int status = comm_open(&comm, &error) != 0 ? RUN_FAILED : RUN_DONE;
    threads_share(comm_neighbours(comm).sharers);
    if (!comm_speaks(comm) && freopen("/dev/null", "w", stdout) == NULL)
        return RUN_FAILED;
    options.optim.comm = comm;
    if (status == RUN_DONE)
        status = run(argc, argv, &options, &error);
    if (fflush(stdout) != 0 && status == RUN_DONE) {
        error_set(&error, "the output could not be written (is the disk full?)");
        status = RUN_FAILED;
    }
    if (comm_speaks(comm) && (status == RUN_FAILED || status == RUN_WRONG_COMMAND || status == RUN_DIVERGED))
        fprintf(stderr, "train_gpt: %s\n", error.text);
    options_free(&options);
    comm_close(comm);
    return status;
}
