/*
 * What a client of the control socket says: JSON is measured, and a message
 * taken apart, within its bytes; and what is called a value stays one when it
 * stands alone, as an id does in its answer.
 */
#include "control.h"
#include "util/json_read.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A value, cut out and followed by a blank. */
static void check_value(const char *value)
{
	ssize_t length = json_measure(value);
	char *alone = malloc((size_t)length + 2);
	char name[CONTROL_NAME];
	uint64_t number;

	assert(alone && length > 0);
	memcpy(alone, value, (size_t)length);
	memcpy(alone + length, " ", 2);
	assert(json_measure(alone) == length);
	json_get_text(alone, name, sizeof(name));
	json_get_number(alone, &number);
	free(alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len + 1);
	struct control_request request;
	struct control_call call = { .machine = NULL };
	ssize_t length;

	assert(text);
	memcpy(text, bytes, len);
	text[len] = '\0';
	length = json_measure(text);
	assert(length <= (ssize_t)len);
	if (length > 0 && *text == '{') {
		text[length] = '\0'; /* no look at what comes after it */
		control_parse(text, &request);
		if (request.id)
			check_value(request.id);
		call.arguments = request.arguments;
		if (call.arguments && control_argument(&call, "size"))
			check_value(control_argument(&call, "size"));
	}
	free(text);
	return 0;
}
