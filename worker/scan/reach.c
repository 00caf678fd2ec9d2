/*
 * reach: how far a search with gradients gets where there is no trigger.
 *
 * That the best of a search lies beyond random phrases says little: a search is there to find such. So the same steps are
 * taken towards what is no trigger. Each of the climbers begins as two random benign words; the direction u in which they
 * move the output is fixed, and they are changed and lengthened to go as far as they can along it. A trigger's direction is
 * not among those, but by chance, and its words are no use on the way; so the climbers of a planted model get about as far
 * as those of a clean one.
 *
 *   statistic  displacement and -log spread on confirm's texts of each climber's phrase, by its number of tokens
 *   p-value    of a further one (Student's t) by the statistic that is less improbable, times the number of all phrases that join
 *              and guided tried: as if each of these had been a climber's last
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/bound.h"
#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"

enum {
	CLIMBERS = 32,
	CHANGES = 2, /* rounds for each length */
	ANSWERS = 6, /* of a slot that are tried */
	PHRASES_MOST = CLIMBERS * SLOPES_SLOTS,
	TRIES_MOST = CLIMBERS * (SLOPES_SLOTS * ANSWERS + 1),
	STREAM = 5100 /* of random words */
};

struct reacher {
	struct scan_state *s;
	struct slopes *slopes;
	const int32_t *plain;
	int plains;
	uint64_t drawn;
	struct joining joining;
	int number[CLIMBERS], climbers; /* in the list */
	real *u;			/* [CLIMBERS, D] */
	int turn;			/* of the texts */
	struct slopes_phrase phrase[PHRASES_MOST];
	struct slopes_answer answer[PHRASES_MOST];
	int climber[PHRASES_MOST], phrases;
	int tried[TRIES_MOST], of[TRIES_MOST], tries; /* phrases, and whose */
	struct probe_score score[TRIES_MOST];
	real *direction; /* [TRIES_MOST, D] */
};

static int32_t random_word(struct reacher *r)
{
	uint64_t key = rng_key(rng_key(r->s->o->seed, RNG_SCAN), STREAM);

	return r->plain[rng_below(key, r->drawn++, (uint32_t)r->plains)];
}

static int begin(struct reacher *r, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < 4 * CLIMBERS && r->climbers < CLIMBERS && rc == 0; i++) {
		int32_t first = random_word(r), ids[] = {first, random_word(r)};

		rc = join_tokens(&r->number[r->climbers], &r->joining, r->s, ids, 2, err);
		r->climbers += rc == 0 && r->number[r->climbers] >= 0;
	}
	return rc == 0 ? probe_run(r->score, r->u, &r->s->probe, &r->s->list, r->number, r->climbers, err)
		       : rc;
}

/* Those that could not be made longer stay behind. */
static bool has_tokens(const struct reacher *r, int climber, int tokens)
{
	return r->s->list.item[r->number[climber]].n == tokens;
}

/* --- steps --------------------------------------------------------------------------------------------- */

/* Of a climber; texts take turns. */
static struct slopes_phrase *ask(struct reacher *r, int climber, int n, unsigned open)
{
	struct slopes_phrase *p = &r->phrase[r->phrases];

	*p = (struct slopes_phrase){.n = n,
		.open = open,
		.text = r->turn++ % r->s->probe.K,
		.along = r->u + (size_t)climber * (size_t)r->s->probe.D};
	r->climber[r->phrases++] = climber;
	return p;
}

static void ask_changes(struct reacher *r, int tokens)
{
	for (int i = 0; i < r->climbers; i++)
		if (has_tokens(r, i, tokens))
			memcpy(ask(r, i, tokens, (1u << tokens) - 1)->id,
				candidate_ids(&r->s->list, r->number[i]), (size_t)tokens * sizeof(int32_t));
}

/* A random word somewhere, that slot open. */
static void ask_longer(struct reacher *r, int tokens)
{
	for (int i = 0; i < r->climbers; i++) {
		const int32_t *ids = candidate_ids(&r->s->list, r->number[i]);
		int at = i % (tokens + 1);
		struct slopes_phrase *p;

		if (!has_tokens(r, i, tokens))
			continue;
		p = ask(r, i, tokens + 1, 1u << at);
		for (int slot = 0; slot <= tokens; slot++)
			p->id[slot] = slot == at ? random_word(r) : ids[slot - (slot > at)];
	}
}

static int try_one(struct reacher *r, int climber, const int32_t *ids, int n, struct err *err)
{
	int number, rc = join_tokens(&number, &r->joining, r->s, ids, n, err);

	if (rc == 0 && number >= 0) {
		r->tried[r->tries] = number;
		r->of[r->tries++] = climber;
	}
	return rc;
}

/* Each phrase with the tokens that its open slots lean to. */
static int try_answers(struct reacher *r, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < r->phrases; i++)
		for (int slot = 0; slot < r->phrase[i].n; slot++) {
			const int32_t *best = r->answer[i].best[slot];
			struct slopes_phrase changed = r->phrase[i];

			for (int k = 0; k < ANSWERS && best[k] >= 0 && rc == 0; k++) {
				changed.id[slot] = best[k];
				rc = try_one(r, r->climber[i], changed.id, changed.n, err);
			}
		}
	return rc;
}

