#include "control.h"

#include "util/checked.h"
#include "util/json_read.h"
#include "util/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* A client that asks for QEMU's version must not take this for a QEMU. */
#define VERSION                                                                \
	"{\"qemu\": {\"major\": 0, \"minor\": 0, \"micro\": 0}, "              \
	"\"package\": \"kvist " KVIST_VERSION "\"}"

/*
 * From a message to its answer.
 */

void control_fail(struct control_call *call, const char *class,
		  const char *format, ...)
{
	struct json *json = &call->reply;
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	json_object(json, "error");
	json_string(json, "class", class);
	json_string(json, "desc", text);
	json_end(json);
}

const char *control_argument(const struct control_call *call, const char *name)
{
	const char *at = call->arguments, *key, *value, *found = NULL;
	char given[CONTROL_NAME];

	while (at && json_next(&at, &key, &value)) {
		json_get_text(key, given, sizeof(given));
		if (!strcmp(given, name))
			found = value;
	}
	return found;
}

const char *control_parse(const char *text, struct control_request *request)
{
	const char *key, *value, *wrong = NULL;
	char name[CONTROL_NAME];

	*request = (struct control_request){ 0 };
	while (json_next(&text, &key, &value)) {
		json_get_text(key, name, sizeof(name));
		if (!strcmp(name, "id"))
			request->id = value;
		else if (!strcmp(name, "arguments"))
			request->arguments = value;
		else if (strcmp(name, "execute"))
			wrong = "the members are 'execute', 'arguments', 'id'";
		else if (json_get_text(value, request->name, CONTROL_NAME))
			wrong = "the member 'execute' must be a string";
	}
	if (request->arguments && *request->arguments != '{')
		wrong = "the member 'arguments' must be an object";
	if (!wrong && !*request->name)
		wrong = "the member 'execute' is missing";
	return wrong;
}

static const struct control_command *command_at(const struct control *control,
						size_t i);

static void qmp_capabilities(struct control_call *call)
{
	call->control->negotiated = true;
}

static void query_commands(struct control_call *call)
{
	const struct control_command *command;
	struct json *json = &call->reply;

	json_array(json, "return");
	for (size_t i = 0; (command = command_at(call->control, i))->name;
	     i++) {
		json_object(json, NULL);
		json_string(json, "name", command->name);
		json_end(json);
	}
	json_end(json);
}

static void query_version(struct control_call *call)
{
	json_value(&call->reply, "return", VERSION, strlen(VERSION));
}

static const struct control_command own_commands[] = {
	{ "qmp_capabilities", qmp_capabilities },
	{ "query-commands", query_commands },
	{ "query-version", query_version },
};

/* The protocol's own, then the machine's, and at the end one without a name. */
static const struct control_command *command_at(const struct control *control,
						size_t i)
{
	if (i < ARRAY_SIZE(own_commands))
		return &own_commands[i];
	return &control->commands[i - ARRAY_SIZE(own_commands)];
}

static void run(struct control_call *call, const char *name)
{
	const struct control *control = call->control;
	const struct control_command *command;
	size_t i = 0;

	while ((command = command_at(control, i))->name &&
	       strcmp(command->name, name))
		i++;
	if (!command->name ||
	    (!control->negotiated && command->run != qmp_capabilities))
		control_fail(call, "CommandNotFound",
			     "The command %s has not been found%s", name,
			     control->negotiated
				     ? ""
				     : ": 'qmp_capabilities' comes first");
	else
		command->run(call);
	if (call->reply.filled)
		return;
	json_object(&call->reply, "return");
	json_end(&call->reply);
}

/* Answers the message in @length bytes of control->in, or one of which the
 * length is an error. 0 or -ENOMEM. */
static int answer(struct control *control, ssize_t length)
{
	FILE *to = open_memstream(&control->out, &control->out_len);
	struct control_call call = { .control = control,
				     .machine = control->machine };
	struct control_request request = { .id = NULL };
	const char *wrong = "JSON parse error: no object, or one that is too "
			    "long or nested too deeply";

	if (!to)
		return -ENOMEM;
	json_init(&call.reply, to);
	call.reply.one_line = true;
	json_object(&call.reply, NULL);
	if (length > 0)
		wrong = control_parse(control->in, &request);
	call.arguments = request.arguments;
	if (wrong)
		control_fail(&call, CONTROL_ERROR, "%s", wrong);
	else
		run(&call, request.name);
	if (request.id)
		json_value(&call.reply, "id", request.id,
			   json_measure(request.id));
	json_end(&call.reply);
	control->out_sent = 0;
	return fclose(to) ? -ENOMEM : 0;
}

