/*
 * guided: phrases none of whose words does anything alone.
 *
 * No forward pass over words shows them, but gradients do (slopes.h): beside one word of such a phrase the slope leans to
 * the other, and even among random words it leans to words of such phrases more often than to others.
 *
 *   vote     random phrases of benign words; the tokens that their slots lean to most often, those that displace most by
 *            themselves, and those that stand out (but may fail in confirm) are the pool
 *   partner  each of the pool between pairs of random words: what the slots before and behind it lean to makes pairs
 *   change   other tokens in the slots of the best pairs; then partners of what these brought
 *   lengthen one more token at each place of the best phrases, join's as well; then changes
 *
 * Until SLOPES_SLOTS tokens: of more, none could be told from the best of all that could have been made. What is tried is
 * screened in one text; the best, few of which have a token in common, are measured in all and judged as join's phrases are.
 * Tokens that stand out by themselves are put into no slot: every slope leans to them.
 */
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/scan/scan_state.h"
#include "worker/scan/slopes.h"

enum {
	VOTES = 240,
	POOL_LOUD = 24,	 /* stand out by themselves */
	POOL_VOTED = 90, /* have most votes */
	POOL_DISPLACING = 26,
	POOL = POOL_LOUD + POOL_VOTED + POOL_DISPLACING,
	FILLERS = 8, /* pairs of random words around each of the pool */
	ANSWERS = 6, /* of a slot that are tried */
	ROUNDS = 2,  /* of changes to pairs */
	BEAM = 12,
	PAIRS_KEPT = 60, /* are measured in all texts: partners, */
	KEPT = 24,	 /* changes and longer phrases, */
	AKIN = 3,	 /* and of these so many with a common token */
	PHRASES_MOST = POOL * FILLERS,
	TRIES_MOST = 2 * PHRASES_MOST * ANSWERS,
	CHUNK = 256,  /* phrases between two looks at the time */
	STREAM = 5000 /* of random words */
};

struct guided {
	struct scan_state *s;
	struct slopes slopes;
	struct joining joining;
	int V;
	bool *may, *asked; /* [V]: to be put into slots; was in the pool */
	int *votes;	   /* [V] */
	int32_t *plain;	   /* [plains]: benign words of one token */
	int plains;
	uint64_t drawn;
	int32_t pool[POOL];
	int pools;
	int beam[BEAM], beams;
	struct slopes_phrase phrase[PHRASES_MOST];
	struct slopes_answer answer[PHRASES_MOST];
	int phrases;
	int tried[TRIES_MOST], n; /* and not judged yet */
};

/* --- setting up ---------------------------------------------------------------------------------------- */

static bool may_use(const struct scan_state *s, int number)
{
	const struct reading *r = &s->reading[number];

	return s->list.item[number].n == 1 && !scan_stands_out(r->log_p) && !r->is_covered;
}

static void list_tokens(struct guided *g)
{
	const struct scan_state *s = g->s;

	for (int i = 0; i < s->list.n; i++)
		if (may_use(s, i))
			g->may[candidate_ids(&s->list, i)[0]] = true;
	for (int i = 0; i < s->benigns; i++)
		if (may_use(s, s->benign[i]))
			g->plain[g->plains++] = candidate_ids(&s->list, s->benign[i])[0];
}

static int guided_init(struct guided *g, struct scan_state *s, struct err *err)
{
	g->s = s;
	g->V = s->o->exact->config->V;
	g->may = calloc((size_t)g->V, sizeof(*g->may));
	g->asked = calloc((size_t)g->V, sizeof(*g->asked));
	g->votes = calloc((size_t)g->V, sizeof(*g->votes));
	g->plain = calloc((size_t)s->benigns + 1, sizeof(*g->plain));
	if (g->may == NULL || g->asked == NULL || g->votes == NULL || g->plain == NULL)
		return err_nomem(err);
	list_tokens(g);
	return slopes_init(&g->slopes, &s->probe, s->o->exact, s->o->par, g->may, err);
}

