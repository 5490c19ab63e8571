/*
 * The value of --disk: FILE[,key[=value]]... into a struct disk_config.
 *
 * Main thread. The configuration borrows the text, and cuts it up in place.
 */
#ifndef KVIST_CLI_OPTIONS_DISK_H
#define KVIST_CLI_OPTIONS_DISK_H

#include "machine.h"

/* What --help says of it. */
#define DISK_OPTIONS_SYNOPSIS "FILE[,format=qcow2|raw][,readonly][,...]"
#define DISK_OPTIONS_HELP                                                      \
	"virtio-blk disk, qcow2 unless said otherwise;\n"                      \
	"several: /dev/vda, /dev/vdb, ...;\n"                                  \
	"backing-dir=DIR allows backing files there too;\n"                    \
	"key-file=PATH holds the passphrase of a LUKS image;\n"                \
	"io=uring|threads: who does I/O [uring if allowed];\n"                 \
	"cache=writeback|none|unsafe: the host's page cache\n"                 \
	"[writeback]; l2-cache=SIZE: of qcow2 tables [512K];\n"                \
	"queues=N, 1 to 8 [one per vCPU, at most 4];\n"                        \
	"serial=TEXT as the guest reads it [blk0, blk1, ...];\n"               \
	"discard=on|off: the guest may give space back [on];\n"                \
	"on-error=report|stop: when the host fails, an I/O\n"                  \
	"error for the guest, or a pause until SIGCONT\n"                      \
	"[report];\n"                                                          \
	"iops=N, bps=SIZE: most requests, bytes a second;\n"                   \
	"iops-burst=N, bps-burst=SIZE: more after a pause"

/* 0, or -EINVAL after a line that says what is wrong. */
int disk_option_parse(char *text, struct disk_config *disk);

#endif
