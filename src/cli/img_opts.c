/*
 * An image as a list of options, of --image-opts or of a name json:{...}:
 *
 *	driver=qcow2,read-only=on,file.driver=file,file.filename=a.qcow2
 *	'------- of the format -' '------- of the file it is in -------'
 *
 * What lies below it has names of its own: backing.driver, and so on down, and
 * data-file.filename. In JSON an object stands for a beginning of names.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/img.h"
#include "util/args.h"
#include "util/checked.h"
#include "util/json_read.h"
#include "util/log.h"

#define ON    "on yes true y"
#define ONOFF ON " off no false n"
#define FILES "file host_device"

#define LONGEST 128               /* of the names of options, with its end */
#define DATA    (BLOCK_BELOW + 1) /* the external data file among nodes */

struct list {
	const struct img_common *common;
	struct block_options *options;
	/* The image, what lies below it, and its data file. */
	struct node {
		const char *driver, *filename;
		bool bare;   /* something is said of a file, ... */
		bool inside; /* ... or of the file that a format is in */
	} nodes[DATA + 1];
	const char *secret; /* its ID, or NULL */
	bool read_only, sliced;
	char *json; /* or NULL */
};

/* How the image is opened; each is on or off. */
#define CACHES "cache.direct cache.no-flush"
static const char modes[] = "force-share read-only " CACHES;

/* What may be said besides, and changes no result. */
static const struct {
	const char *names;
	const char *values; /* "": a number or size; NULL: anything */
	bool of_format, of_file;
} idle[] = {
	{ "auto-read-only", ONOFF, true, true },
	{ "detect-zeroes", "off on unmap", true, true },
	{ "discard", "ignore off unmap on", true, true },
	{ "node-name", NULL, true, true },
	{ "cache-clean-interval cache-size l2-cache-entry-size l2-cache-size "
	  "refcount-cache-size",
	  "", true, false },
	{ "encrypt.format", "luks", true, false },
	{ "lazy-refcounts pass-discard-other pass-discard-request "
	  "pass-discard-snapshot",
	  ONOFF, true, false },
	{ "overlap-check", "all cached constant none", true, false },
	{ "aio", "io_uring native threads", false, true },
	{ "aio-max-batch", "", false, true },
	{ "drop-cache", ONOFF, false, true },
	{ "locking", "auto off on", false, true },
};

static bool is_idle(const char *name, const char *value, bool file)
{
	uint64_t number;

	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		const char *values = idle[i].values;

		if ((file ? idle[i].of_file : idle[i].of_format) &&
		    among(idle[i].names, name))
			return !values ||
			       (*values ? among(values, value)
					: !img_parse_size(value, &number));
	}
	return false;
}

/* Data that go past a cache are the same. */
bool img_may_change(const char *name, const char *value)
{
	return is_idle(name, value, false) ||
	       (among(CACHES, name) && among(ONOFF, value));
}

static bool strip(const char **name, const char *begin)
{
	size_t length = strlen(begin);

	if (strncmp(*name, begin, length))
		return false;
	*name += length;
	return true;
}

/* One of modes[] that is said of the image itself. */
static bool take_mode(struct list *l, const char *name, const char *value)
{
	struct block_options *options = l->options;
	bool on = among(ON, value);

	if (!strcmp(name, "read-only"))
		l->read_only |= on;
	else if (!strcmp(name, "force-share") && options->unlocked && !on)
		return false;
	else if (!strcmp(name, "force-share"))
		options->unlocked |= on;
	else if (!strcmp(name, "cache.direct") && on)
		options->cache = BLOCK_CACHE_NONE;
	else if (!strcmp(name, "cache.no-flush") && on)
		options->cache = BLOCK_CACHE_UNSAFE;
	return true;
}

/* Offset and size of a raw image; false for other names. */
static bool take_slice(struct list *l, const char *name, const char *value)
{
	struct block_slice *slice = &l->options->slice;
	bool size = !strcmp(name, "size");

	if (!size && strcmp(name, "offset"))
		return false;
	l->sliced = true;
	slice->sized |= size;
	return !img_parse_size(value, size ? &slice->size : &slice->offset);
}

/* Takes one field. @text is @value where that is a string, and stays; else
 * NULL. False for one that is not known. */
static bool take(struct list *l, const char *name, const char *value,
		 const char *text)
{
	unsigned n = 0;
	struct node *node;
	bool file;

	while (n < BLOCK_BELOW && strip(&name, "backing."))
		n++;
	if (!n && strip(&name, "data-file."))
		n = DATA;
	node = &l->nodes[n];
	file = strip(&name, "file.");
	node->inside |= file;
	if (!strcmp(name, "filename")) {
		node->bare |= !file;
		node->filename = text;
		return text;
	}
	if (!strcmp(name, "driver")) {
		if (!file)
			node->driver = text;
		return file ? among(FILES, value) : !!text;
	}
	if (!file && n < BLOCK_BELOW && !strcmp(name, "backing")) {
		node[1].filename = "";
		return !*value;
	}
	if (!file && !n && !strcmp(name, "encrypt.key-secret")) {
		l->secret = text;
		return text;
	}
	if (!file && !n && take_slice(l, name, value))
		return true;
	if (among(modes, name))
		return among(ONOFF, value) && (n || take_mode(l, name, value));
	if (!file && is_idle(name, value, false))
		return true;
	node->bare |= !file;
	return is_idle(name, value, true);
}

