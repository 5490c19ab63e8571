/*
 * Where guests keep what is not in their image. C and assembly.
 *
 * The image is at 1 MiB. All of this needs 16 MiB of RAM.
 */
#ifndef GUESTS_LIB_LAYOUT_H
#define GUESTS_LIB_LAYOUT_H

#define STACK_SIZE    16384
#define AP_TRAMPOLINE 0x8000   /* below 1 MiB, a page boundary: SIPI */
#define AP_STACKS     0x300000 /* CPUS_MAX of CPU_STACK bytes */
#define QUEUES        0x400000 /* virtqueues, zeroed as they are set up */
#define QUEUES_END    0x600000
#define BUFFERS       0x600000  /* free for the guest's own use, */
#define BUFFERS_END   0x1000000 /* up to here */

#endif
