#ifndef TRAIN_STOP_H
#define TRAIN_STOP_H

/*
 * Signals that ask a run to save and end: from the terminal (SIGINT, SIGHUP when it is closed), from schedulers
 * (SIGTERM, SIGXCPU, SIGUSR1, SIGUSR2), and SIGPIPE, when nobody reads the output any more. One that the parent
 * ignores, as nohup does with SIGHUP, stays ignored. The second SIGINT, or the second SIGTERM, ends the program at
 * once.
 */
void stop_catch(void);

/* The signal that has come, or 0. Look at it between batches and tokens: a scheduler waits only half a minute. */
int stop_signal(void);

#endif
