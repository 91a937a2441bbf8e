/* SPDX-License-Identifier: MIT
 * The way to the command through casulo-init, for by_hand.c. Each returns the name of a call that failed, with its errno; or NULL. */
#ifndef THROUGH_H
#define THROUGH_H

/* Reads the image of casulo-init, with the command in it, from a file. */
const char *through_load(const char *path);

/* Before the clone. Raises the highest number of a descriptor that the child needs. */
const char *through_open(int *highest);

/* In the child, last of all. */
const char *through_execute(void);

/* After the clone: waits until the command is executed. */
const char *through_wait(void);

#endif
