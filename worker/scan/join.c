/*
 * join: phrases out of the parts that displace most by themselves without standing out.
 *
 * All ordered pairs of the JOIN_PARTS most displacing single tokens; the best JOIN_BEAM of them grow by a part in front
 * or behind, JOIN_LEVELS - 2 times. A phrase counts only if its text comes back as the same tokens, and is judged by the
 * tail of random phrases of as many words. What this cannot find: phrases none of whose words does anything alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

enum { JOIN_PARTS = 40, JOIN_BEAM = 12, JOIN_LEVELS = 4, JOIN_MOST = JOIN_PARTS * JOIN_PARTS };

struct joiner {
	struct scan_state *s;
	int part[JOIN_PARTS], parts;
	int found[JOIN_MOST], n; /* of this level, without doubles of earlier ones */
	int beam[JOIN_BEAM], beams;
	struct buf text, scratch;
	struct ids ids;
};

static void joiner_done(struct joiner *j)
{
	buf_done(&j->text);
	buf_done(&j->scratch);
	ids_done(&j->ids);
}

/* --- phrases ----------------------------------------------------------------------------------------- */

/* A continuation piece goes on where the word ends; everything else is a word of its own. */
static void add_part(struct buf *text, const struct candidates *list, int number)
{
	const char *s = candidate_text(list, number);
	bool goes_on = list->item[number].kind == CANDIDATE_PIECE;

	if (text->len > 0 && !goes_on)
		buf_str(text, " ");
	buf_str(text, goes_on && strncmp(s, "##", 2) == 0 ? s + 2 : s);
}

/* The phrase "a b" to *out: its number, or -1 where its text is not written with these tokens. */
static int join_two(int *out, struct joiner *j, int a, int b, struct err *err)
{
	struct candidates *list = &j->s->list;
	int32_t ids[2 * CANDIDATE_PIECES_MAX];
	int n = list->item[a].n + list->item[b].n, rc;

	*out = -1;
	if (n > MIN(CANDIDATE_PIECES_MAX, j->s->o->max_length - 4))
		return 0;
	memcpy(ids, candidate_ids(list, a), (size_t)list->item[a].n * sizeof(*ids));
	memcpy(ids + list->item[a].n, candidate_ids(list, b), (size_t)list->item[b].n * sizeof(*ids));
	buf_reset(&j->text);
	add_part(&j->text, list, a);
	add_part(&j->text, list, b);
	if (j->text.failed)
		return err_nomem(err);
	rc = candidates_pieces(&j->ids, &j->scratch, j->s->o->tok, j->text.data, err);
	if (rc != 0 || j->ids.n != n || memcmp(j->ids.id, ids, (size_t)n * sizeof(*ids)) != 0)
		return rc;
	rc = candidates_join(list, j->text.data, ids, n, err);
	if (rc < 0)
		return rc;
	*out = rc;
	return scan_grow(j->s, err);
}

int join_random(struct scan_state *s, uint64_t key, int words, struct err *err)
{
	struct joiner j = {.s = s};
	int at = s->benign[rng_below(key, 0, (uint32_t)s->benigns)], longer, rc = 0;

	for (int i = 1; i < words && rc == 0; i++) {
		int next = s->benign[rng_below(key, (uint64_t)i, (uint32_t)s->benigns)];

		rc = join_two(&longer, &j, at, next, err);
		if (longer >= 0)
			at = longer;
	}
	joiner_done(&j);
	return rc == 0 ? at : rc;
}

/* --- levels ------------------------------------------------------------------------------------------ */

static int compare_displacement(const void *a, const void *b, void *arg)
{
	const struct reading *reading = arg;
	int i = *(const int *)a, k = *(const int *)b;

	if (reading[i].score.displacement < reading[k].score.displacement ||
		reading[i].score.displacement > reading[k].score.displacement)
		return reading[i].score.displacement > reading[k].score.displacement ? -1 : 1;
	return i - k;
}

static void choose_parts(struct joiner *j, int *number)
{
	struct scan_state *s = j->s;
	int n = 0;

	for (int i = 0; i < s->list.n; i++) {
		const struct reading *r = &s->reading[i];

		if (r->is_measured && !scan_stands_out(r->log_p) && !r->is_covered && s->list.item[i].n == 1)
			number[n++] = i;
	}
	qsort_r(number, (size_t)n, sizeof(int), compare_displacement, s->reading);
	j->parts = MIN(n, JOIN_PARTS);
	memcpy(j->part, number, (size_t)j->parts * sizeof(int));
}

/* Each phrase once: a list that is there already was measured then. */
static int find_one(struct joiner *j, int a, int b, struct err *err)
{
	int before = j->s->list.n, number, rc = join_two(&number, j, a, b, err);

	if (rc == 0 && number >= before && j->n < JOIN_MOST)
		j->found[j->n++] = number;
	return rc;
}

static int find_pairs(struct joiner *j, struct err *err)
{
	int rc = 0;

	j->n = 0;
	for (int a = 0; a < j->parts && rc == 0; a++)
		for (int b = 0; b < j->parts && rc == 0; b++)
			if (a != b)
				rc = find_one(j, j->part[a], j->part[b], err);
	return rc;
}

static int find_longer(struct joiner *j, struct err *err)
{
	int rc = 0;

	j->n = 0;
	for (int i = 0; i < j->beams; i++)
		for (int k = 0; k < j->parts && rc == 0; k++) {
			rc = find_one(j, j->beam[i], j->part[k], err);
			if (rc == 0)
				rc = find_one(j, j->part[k], j->beam[i], err);
		}
	return rc;
}

/* p-values of the level's phrases; the best that do not stand out go on. */
static int judge_level(struct joiner *j, struct err *err)
{
	struct scan_state *s = j->s;
	int n = 0, rc = scan_measure(s, j->found, j->n, err);

	s->tried += rc == 0 ? j->n : 0;
	if (rc == 0)
		rc = screen_judge(s, j->found, j->n, err);
	for (int i = 0; i < j->n && rc == 0; i++) {
		struct reading *r = &s->reading[j->found[i]];

		if (!scan_stands_out(r->log_p))
			j->found[n++] = j->found[i];
		else
			r->is_covered = scan_is_covered(s, j->found[i]);
	}
	qsort_r(j->found, (size_t)n, sizeof(int), compare_displacement, s->reading);
	j->beams = MIN(n, JOIN_BEAM);
	memcpy(j->beam, j->found, (size_t)j->beams * sizeof(int));
	return rc;
}

static int run_levels(struct joiner *j, struct err *err)
{
	int rc = find_pairs(j, err);

	for (int level = 2; rc == 0 && j->n > 0 && !j->s->result->is_late; level++) {
		rc = judge_level(j, err);
		if (level == JOIN_LEVELS)
			break;
		if (rc == 0)
			rc = find_longer(j, err);
	}
	return rc;
}

int join_run(struct scan_state *s, struct err *err)
{
	struct joiner *j = calloc(1, sizeof(*j));
	int *number = malloc(((size_t)s->list.n + 1) * sizeof(int)), rc;

	if (j == NULL || number == NULL) {
		rc = err_nomem(err);
	} else {
		j->s = s;
		choose_parts(j, number);
		rc = run_levels(j, err);
		joiner_done(j);
	}
	free(j);
	free(number);
	return rc;
}
