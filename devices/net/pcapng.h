/*
 * A file of frames for Wireshark, tshark and tcpdump: pcapng, one interface,
 * nanoseconds (draft-ietf-opsawg-pcapng, 4.1 to 4.3). Each frame is written at
 * once, so that the file is whole whenever the process ends. Only a pipe with
 * too little room, whose @fd does not wait, may get the end of one later.
 *
 * Used by one thread at a time.
 */
#ifndef KVIST_NET_PCAPNG_H
#define KVIST_NET_PCAPNG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum pcapng_direction { PCAPNG_RECEIVED = 1, PCAPNG_SENT = 2 };

struct pcapng {
	int fd;        /* set by the user before pcapng_begin(), then owned */
	uint8_t *rest; /* of a frame that has begun: @len bytes; or NULL */
	size_t len;
};

/* Writes what such a file begins with: the interface is called @name. 0 or
 * -errno. */
int pcapng_begin(struct pcapng *out, const char *name);

/*
 * One frame, the @len bytes that @iov holds from @offset on, at @ns
 * nanoseconds since 1970, with a @comment of at most 127 bytes unless NULL. 0;
 * or -errno: -EAGAIN if there is no room, and the frame is left out; after another
 * error the file may end with a part of it.
 */
int pcapng_frame(struct pcapng *out, uint64_t ns,
		 enum pcapng_direction direction, const struct iovec *iov,
		 int iovcnt, uint64_t offset, uint32_t len,
		 const char *comment);

/* Closes the file; what is left of a frame, and finds no room, is lost. */
void pcapng_end(struct pcapng *out);

#endif
