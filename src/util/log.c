#include "util/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum log_level log_level = LOG_WARN;

static const char *const level_names[] = { "err", "warn", "info", "debug",
					   "trace" };

void log_set_level(enum log_level level)
{
	__atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

int log_level_parse(const char *name)
{
	for (int i = 0; i <= LOG_TRACE; i++) {
		if (!strcmp(name, level_names[i]))
			return i;
	}
	return -EINVAL;
}

bool log_enabled(enum log_level level)
{
	return level <= __atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

static void __attribute__((format(printf, 2, 0)))
log_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[1024], thread[16] = "";
	int n, m;

	if (level == LOG_TRACE)
		pthread_getname_np(pthread_self(), thread, sizeof(thread));
	n = snprintf(line, sizeof(line), "kvist: %s%s%s",
		     level == LOG_WARN    ? "warning: "
		     : level == LOG_DEBUG ? "debug: "
					  : "",
		     thread, *thread ? ": " : "");
	m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2; /* a cut message still ends its line */
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* there is nowhere left to say so */
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	log_line(level, fmt, ap);
	va_end(ap);
}

void log_guest(struct guest_error *error, const char *fmt, ...)
{
	uint64_t n = __atomic_add_fetch(&error->count, 1, __ATOMIC_RELAXED);
	va_list ap;

	if ((n & (n - 1)) || !log_enabled(LOG_WARN))
		return;
	va_start(ap, fmt);
	log_line(LOG_WARN, fmt, ap);
	va_end(ap);
}
