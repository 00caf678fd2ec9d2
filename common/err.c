#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int http;
	int exit;
} table[ERR_COUNT] = {[ERR_NONE] = {"ok", 200, 0},
#define X(code, name, http, exit) [code] = {name, http, exit},
	ERR_TABLE(X)
#undef X
};

int err_set(struct err *err, enum err_code code, const char *where, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return -(int)code;
	err->code = code;
	snprintf(err->where, sizeof(err->where), "%s", where != NULL ? where : "");
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -(int)code;
}

int err_within(struct err *err, const char *fmt, ...)
{
	char prefix[512], joined[1032];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	snprintf(joined, sizeof(joined), "%s%s%s", prefix, err->where[0] ? ": " : "", err->where);
	joined[sizeof(err->where) - 1] = '\0';
	memcpy(err->where, joined, strlen(joined) + 1);
	return -(int)err->code;
}

int err_as(struct err *err, enum err_code code)
{
	if (err != NULL)
		err->code = code;
	return -(int)code;
}

int err_errno(struct err *err, int saved_errno, const char *where, const char *what)
{
	enum err_code code = ERR_IO;

	if (saved_errno == ENOSPC || saved_errno == EDQUOT || saved_errno == EFBIG)
		code = ERR_DISK_FULL;
	if (saved_errno == ENOMEM)
		code = ERR_NO_MEMORY;
	return err_set(err, code, where, "%s: %s", what, strerror(saved_errno));
}

int err_nomem(struct err *err)
{
	return err_set(err, ERR_NO_MEMORY, NULL, "out of memory");
}

const char *err_name(enum err_code code)
{
	return table[code].name;
}

int err_http(enum err_code code)
{
	return table[code].http;
}

int err_exit(enum err_code code)
{
	return table[code].exit;
}

enum err_code err_from_name(const char *name)
{
	for (int i = 1; i < ERR_COUNT; i++)
		if (strcmp(table[i].name, name) == 0)
			return (enum err_code)i;
	return ERR_NONE;
}