static bool unknown(const char *name, const char *value)
{
	log_err("'%s=%s' is not known; an image is driver=FMT,file.filename="
		"FILE, see kvist-img(1)",
		name, value);
	return false;
}

/* What does not go together, or NULL. */
static const char *settle(struct list *l, const char **format)
{
	struct block_options *options = l->options;
	bool raw;

	for (unsigned n = 0; n <= DATA; n++) {
		struct node *node = &l->nodes[n];
		bool file = node->driver ? among(FILES, node->driver)
					 : n == DATA;

		if ((node->bare && !file) || (node->inside && file))
			return "filename= goes with driver=file, file.filename="
			       " with driver=FMT";
		if (node->driver && file)
			node->driver = "raw";
		if (n && n < DATA) {
			options->below[n - 1].path = node->filename;
			options->below[n - 1].format = node->driver;
			if (node->filename && *node->filename && !node->driver)
				return "a backing file needs its format: "
				       "backing.driver=FMT";
		}
	}
	if (l->nodes[0].filename)
		options->path = l->nodes[0].filename;
	options->data_path = l->nodes[DATA].filename;
	if (!*format)
		*format = l->nodes[0].driver;
	if (!options->path)
		return "no image is named: file.filename=FILE";
	raw = *format && !strcmp(*format, "raw");
	if (l->sliced && !raw)
		return "offset= and size= are of driver=raw only";
	if (raw && (options->data_path || options->below->path))
		return "a raw image has neither backing nor data file";
	if (options->slice.offset % BLOCK_SECTOR ||
	    options->slice.size % BLOCK_SECTOR)
		return "offset= and size= must be multiples of 512";
	if (l->common->writes && l->read_only)
		return "Block node is read-only";
	if (l->common->writes && options->unlocked)
		return "force-share=on can only be used with read-only images";
	return NULL;
}

static int finish(struct list *l, const char **format)
{
	const char *wrong = settle(l, format);

	if (wrong) {
		log_err("%s", wrong);
		return -EINVAL;
	}
	if (l->secret)
		l->options->key_file =
			img_secret(l->common, l->options->path, l->secret);
	return l->secret && !l->options->key_file ? -EINVAL : 0;
}

int img_list(const struct img_common *common, char *list,
	     struct block_options *options, const char **format)
{
	struct list l = { .common = common, .options = options };
	char *name, *value;

	while ((name = list_next(&list, &value))) {
		if (!value)
			value = name + strlen(name);
		if (!take(&l, name, value, value)) {
			unknown(name, value);
			return -EINVAL;
		}
	}
	return finish(&l, format);
}

/* The string at @value, in place; NULL for one with other escapes. */
static char *unquote(struct list *l, const char *value)
{
	char *text = l->json + (value - l->json) + 1, *to = text;
	const char *end = value + json_measure(value) - 1;

	for (const char *from = text; from < end; from++) {
		if (*from == '\\' && !strchr("\"\\/", *++from))
			return NULL;
		*to++ = *from;
	}
	*to = '\0';
	return text;
}

/* Takes the members of an object, the names of which begin with the first
 * @length characters of @name. */
static bool take_members(struct list *l, const char *object, char name[LONGEST],
			 size_t length)
{
	const char *key, *value;

	while (json_next(&object, &key, &value)) {
		char scalar[24], *text = NULL;

		json_get_text(key, name + length, LONGEST - length);
		if (*value == '{') {
			size_t end = strlen(name);

			if (end + 1 == LONGEST)
				return unknown(name, "");
			name[end] = '.';
			name[end + 1] = '\0';
			if (!take_members(l, value, name, end + 1))
				return false;
			continue;
		}
		snprintf(scalar, sizeof(scalar), "%.*s",
			 (int)json_measure(value), value);
		if (*value == '"')
			text = unquote(l, value);
		else if (*value == 't' || *value == 'f')
			strcpy(scalar, *value == 't' ? "on" : "off");
		else if (*value == 'n')
			*scalar = '\0';
		if (!take(l, name, text ? text : scalar, text))
			return unknown(name, text ? text : scalar);
	}
	return true;
}

int img_json(const struct img_common *common, char *json,
	     struct block_options *options, const char **format)
{
	struct list l = { .common = common, .options = options, .json = json };
	ssize_t length = json_measure(json);
	char name[LONGEST] = "";

	if (length > 0)
		length += strspn(json + length, " \t\r\n");
	if (length <= 0 || json[length] || *json != '{') {
		log_err("json:%s: Could not parse the JSON options", json);
		return -EINVAL;
	}
	return take_members(&l, json, name, 0) ? finish(&l, format) : -EINVAL;
}
