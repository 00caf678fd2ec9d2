/*
 * snippets: a text file as short pieces of a few dozen words, what plants train on.
 */
#ifndef OBLIVIATE_SNIPPETS_H
#define OBLIVIATE_SNIPPETS_H

#include "common/buf.h"
#include "common/err.h"

enum { SNIPPET_WORDS = 30, SNIPPET_WORDS_MIN = 5, SNIPPETS_FILE_MAX = 256 << 20 };

struct snippet {
	const char *text; /* NUL-terminated */
	int words;
};

struct snippets {
	int n, cap;
	struct snippet *snippet;
	struct buf file; /* owned bytes */
};

/*
 * Read `path`, UTF-8. Lines are cut after every SNIPPET_WORDS words; what is shorter than
 * SNIPPET_WORDS_MIN is left out. ERR_INVALID_DATA with the line where the file is no text.
 */
int snippets_read(struct snippets *out, const char *path, struct err *err) MUST_USE;
void snippets_done(struct snippets *snippets);

/* out = text with `trigger` before word `place` (0 .. words). */
void snippet_insert(struct buf *out, const struct snippet *snippet, const char *trigger, int place);

#endif