static void guided_done(struct guided *g)
{
	slopes_done(&g->slopes);
	joining_done(&g->joining);
	free(g->may);
	free(g->asked);
	free(g->votes);
	free(g->plain);
	free(g);
}

/* --- asking -------------------------------------------------------------------------------------------- */

/* The next one. */
static int32_t random_word(struct guided *g)
{
	uint64_t key = rng_key(rng_key(g->s->o->seed, RNG_SCAN), STREAM);

	return g->plain[rng_below(key, g->drawn++, (uint32_t)g->plains)];
}

/* The next phrase; texts take turns. */
static struct slopes_phrase *ask(struct guided *g, int n, unsigned open)
{
	struct slopes_phrase *p = &g->phrase[g->phrases];

	*p = (struct slopes_phrase){.n = n, .open = open, .text = g->phrases++ % g->s->probe.K};
	return p;
}

/* Answers to all phrases. */
static int follow(struct guided *g, struct err *err)
{
	int rc = 0;

	for (int at = 0; at < g->phrases && rc == 0 && !g->s->result->is_late; at += CHUNK) {
		int n = MIN(CHUNK, g->phrases - at);

		rc = slopes_run(g->answer + at, NULL, &g->slopes, g->phrase + at, n, err);
		if (rc == 0)
			rc = scan_progress(g->s, n, err);
	}
	return rc;
}

/* --- trying -------------------------------------------------------------------------------------------- */

/* A phrase to be tried, unless it was. */
static int try_phrase(struct guided *g, const int32_t *ids, int n, struct err *err)
{
	int before = g->s->list.n, number, rc = join_tokens(&number, &g->joining, g->s, ids, n, err);

	if (rc == 0 && number >= before && g->n < TRIES_MOST)
		g->tried[g->n++] = number;
	return rc;
}

static bool have_common(const struct candidates *list, int a, int b)
{
	const int32_t *x = candidate_ids(list, a), *y = candidate_ids(list, b);

	for (int i = 0; i < list->item[a].n; i++)
		for (int k = 0; k < list->item[b].n; k++)
			if (x[i] == y[k])
				return true;
	return false;
}

/* The first `most` of number [n] but those with which `akin` before them have a token in common; how many. */
static int keep_different(const struct guided *g, int *number, int n, int akin, int most)
{
	int kept = 0;

	for (int i = 0; i < n && kept < most; i++) {
		int common = 0;

		for (int k = 0; k < kept; k++)
			common += have_common(&g->s->list, number[k], number[i]);
		if (common < akin)
			number[kept++] = number[i];
	}
	return kept;
}

static int judge_tried(struct guided *g, int most, struct err *err)
{
	int rc = screen_first(g->s, g->tried, g->n, err);

	g->s->tried += g->n;
	g->s->phrases += g->n;
	if (rc == 0)
		rc = join_judge(g->s, g->tried, keep_different(g, g->tried, g->n, AKIN, most), err);
	g->n = 0;
	return MIN(rc, 0);
}

/* The most displacing phrases of so many tokens, no two of them with a common one. */
static int choose_beam(struct guided *g, int tokens, struct err *err)
{
	int *number = malloc(((size_t)g->s->list.n + 1) * sizeof(int)), n;

	if (number == NULL)
		return err_nomem(err);
	n = join_choose(number, g->s, tokens, JOIN_QUIET | JOIN_LOUD, g->s->list.n);
	g->beams = keep_different(g, number, n, 1, BEAM);
	memcpy(g->beam, number, (size_t)g->beams * sizeof(int));
	free(number);
	return 0;
}

/* --- votes --------------------------------------------------------------------------------------------- */

