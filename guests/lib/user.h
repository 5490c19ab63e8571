/*
 * Ring 3: for guests that measure. A host without VT-x or AMD-V emulates the
 * kernel mode of a guest, one instruction at a time, and runs its user mode at
 * full speed; on other hosts there is no difference.
 */
#ifndef GUESTS_LIB_USER_H
#define GUESTS_LIB_USER_H

/*
 * Goes on in ring 3, on the same stack, until the guest ends: with all memory,
 * without interrupts and ports. An exception is reported as ever.
 */
void user_enter(void);

/* Calls @function in ring 0, from ring 3. What prints, checks, or looks at the
 * clock must be called so. */
void user_call(void (*function)(void *arg), void *arg);

#endif
