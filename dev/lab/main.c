/*
 * Linear regression, where everything an optimizer does can be compared with what is known: Y = X W*^T + noise with
 * X = [1|Z], W is outputs x inputs as in a linear layer, and the loss |Y - X W^T|_F^2 has a Hessian with known
 * eigenvalues and its least value at the ordinary least squares solution W_OLS. One run writes one CSV to stdout;
 * run.sh makes the experiment of README.md out of many. `lab --self-check` checks its mathematics.
 */
#include "base/matmul.h"
#include "dev/lab/run.h"
#include "dev/lab/self_check.h"

#include <stdio.h>
#include <stdlib.h>

/* Trains as the options say; the exit status. */
static int train(const Options *o, Error *e)
{
    Problem *p = NULL;
    Run *run = NULL;
    bool diverged = false;
    int status = problem_make(o, &p, e);
    if (status == 0)
        status = run_make(o, p, &run, e) == 0 ? 0 : 2;
    if (status == 0) {
        run_print_header(o, p);
        run_all(run, &diverged);
    }
    run_free(run);
    free(p);
    if (diverged) {
        error_set(e, "%s diverged: its loss has grown %g times, or is not finite", o->rule, DIVERGED);
        return 3;
    }
    return status < 0 ? 1 : status;
}

int main(int argc, char **argv)
{
    Options o;
    Error e;
    int status = 2;
    if (parse_options(argc, argv, &o, &e) == 0) {
        matmul_init();
        if (o.help)
            print_help();
        if (o.help || o.self_check)
            return o.help ? 0 : self_check();
        status = train(&o, &e);
    }
    if (status != 0)
        fprintf(stderr, "lab: %s\n", e.text);
    return status;
}
