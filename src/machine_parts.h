/*
 * What the files of the machine share with each other, and with no one else:
 * machine.c makes and runs it, machine_load.c fills its memory,
 * machine_devices.c adds disks, cards and the rng,
 * machine_events.c knows what the main thread waits for besides the vCPUs,
 * machine_disks.c what happens to disks while the guest runs,
 * machine_control.c what the control socket's clients may ask for.
 * Main thread, except for what machine_begin_load() starts.
 */
#ifndef KVIST_MACHINE_PARTS_H
#define KVIST_MACHINE_PARTS_H

#include "util/exit_code.h"

struct machine;

/* The exit code of a stage: 0 without an @err; EXIT_CODE_HOST if there is no
 * memory or no descriptor left, with advice if that is a limit of the process's
 * own; else @code. The second is for an @err
 * that nobody has logged yet. */
int machine_code(enum exit_code code, int err);
int machine_stage_failed(const char *what, enum exit_code code, int err);

/* Two stages: firmware tables, kernel and initrd come into memory, and the boot
 * processor gets to the first instruction. begin_load() starts a thread for it
 * if it takes long; finish_load() waits for that thread, or, as after a reset,
 * does it all itself. */
int machine_begin_load(struct machine *m);
void machine_end_load(struct machine *m);
int machine_finish_load(struct machine *m);

/* A stage of the machine: 0, or an exit code, logged. */
int machine_add_devices(struct machine *m);
void machine_remove_devices(struct machine *m);

/* A stage: a disk may ask for the guest to be paused, from any thread. */
int machine_watch_disks(struct machine *m);
void machine_ignore_disks(struct machine *m);
void machine_disk_stops(void *machine);
/* If a disk has paused the guest: tries the failed requests again, and lets the
 * guest go on. */
void machine_retry_disks(struct machine *m);

/* A stage: --control. */
int machine_open_control(struct machine *m);
void machine_close_control(struct machine *m);

/* Looks how large the disks are now. */
void machine_resize_disks(struct machine *m);

/* A stage: signals, --timeout, and what is put off until the guest runs. Until
 * here a signal ends the process at once, however long the opening of a disk
 * takes; no byte of a guest is written yet. */
int machine_watch_events(struct machine *m);
void machine_ignore_events(struct machine *m);

#endif