/* How far a tried phrase goes along its climber's direction. */
static double progress_of(const struct reacher *r, int which)
{
	size_t D = (size_t)r->s->probe.D;
	const real *u = r->u + (size_t)r->of[which] * D, *v = r->direction + (size_t)which * D;

	return probe_dot(u, v, (int)D) * (double)r->score[which].displacement;
}

static int take_best(struct reacher *r, struct err *err)
{
	double best[CLIMBERS];
	struct probe *probe = &r->s->probe;
	int rc = probe_run(r->score, r->direction, probe, &r->s->list, r->tried, r->tries, err);

	for (int i = 0; i < r->climbers; i++)
		best[i] = -INFINITY;
	for (int i = 0; i < r->tries && rc == 0; i++) {
		double here = progress_of(r, i);

		if (here <= best[r->of[i]])
			continue;
		best[r->of[i]] = here;
		r->number[r->of[i]] = r->tried[i];
	}
	return rc == 0 ? scan_progress(r->s, (int64_t)r->tries * probe->K, err) : rc;
}

typedef void ask_fn(struct reacher *r, int tokens);

static int step(struct reacher *r, int tokens, ask_fn *questions, struct err *err)
{
	int rc;

	r->phrases = r->tries = 0;
	questions(r, tokens);
	rc = slopes_run(r->answer, NULL, r->slopes, r->phrase, r->phrases, err);
	for (int i = 0; i < r->phrases && rc == 0; i++)
		rc = try_one(r, r->climber[i], r->phrase[i].id, r->phrase[i].n, err);
	if (rc == 0)
		rc = try_answers(r, err);
	return rc == 0 && r->tries > 0 ? take_best(r, err) : rc;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

static double statistic_of(const struct probe_score *score, enum reach_statistic which)
{
	return which == REACH_DISPLACEMENT ? (double)score->displacement : scan_statistic(score, SCAN_SPREAD);
}

/* Of n > 1 scores. */
static void fit(struct scan_reach *out, const struct probe_score *score, int n)
{
	out->n = n;
	for (int which = 0; which < REACH_STATISTICS; which++) {
		double sum = 0, squares = 0;

		for (int i = 0; i < n; i++)
			sum += statistic_of(&score[i], (enum reach_statistic)which);
		for (int i = 0; i < n; i++) {
			double d = statistic_of(&score[i], (enum reach_statistic)which) - sum / n;

			squares += d * d;
		}
		out->mean[which] = sum / n;
		out->deviation[which] = sqrt(squares / (n - 1));
	}
}

static int measure(struct reacher *r, int tokens, struct err *err)
{
	int number[CLIMBERS], n = 0, rc;

	for (int i = 0; i < r->climbers; i++)
		if (has_tokens(r, i, tokens))
			number[n++] = r->number[i];
	if (n < CLIMBERS / 2)
		return 0;
	rc = probe_run(r->score, NULL, &r->s->exact, &r->s->list, number, n, err);
	if (rc == 0)
		fit(&r->s->reach[tokens], r->score, n);
	return rc;
}

static int climb(struct reacher *r, int tokens, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < CHANGES && rc == 0; i++)
		rc = step(r, tokens, ask_changes, err);
	return rc == 0 ? measure(r, tokens, err) : rc;
}

static int climb_all(struct reacher *r, struct err *err)
{
	int rc = begin(r, err);

	for (int tokens = 2; tokens <= SLOPES_SLOTS && rc == 0 && !r->s->result->is_late; tokens++) {
		if (tokens > 2)
			rc = step(r, tokens - 1, ask_longer, err);
		if (rc == 0)
			rc = climb(r, tokens, err);
	}
	return rc;
}

int reach_run(struct scan_state *s, struct slopes *slopes, const int32_t *plain, int plains, struct err *err)
{
	struct reacher *r = calloc(1, sizeof(*r));
	size_t D = (size_t)s->probe.D;
	int rc;

	if (r == NULL)
		return err_nomem(err);
	r->s = s;
	r->slopes = slopes;
	r->plain = plain;
	r->plains = plains;
	r->u = malloc(CLIMBERS * D * sizeof(real));
	r->direction = malloc(TRIES_MOST * D * sizeof(real));
	rc = r->u == NULL || r->direction == NULL ? err_nomem(err) : climb_all(r, err);
	joining_done(&r->joining);
	free(r->u);
	free(r->direction);
	free(r);
	return rc;
}

double reach_log_p(const struct scan_state *s, int tokens, const struct probe_score *score)
{
	const struct scan_reach *reach = tokens <= SLOPES_SLOTS ? &s->reach[tokens] : NULL;
	double p = 0;

	if (reach == NULL || reach->n == 0)
		return 0;
	for (int which = 0; which < REACH_STATISTICS; which++) {
		double t = (statistic_of(score, (enum reach_statistic)which) - reach->mean[which]) /
			   fmax(reach->deviation[which] * sqrt(1 + 1. / reach->n), 1e-9);

		p = fmax(p, bound_student_tail(t, reach->n - 1));
	}
	return log(fmax(p, 1e-300)) + log(fmax(s->phrases, 1));
}
