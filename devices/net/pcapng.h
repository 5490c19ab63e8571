/*
 * A file of frames for Wireshark, tshark and tcpdump: pcapng, one interface,
 * nanoseconds (draft-ietf-opsawg-pcapng, 4.1 to 4.3). Each frame is written at
 * once, so that the file is whole whenever the process ends.
 *
 * Used by one thread at a time.
 */
#ifndef KVIST_NET_PCAPNG_H
#define KVIST_NET_PCAPNG_H

#include <stdint.h>
#include <sys/uio.h>

enum pcapng_direction { PCAPNG_RECEIVED = 1, PCAPNG_SENT = 2 };

/* Writes what such a file begins with to @fd: the interface is called @name.
 * 0 or -errno. */
int pcapng_begin(int fd, const char *name);

/*
 * One frame, the @len bytes that @iov holds from @offset on, at @ns
 * nanoseconds since 1970, with a @comment of at most 127 bytes unless NULL. 0;
 * or -errno: the file may then end with a part of it.
 */
int pcapng_frame(int fd, uint64_t ns, enum pcapng_direction direction,
		 const struct iovec *iov, int iovcnt, uint64_t offset,
		 uint32_t len, const char *comment);

#endif
