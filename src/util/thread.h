/*
 * Threads with a stack of a fitting size.
 *
 * A default stack is 8 MiB, of which a few KiB are used; and where the host
 * backs memory by huge pages on its own, each costs 2 MiB all the same.
 */
#ifndef KVIST_UTIL_THREAD_H
#define KVIST_UTIL_THREAD_H

#include <pthread.h>

#define THREAD_STACK (256u << 10) /* bytes; the deepest path uses 20 KiB */

/* As pthread_create(), but returns 0 or -errno. */
int thread_create(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
