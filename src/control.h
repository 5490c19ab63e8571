/*
 * The control socket: what a program asks of a running machine, in a subset of
 * QMP, the QEMU Machine Protocol. Both sides write JSON objects; kvist's stand
 * in a line each:
 *
 *   kvist   {"QMP": {"version": ..., "capabilities": []}}
 *   client  {"execute": "qmp_capabilities"}
 *   kvist   {"return": {}}
 *   client  {"execute": "block_resize", "id": 7,
 *            "arguments": {"device": "blk0", "size": 1073741824}}
 *   kvist   {"return": {}, "id": 7}
 *
 * or {"error": {"class": ..., "desc": ...}}. There are no events.
 *
 * Owned by the machine, main thread, served by its loop. What a client says is
 * hostile:
 *
 * C1: a message has at most CONTROL_MESSAGE bytes and JSON_LEVELS levels. After
 *     one that is wrong the rest of its first line is skipped.
 * C2: a client whose answer does not fit into its socket is not read from until
 *     it has taken it; nobody else waits for it.
 * C3: there is one client at a time, as with QEMU; the next is greeted when it
 *     has gone.
 */
#ifndef KVIST_CONTROL_H
#define KVIST_CONTROL_H

#include "util/json.h"
#include "util/listener.h"
#include "util/loop.h"

#define CONTROL_MESSAGE 4096
#define CONTROL_NAME    64 /* of what a client names, with its end */

/* A command that is to be done. */
struct control_call {
	struct control *control; /* for the protocol's own commands */
	void *machine;
	const char *arguments; /* an object, or NULL: none */
	struct json reply;     /* within its object */
};

struct control_command {
	const char *name;
	/* Writes one member, "return" or (control_fail()) "error", or nothing,
	 * which is an empty "return". */
	void (*run)(struct control_call *call);
};

struct control {
	struct loop *loop; /* borrowed, as all but the client's things */
	const struct control_command *commands; /* up to one without a name */
	void *machine;
	struct listener listener;
	struct watch listen;

	struct watch client; /* fd -1: there is none */
	bool negotiated;
	bool skipping; /* to the end of the line (C1) */
	bool blocked;  /* waits for room in the socket (C2) */
	size_t in_len;
	char in[CONTROL_MESSAGE + 1];
	char *out; /* an answer that is not sent yet, or NULL */
	size_t out_len, out_sent;
};

/* Listens at @path for clients that may ask for what is in @commands, besides
 * the protocol's own. 0 or -errno, logged. */
int control_open(struct control *control, struct loop *loop, const char *path,
		 const struct control_command *commands, void *machine);
void control_close(struct control *control);

/* For commands: an argument, for json_read.h, or NULL: it is not given. */
const char *control_argument(const struct control_call *call, const char *name);

/* Likewise. @class is one of QMP's. */
#define CONTROL_ERROR "GenericError"
void control_fail(struct control_call *call, const char *class,
		  const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A message taken apart; pointers into it. */
struct control_request {
	char name[CONTROL_NAME];
	const char *arguments; /* or NULL */
	const char *id;        /* or NULL */
};

/* Takes @text apart, an object that json_measure() has passed. NULL, or what is
 * wrong; the id is set in any case. Pure. */
const char *control_parse(const char *text, struct control_request *request);

#endif