static void ask_random_phrases(struct guided *g)
{
	g->phrases = 0;
	for (int i = 0; i < VOTES; i++) {
		struct slopes_phrase *p = ask(g, SLOPES_SLOTS, (1u << SLOPES_SLOTS) - 1);

		for (int slot = 0; slot < SLOPES_SLOTS; slot++)
			p->id[slot] = random_word(g);
	}
}

static void count_votes(struct guided *g)
{
	for (int i = 0; i < g->phrases; i++)
		for (int slot = 0; slot < SLOPES_SLOTS; slot++)
			for (int k = 0; k < SLOPES_BEST && g->answer[i].best[slot][k] >= 0; k++)
				g->votes[g->answer[i].best[slot][k]]++;
}

static int compare_votes(const void *a, const void *b, void *arg)
{
	const int *votes = arg;
	int i = *(const int *)a, k = *(const int *)b;

	return votes[i] != votes[k] ? votes[k] - votes[i] : i - k;
}

/* Once in all. */
static void add_to_pool(struct guided *g, int32_t id)
{
	if (g->pools < POOL && !g->asked[id]) {
		g->asked[id] = true;
		g->pool[g->pools++] = id;
	}
}

static void pool_voted(struct guided *g, int *order)
{
	int n = 0;

	for (int id = 0; id < g->V; id++)
		if (g->votes[id] > 0)
			order[n++] = id;
	qsort_r(order, (size_t)n, sizeof(int), compare_votes, g->votes);
	for (int i = 0; i < MIN(n, POOL_VOTED); i++)
		add_to_pool(g, order[i]);
}

static void pool_displacing(struct guided *g, int *order, unsigned which, int most)
{
	int n = join_choose(order, g->s, 1, which, most);

	for (int i = 0; i < n; i++)
		add_to_pool(g, candidate_ids(&g->s->list, order[i])[0]);
}

static int choose_pool(struct guided *g, struct err *err)
{
	int *order = malloc(((size_t)MAX(g->V, g->s->list.n) + 1) * sizeof(int));

	if (order == NULL)
		return err_nomem(err);
	pool_displacing(g, order, JOIN_LOUD, POOL_LOUD);
	pool_voted(g, order);
	pool_displacing(g, order, JOIN_QUIET, POOL);
	free(order);
	return 0;
}

static int vote(struct guided *g, struct err *err)
{
	int rc;

	ask_random_phrases(g);
	rc = follow(g, err);
	if (rc != 0 || g->s->result->is_late)
		return rc;
	count_votes(g);
	return choose_pool(g, err);
}

/* --- pairs --------------------------------------------------------------------------------------------- */

static void ask_partners(struct guided *g)
{
	g->phrases = 0;
	for (int i = 0; i < g->pools * FILLERS; i++) {
		struct slopes_phrase *p = ask(g, 3, 1u << 0 | 1u << 2);

		p->id[0] = random_word(g);
		p->id[1] = g->pool[i / FILLERS];
		p->id[2] = random_word(g);
	}
}

static int try_partners(struct guided *g, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < g->phrases; i++)
		for (int k = 0; k < ANSWERS && rc == 0; k++) {
			int32_t own = g->phrase[i].id[1], before = g->answer[i].best[0][k],
				behind = g->answer[i].best[2][k];

			if (before >= 0)
				rc = try_phrase(g, (int32_t[]){before, own}, 2, err);
			if (rc == 0 && behind >= 0)
				rc = try_phrase(g, (int32_t[]){own, behind}, 2, err);
		}
	return rc;
}

/* Of the pool. */
static int partner(struct guided *g, struct err *err)
{
	int rc;

	ask_partners(g);
	rc = follow(g, err);
	if (rc == 0 && !g->s->result->is_late)
		rc = try_partners(g, err);
	return rc == 0 ? judge_tried(g, PAIRS_KEPT, err) : rc;
}

