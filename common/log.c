#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"

static enum log_level threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
	threshold = level;
}

static void stamp(char *out, size_t len)
{
	struct timespec now;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(out, len, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, len - n, ".%03ldZ", now.tv_nsec / 1000000);
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};
	char time_text[64], text[2048];
	struct buf line = {0};
	json_t *object;
	va_list ap;

	if (level < threshold)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	stamp(time_text, sizeof(time_text));
	object = json_pack("{s:s, s:s, s:s, s:s+}", "time", time_text, "level", names[level], "event", event,
		"message", text, "");
	if (object == NULL) /* text that is no UTF-8 */
		object = json_pack(
			"{s:s, s:s, s:s}", "time", time_text, "level", names[level], "event", event);
	json_write(&line, object);
	buf_str(&line, "\n");
	if (!line.failed)
		(void)!write(STDERR_FILENO, line.data, line.len);
	buf_done(&line);
	json_decref(object);
}

void log_err(enum log_level level, const char *event, const struct err *err)
{
	log_write(level, event, "%s: %s%s%s", err_name(err->code), err->where, err->where[0] ? ": " : "",
		err->text);
}
