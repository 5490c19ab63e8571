/*
 * Messages for the person in front of the machine, one line each, on stderr.
 *
 * Any thread. The level is one of the two mutable globals of the program (the
 * other is the set of signal dispositions). A line goes out in a single write,
 * so lines of several threads never mix. A LOG_TRACE line begins with the name
 * of its thread.
 */
#ifndef KVIST_UTIL_LOG_H
#define KVIST_UTIL_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Messages above @level are dropped. The default is LOG_WARN. */
void log_set_level(enum log_level level);

/* The level called @name (err, warn, info, debug, trace), or -EINVAL. */
int log_level_parse(const char *name);

/* True when a message of @level would be printed: guards costly arguments. */
bool log_enabled(enum log_level level);

void log_msg(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_err(...)   log_msg(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...)                                                         \
	do {                                                                   \
		if (log_enabled(LOG_TRACE))                                    \
			log_msg(LOG_TRACE, __VA_ARGS__);                       \
	} while (0)

/*
 * The guest's own errors are counted, and logged (LOG_WARN) on the 1st, 2nd,
 * 4th, 8th ... occurrence: a hostile guest cannot flood the host's log.
 */
struct guest_error {
	uint64_t count; /* atomic */
};

void log_guest(struct guest_error *error, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