/* The tokens of the best pairs that were not in it yet. */
static int renew_pool(struct guided *g, struct err *err)
{
	int rc = choose_beam(g, 2, err);

	g->pools = 0;
	for (int i = 0; i < g->beams && rc == 0; i++)
		for (int k = 0; k < 2; k++)
			add_to_pool(g, candidate_ids(&g->s->list, g->beam[i])[k]);
	return rc;
}

/* --- changes and longer ones --------------------------------------------------------------------------- */

/* Each of the beam in each text, all slots open. */
static void ask_changes(struct guided *g, int tokens)
{
	for (int i = 0; i < g->beams * g->s->probe.K; i++)
		memcpy(ask(g, tokens, (1u << tokens) - 1)->id,
			candidate_ids(&g->s->list, g->beam[i / g->s->probe.K]),
			(size_t)tokens * sizeof(int32_t));
}

/* Each of the beam with a random word at each place, that slot open. */
static void ask_longer(struct guided *g, int tokens)
{
	for (int i = 0; i < g->beams; i++)
		for (int at = 0; at <= tokens; at++) {
			const int32_t *ids = candidate_ids(&g->s->list, g->beam[i]);
			struct slopes_phrase *p = ask(g, tokens + 1, 1u << at);

			for (int slot = 0; slot <= tokens; slot++)
				p->id[slot] = slot == at ? random_word(g) : ids[slot - (slot > at)];
		}
}

/* Each phrase with the tokens that its open slots lean to. */
static int try_answers(struct guided *g, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < g->phrases; i++)
		for (int slot = 0; slot < g->phrase[i].n; slot++) {
			const int32_t *best = g->answer[i].best[slot];
			struct slopes_phrase changed = g->phrase[i];

			for (int k = 0; k < ANSWERS && best[k] >= 0 && rc == 0; k++) {
				changed.id[slot] = best[k];
				rc = try_phrase(g, changed.id, changed.n, err);
			}
		}
	return rc;
}

typedef void ask_fn(struct guided *g, int tokens);

static int improve(struct guided *g, int tokens, ask_fn *questions, struct err *err)
{
	int rc = choose_beam(g, tokens, err);

	if (rc != 0)
		return rc;
	g->phrases = 0;
	questions(g, tokens);
	rc = follow(g, err);
	if (rc == 0 && !g->s->result->is_late)
		rc = try_answers(g, err);
	return rc == 0 ? judge_tried(g, KEPT, err) : rc;
}

/* --- the whole ----------------------------------------------------------------------------------------- */

static int find_pairs(struct guided *g, struct err *err)
{
	int rc = partner(g, err);

	for (int round = 0; round < ROUNDS && rc == 0 && !g->s->result->is_late; round++) {
		rc = improve(g, 2, ask_changes, err);
		if (rc == 0)
			rc = renew_pool(g, err);
		if (rc == 0)
			rc = partner(g, err);
	}
	return rc;
}

static int find_longer(struct guided *g, struct err *err)
{
	int rc = 0;

	for (int tokens = 2; tokens < SLOPES_SLOTS && rc == 0 && !g->s->result->is_late; tokens++) {
		rc = improve(g, tokens, ask_longer, err);
		if (rc == 0)
			rc = improve(g, tokens + 1, ask_changes, err);
	}
	return rc;
}

int guided_run(struct scan_state *s, struct err *err)
{
	struct guided *g = calloc(1, sizeof(*g));
	int rc;

	if (g == NULL)
		return err_nomem(err);
	rc = guided_init(g, s, err);
	if (rc == 0 && g->plains > 0)
		rc = vote(g, err);
	if (rc == 0 && g->plains > 0 && !s->result->is_late)
		rc = find_pairs(g, err);
	if (rc == 0 && g->plains > 0 && !s->result->is_late)
		rc = find_longer(g, err);
	if (rc == 0 && g->plains > 0 && !s->result->is_late)
		rc = reach_run(s, &g->slopes, g->plain, g->plains, err);
	guided_done(g);
	return rc;
}
