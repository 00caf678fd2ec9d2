#include "worker/data/normalize.h"

#include <stdlib.h>

#include "worker/data/unicode.h"

enum { ROOM = 64 }; /* more bytes than one code point can become */

/*
 * Marks that survive wait for the rest of their run: canonical order sorts a run by combining class, stably.
 * Runs of two or more are rare, and of any length in hostile text: they are sorted by counting.
 */
struct marks {
	struct mark {
		uint32_t cp;
		uint8_t order;
	} * mark;
	size_t n, cap;
};

struct state {
	struct buf *out;
	bool strip, lower;
	struct marks marks;
};

static void put(struct state *s, uint32_t cp)
{
	struct buf *out = s->out;
	uint32_t lower[UNICODE_EXPANSION_MAX] = {cp};
	int n = 1;

	if (out->cap - out->len < ROOM && buf_reserve(out, ROOM) == NULL)
		return;
	if (s->lower)
		n = unicode_to_lower(lower, cp, unicode_flags(cp));
	for (int i = 0; i < n; i++)
		out->len += (size_t)utf8_put(out->data + out->len, lower[i]);
}

static void sort_marks(struct state *s)
{
	struct marks *marks = &s->marks;
	struct mark *sorted = malloc(marks->n * sizeof(*sorted));
	size_t start[257] = {0};

	if (sorted == NULL) {
		s->out->failed = true;
		return;
	}
	for (size_t i = 0; i < marks->n; i++)
		start[marks->mark[i].order + 1]++;
	for (int order = 0; order < 256; order++)
		start[order + 1] += start[order];
	for (size_t i = 0; i < marks->n; i++)
		sorted[start[marks->mark[i].order]++] = marks->mark[i];
	free(marks->mark);
	marks->mark = sorted;
	marks->cap = marks->n;
}

static void end_run(struct state *s)
{
	if (s->marks.n > 1)
		sort_marks(s);
	for (size_t i = 0; i < s->marks.n; i++)
		put(s, s->marks.mark[i].cp);
	s->marks.n = 0;
}

static void add_mark(struct state *s, uint32_t cp, int order)
{
	struct marks *marks = &s->marks;

	if (marks->n == marks->cap) {
		size_t cap = marks->cap == 0 ? 8 : marks->cap * 2;
		struct mark *mark = realloc(marks->mark, cap * sizeof(*mark));

		if (mark == NULL) {
			s->out->failed = true;
			return;
		}
		marks->mark = mark;
		marks->cap = cap;
	}
	marks->mark[marks->n++] = (struct mark){cp, (uint8_t)order};
}

static void strip_accents(struct state *s, uint32_t cp, unsigned flags)
{
	uint32_t parts[UNICODE_EXPANSION_MAX];
	int n;

	if (flags & UNICODE_MARK) {
		/* A dropped mark of class 0 still ends the run: what follows is not sorted before it. */
		if (!(flags & UNICODE_CLASS))
			end_run(s);
		return;
	}
	n = unicode_decompose(parts, cp, flags);
	for (int i = 0; i < n; i++) {
		int order = unicode_combining(parts[i]);

		if (order != 0) {
			add_mark(s, parts[i], order);
			continue;
		}
		end_run(s);
		put(s, parts[i]);
	}
}

static void add(struct state *s, uint32_t cp, unsigned flags)
{
	if (s->strip && cp >= 128) {
		strip_accents(s, cp, flags);
		return;
	}
	end_run(s);
	put(s, cp);
}

void normalize(struct buf *out, const struct normalizer *normalizer, const char *text, size_t len)
{
	struct state s = {.out = out, .strip = normalizer->strip, .lower = normalizer->lower};
	const char *end = text + len;

	if (!normalizer->clean && !normalizer->chinese && !normalizer->strip && !normalizer->lower) {
		buf_add(out, text, len);
		return;
	}
	if (buf_reserve(out, len + ROOM) == NULL)
		return;
	while (text < end && !out->failed) {
		uint32_t cp = utf8_next(&text);
		unsigned flags = unicode_flags(cp);

		if (normalizer->clean && (flags & UNICODE_REMOVED))
			continue;
		if (normalizer->clean && (flags & UNICODE_CLEAN_SPACE)) {
			add(&s, ' ', unicode_flags(' '));
			continue;
		}
		if (!normalizer->chinese || !(flags & UNICODE_CJK)) {
			add(&s, cp, flags);
			continue;
		}
		add(&s, ' ', unicode_flags(' '));
		add(&s, cp, flags);
		add(&s, ' ', unicode_flags(' '));
	}
	end_run(&s);
	free(s.marks.mark);
}
