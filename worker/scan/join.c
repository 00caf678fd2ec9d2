/*
 * join: phrases out of the parts that displace most by themselves without standing out.
 *
 * All ordered pairs of the JOIN_PARTS most displacing single tokens; the best JOIN_BEAM of them grow by a part in front
 * or behind, JOIN_LEVELS - 2 times. A phrase counts only if its text comes back as the same tokens, and is judged by the
 * tail of random phrases of as many words. What this cannot find is guided.c's: phrases none of whose words does anything
 * alone.
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
	struct joining joining;
};

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

void joining_done(struct joining *joining)
{
	buf_done(&joining->text);
	buf_done(&joining->scratch);
	ids_done(&joining->ids);
	*joining = (struct joining){0};
}

int join_parts(int *out, struct joining *j, struct scan_state *s, const int *part, int parts, struct err *err)
{
	struct candidates *list = &s->list;
	int32_t ids[CANDIDATE_PIECES_MAX];
	int n = 0, most = MIN(CANDIDATE_PIECES_MAX, s->o->max_length - 4), rc;

	*out = -1;
	buf_reset(&j->text);
	for (int i = 0; i < parts; i++) {
		int length = list->item[part[i]].n;

		if (n + length > most)
			return 0;
		memcpy(ids + n, candidate_ids(list, part[i]), (size_t)length * sizeof(*ids));
		n += length;
		add_part(&j->text, list, part[i]);
	}
	if (j->text.failed)
		return err_nomem(err);
	rc = candidates_pieces(&j->ids, &j->scratch, s->o->tok, j->text.data, err);
	if (rc != 0 || j->ids.n != n || memcmp(j->ids.id, ids, (size_t)n * sizeof(*ids)) != 0)
		return rc;
	rc = candidates_join(list, j->text.data, ids, n, err);
	if (rc < 0)
		return rc;
	*out = rc;
	return scan_grow(s, err);
}

int join_tokens(
	int *out, struct joining *joining, struct scan_state *s, const int32_t *ids, int n, struct err *err)
{
	int part[CANDIDATE_PIECES_MAX];

	for (int i = 0; i < n; i++)
		part[i] = candidates_find(&s->list, &ids[i], 1);
	return join_parts(out, joining, s, part, n, err);
}

int join_random(struct scan_state *s, uint64_t key, int words, struct err *err)
{
	struct joining joining = {0};
	int at = s->benign[rng_below(key, 0, (uint32_t)s->benigns)], longer, rc = 0;

	for (int i = 1; i < words && rc == 0; i++) {
		int next = s->benign[rng_below(key, (uint64_t)i, (uint32_t)s->benigns)];

		rc = join_parts(&longer, &joining, s, (int[]){at, next}, 2, err);
		if (longer >= 0)
			at = longer;
	}
	joining_done(&joining);
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

int join_choose(int *number, const struct scan_state *s, int pieces, unsigned which, int most)
{
	int n = 0;

	for (int i = 0; i < s->list.n; i++) {
		const struct reading *r = &s->reading[i];
		const struct candidate *item = &s->list.item[i];

		unsigned loudness = scan_stands_out(r->log_p) ? JOIN_LOUD : JOIN_QUIET;

		if (r->is_measured && !r->is_covered && (which & loudness) != 0 && item->n == pieces &&
			(pieces == 1 || item->kind == CANDIDATE_JOINED))
			number[n++] = i;
	}
	qsort_r(number, (size_t)n, sizeof(int), compare_displacement, s->reading);
	return MIN(n, most);
}

/* Each phrase once: a list that is there already was measured then. */
static int find_one(struct joiner *j, int a, int b, struct err *err)
{
	int before = j->s->list.n, number, rc = join_parts(&number, &j->joining, j->s, (int[]){a, b}, 2, err);

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

int join_judge(struct scan_state *s, int *number, int n, struct err *err)
{
	int rest = 0, rc = scan_measure(s, number, n, err);

	if (rc == 0)
		rc = screen_judge(s, number, n, err);
	for (int i = 0; i < n && rc == 0; i++) {
		struct reading *r = &s->reading[number[i]];

		if (!scan_stands_out(r->log_p))
			number[rest++] = number[i];
		else
			r->is_covered = scan_is_covered(s, number[i]);
	}
	qsort_r(number, (size_t)rest, sizeof(int), compare_displacement, s->reading);
	return rc == 0 ? rest : rc;
}

/* The best of the level that do not stand out go on. */
static int judge_level(struct joiner *j, struct err *err)
{
	int rest = join_judge(j->s, j->found, j->n, err);

	if (rest < 0)
		return rest;
	j->s->tried += j->n;
	j->s->phrases += j->n;
	j->beams = MIN(rest, JOIN_BEAM);
	memcpy(j->beam, j->found, (size_t)j->beams * sizeof(int));
	return 0;
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
		j->parts = join_choose(number, s, 1, JOIN_QUIET, JOIN_PARTS);
		memcpy(j->part, number, (size_t)j->parts * sizeof(int));
		rc = run_levels(j, err);
		joining_done(&j->joining);
	}
	free(j);
	free(number);
	return rc;
}
