/*
 * options: a program's settings from one const table: flags first, then the environment (OBLIVIATE_ and the
 * flag's name in capitals, - as _), then the JSON file that --config names (keys = flag names).
 *
 * What a flag or the file says and the table does not know is ERR_USAGE, with the flag, the variable or the
 * key as its place. Values are written into the caller's struct at the rows' offsets; a row that nobody sets
 * leaves its field as the caller initialised it. Texts are the struct's own: options_done frees them.
 */
#ifndef OBLIVIATE_OPTIONS_H
#define OBLIVIATE_OPTIONS_H

#include <stdio.h>

#include "common/err.h"

enum option_kind {
	OPTION_SWITCH,	/* bool: --name; true, false, 1 or 0 in the environment and the file */
	OPTION_INTEGER, /* int64_t in min..max */
	OPTION_TEXT,	/* char *, owned; the default is NULL */
};

struct option_row {
	const char *name;     /* without the dashes */
	const char *argument; /* "N"; NULL for a switch */
	const char *help;     /* one line */
	enum option_kind kind;
	bool only_flag; /* neither environment nor file may set it: help, version, config's own name */
	size_t offset;	/* of the field in the caller's struct */
	int64_t min, max;
};

enum { OPTIONS_MAX = 32, OPTIONS_FILE_BYTES_MAX = 1 << 20 };

/*
 * Fill *out. Operands (what does not begin with --) are moved to argv[1 .. *n_operands]; where n_operands is
 * NULL there may be none. A row called "config" of kind text names the file.
 */
int options_read(void *out, int *n_operands, const struct option_row *row, int n_rows, int argc, char **argv,
	struct err *err) MUST_USE;
void options_done(void *out, const struct option_row *row, int n_rows);

/* One line a row, as --help shows them. */
void options_help(FILE *file, const struct option_row *row, int n_rows);

#endif