/*
 * The client. Each of these: 1, 0 when there is nothing to do any more until
 * its socket is ready, or -errno: it has gone, or has to go.
 */

static int client_receive(struct control *control)
{
	char *at = control->in + control->in_len;
	ssize_t n = recv(control->client.fd, at,
			 CONTROL_MESSAGE - control->in_len, 0);

	if (n < 0 && errno == EAGAIN)
		return 0;
	/* A text has no NUL in it. */
	if (n <= 0 || memchr(at, '\0', n))
		return -EPIPE;
	at[n] = '\0';
	control->in_len += n;
	return 1;
}

static int client_send(struct control *control)
{
	while (control->out_sent < control->out_len) {
		ssize_t n = send(
			control->client.fd, control->out + control->out_sent,
			control->out_len - control->out_sent, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0) {
			control->blocked = true;
			return loop_change(control->loop, &control->client,
					   EPOLLOUT);
		}
		control->out_sent += n;
	}
	free(control->out);
	control->out = NULL;
	if (control->blocked &&
	    loop_change(control->loop, &control->client, EPOLLIN))
		return -ENOMEM;
	control->blocked = false;
	return 1;
}

static void drop(struct control *control, size_t len)
{
	control->in_len -= len;
	memmove(control->in, control->in + len, control->in_len + 1);
}

/* Answers the first message of those that have come. */
static int client_answer(struct control *control)
{
	ssize_t length;

	if (control->skipping) {
		drop(control, strcspn(control->in, "\n"));
		control->skipping = !control->in_len;
	}
	drop(control, strspn(control->in, " \t\r\n"));
	length = *control->in == '{' || !control->in_len
			 ? json_measure(control->in)
			 : -EINVAL;
	if (!length && control->in_len == CONTROL_MESSAGE)
		length = -E2BIG;
	if (!length)
		return 0;
	/* An end of a line between its parts would end the answer's. */
	for (ssize_t i = 0; i < length; i++) {
		if (strchr("\t\r\n", control->in[i]))
			control->in[i] = ' ';
	}
	if (answer(control, length))
		return -ENOMEM;
	control->skipping = length < 0;
	if (length > 0)
		drop(control, length);
	return 1;
}

static void client_leave(struct control *control)
{
	loop_remove(control->loop, &control->client);
	close(control->client.fd);
	control->client.fd = -1;
	free(control->out);
	control->out = NULL;
}

static int listen_again(struct control *control)
{
	return loop_add(control->loop, &control->listen, EPOLLIN);
}

/* What waits to be sent comes first, and then what came meanwhile. */
static void client_ready(struct watch *watch, uint32_t events)
{
	struct control *control = container_of(watch, struct control, client);
	int go_on = control->out ? client_send(control)
				 : client_receive(control);

	(void)events; /* an error shows in the system call */
	while (go_on > 0) {
		go_on = client_answer(control);
		if (go_on > 0)
			go_on = client_send(control);
	}
	if (go_on < 0) {
		client_leave(control);
		listen_again(control);
	}
}

static void client_come(struct watch *watch, uint32_t events)
{
	static const char hello[] = "{\"QMP\": {\"version\": " VERSION
				    ", \"capabilities\": []}}\n";
	struct control *control = container_of(watch, struct control, listen);
	int fd = listener_accept(&control->listener);

	(void)events;
	if (fd < 0)
		return;
	control->client = (struct watch){ .fd = fd, .ready = client_ready };
	control->negotiated = control->skipping = control->blocked = false;
	control->in_len = 0;
	/* Into a new socket it fits. */
	send(fd, hello, strlen(hello), MSG_NOSIGNAL);
	if (loop_add(control->loop, &control->client, EPOLLIN))
		client_leave(control);
	else
		loop_remove(control->loop, watch);
}

int control_open(struct control *control, struct loop *loop, const char *path,
		 const struct control_command *commands, void *machine)
{
	int err = listener_open(&control->listener, "control", path);

	if (err)
		return err;
	control->loop = loop;
	control->commands = commands;
	control->machine = machine;
	control->out = NULL;
	control->client.fd = -1;
	control->listen = (struct watch){ .fd = control->listener.fd,
					  .ready = client_come };
	err = listen_again(control);
	if (err) {
		log_err("control unix:%s: %s", path, strerror(-err));
		listener_close(&control->listener);
	}
	return err;
}

void control_close(struct control *control)
{
	if (control->client.fd >= 0)
		client_leave(control);
	else
		loop_remove(control->loop, &control->listen);
	listener_close(&control->listener);
}
