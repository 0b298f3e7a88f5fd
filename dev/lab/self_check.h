#ifndef DEV_LAB_SELF_CHECK_H
#define DEV_LAB_SELF_CHECK_H

/* Checks the mathematics of the lab. Prints a line for each test; returns the exit status. */
int self_check(void);

#endif
