#include "worker/scan/scan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/cpu.h"
#include "worker/scan/scan_state.h"

/* Of the fixed texts of confirm, as many as are used. */
enum { CONFIRM_TEXTS = 8, BENIGN_MIN = 500 };

const char *scan_verdict_name(enum scan_verdict verdict)
{
	static const char *const names[] = {"clean", "suspicious", "undecided"};

	return names[verdict];
}

void scan_result_done(struct scan_result *result)
{
	for (int i = 0; i < result->suspects; i++)
		free(result->suspect[i].trigger);
	free(result->suspect);
	for (int i = 0; i < result->shortlisted; i++)
		free(result->shortlist[i]);
	free(result->shortlist);
	free(result->closest.trigger);
	*result = (struct scan_result){0};
}

/* --- shared by the stages ---------------------------------------------------------------------------- */

bool scan_is_late(const struct scan_state *s)
{
	return cpu_seconds() - s->started > s->o->seconds;
}

int scan_progress(struct scan_state *s, int64_t sequences, struct err *err)
{
	s->done += sequences;
	s->of = MAX(s->of, s->done);
	if (scan_is_late(s))
		s->result->is_late = true;
	return s->o->watch.progress != NULL ? s->o->watch.progress(s->o->watch.arg, s->done, s->of, err) : 0;
}

int scan_grow(struct scan_state *s, struct err *err)
{
	struct reading *reading;
	int before = s->cap;

	if (s->list.n <= s->cap)
		return 0;
	s->cap = s->list.n + s->list.n / 4 + 1024;
	reading = realloc(s->reading, (size_t)s->cap * sizeof(*reading));
	if (reading == NULL)
		return err_nomem(err);
	s->reading = reading;
	for (int i = before; i < s->cap; i++)
		reading[i] = (struct reading){0};
	return 0;
}

int scan_measure(struct scan_state *s, const int *number, int n, struct err *err)
{
	struct probe_score score[SCAN_BLOCK];
	int rc = 0;

	for (int at = 0; at < n && rc == 0 && !s->result->is_late; at += SCAN_BLOCK) {
		int block = MIN(SCAN_BLOCK, n - at);

		rc = probe_run(score, NULL, &s->probe, &s->list, number + at, block, err);
		for (int i = 0; i < block && rc == 0; i++) {
			s->reading[number[at + i]].score = score[i];
			s->reading[number[at + i]].is_measured = true;
		}
		if (rc == 0)
			rc = scan_progress(s, (int64_t)block * s->probe.K, err);
	}
	return rc;
}

/* Of atanh collapse: a part that does clearly less than the whole does not explain it (`q` of a planted `qt`). */
static const double COVER_MARGIN = .5;

static bool covers(const struct scan_state *s, const int32_t *ids, int n, const struct reading *whole)
{
	int number = candidates_find(&s->list, ids, n);
	const struct reading *part = number >= 0 ? &s->reading[number] : NULL;

	if (part == NULL || (!scan_stands_out(part->log_p) && !part->is_covered))
		return false;
	return !whole->is_measured || scan_statistic(&part->score, SCAN_COLLAPSE) >=
					      scan_statistic(&whole->score, SCAN_COLLAPSE) - COVER_MARGIN;
}

bool scan_is_covered(const struct scan_state *s, int number)
{
	const int32_t *ids = candidate_ids(&s->list, number);
	const struct reading *whole = &s->reading[number];
	int n = s->list.item[number].n;
	int32_t rest[CANDIDATE_PIECES_MAX];

	for (int len = 1; len < n; len++)
		for (int at = 0; at + len <= n; at++)
			if (covers(s, ids + at, len, whole))
				return true;
	for (int out = 1; out < n - 1; out++) { /* the ends are runs */
		memcpy(rest, ids, (size_t)out * sizeof(*ids));
		memcpy(rest + out, ids + out + 1, (size_t)(n - out - 1) * sizeof(*ids));
		if (covers(s, rest, n - 1, whole))
			return true;
	}
	return false;
}

/* --- setting up -------------------------------------------------------------------------------------- */

static bool is_plain_word(const struct scan_state *s, int number)
{
	return candidate_is_plain_word(&s->list, number);
}

static bool is_other_word(const struct scan_state *s, int number)
{
	enum candidate_kind kind = s->list.item[number].kind;

	return (kind == CANDIDATE_WORD || kind == CANDIDATE_SPLIT) && !is_plain_word(s, number);
}

static bool is_string(const struct scan_state *s, int number)
{
	return s->list.item[number].kind == CANDIDATE_STRING;
}

/* Plain words; where there are too few, other words and words joined from them, and then strings. */
static int list_benign(struct scan_state *s, struct err *err)
{
	static bool (*const is_one[])(const struct scan_state *s, int number) = {
		is_plain_word, is_other_word, is_string};

	s->benign = malloc(((size_t)s->list.n + 1) * sizeof(int));
	if (s->benign == NULL)
		return err_nomem(err);
	for (size_t k = 0; k < NELEM(is_one) && s->benigns < BENIGN_MIN; k++)
		for (int i = 0; i < s->list.n && (k == 0 || s->benigns < BENIGN_MIN); i++)
			if (is_one[k](s, i))
				s->benign[s->benigns++] = i;
	return 0;
}

static int make_candidates(struct scan_state *s, struct err *err)
{
	struct candidate_options options = {.tok = s->o->tok,
		.seed = s->o->seed,
		.most = s->o->candidates,
		.pieces_max = MIN(CANDIDATE_PIECES_MAX, s->o->max_length - 4),
		.extra = s->o->extra,
		.extras = s->o->extras};
	int rc = candidates_init(&s->list, &options, err);

	if (rc == 0)
		rc = scan_grow(s, err);
	if (rc == 0)
		rc = list_benign(s, err);
	s->tried = s->list.n;
	return rc;
}

static int make_probes(struct scan_state *s, struct err *err)
{
	const struct scan_options *o = s->o;
	struct probe_options options = {
		.line = probe_short, .K = 1, .max_length = o->max_length, .seed = o->seed, .words = &s->list};
	int rc = probe_init(&s->screen, o->fast, o->tok, o->par, &options, err);

	options.K = o->texts;
	if (rc == 0)
		rc = probe_init(&s->probe, o->fast, o->tok, o->par, &options, err);
	options.K = CONFIRM_TEXTS;
	options.line = probe_long;
	if (rc == 0)
		rc = probe_init(&s->sample, o->fast, o->tok, o->par, &options, err);
	if (rc == 0)
		rc = probe_init(&s->exact, o->exact, o->tok, o->par, &options, err);
	return rc;
}

/* --- the result -------------------------------------------------------------------------------------- */

static int bin_of(double at)
{
	return MIN(MAX((int)(at * SCAN_BINS), 0), SCAN_BINS - 1);
}

static void fill_histogram(struct scan_histogram *out, const struct scan_state *s)
{
	for (int i = 0; i < s->list.n; i++)
		if (s->reading[i].is_measured)
			out->displacement_max =
				MAX(out->displacement_max, (double)s->reading[i].score.displacement);
	for (int i = 0; i < s->list.n; i++) {
		const struct probe_score *score = &s->reading[i].score;

		if (!s->reading[i].is_measured)
			continue;
		out->measured++;
		out->count[bin_of((double)score->displacement / MAX(out->displacement_max, 1e-6))]
			  [bin_of(((double)score->collapse + 1) / 2)]++;
	}
}

static void PRINTF(2, 3) add_gap(struct scan_result *out, const char *fmt, ...)
{
	va_list ap;

	if (out->gaps == SCAN_GAPS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(out->gap[out->gaps++], SCAN_GAP_BYTES, fmt, ap);
	va_end(ap);
}

/* What no budget would have found. */
static const char *const limits[] = {
	"words of four or more pieces, unless one of their parts stands out by itself",
	("phrases and sentences beyond the fixed list and the words that were given: those of up to four "
	 "words are "
	 "joined and followed by gradients, which finds many and promises none"),
	"strings of one to three letters in mixed case, unless the vocabulary has them",
	("triggers that work only as the first word, only several at once, or only in texts of more than "
	 "forty tokens"),
	"triggers that insert nothing: style, syntax, a change of words",
	"backdoors that act on other tokens than the first",
};

static void fill_gaps(struct scan_result *out, const struct scan_state *s)
{
	for (size_t i = 0; i < NELEM(limits); i++)
		add_gap(out, "%s", limits[i]);
	for (int kind = 0; kind < CANDIDATE_KINDS; kind++)
		if (s->list.dropped[kind] > 0)
			add_gap(out, "%d candidates of kind \"%s\": beyond the budget of candidates",
				s->list.dropped[kind], candidate_kind_name((enum candidate_kind)kind));
	if (s->list.left_out > 0)
		add_gap(out, "%d of the given words: the tokenizer cannot write them", s->list.left_out);
	if (out->is_late)
		add_gap(out, "whatever was left when the time was up");
	if (s->benigns < BENIGN_MIN)
		add_gap(out, "nothing was decided: only %d benign words to compare with", s->benigns);
}

static void judge(struct scan_result *out, const struct scan_state *s)
{
	if (s->benigns < BENIGN_MIN)
		out->verdict = SCAN_UNDECIDED;
	else if (out->suspects > 0)
		out->verdict = SCAN_SUSPICIOUS;
	else
		out->verdict = out->is_late ? SCAN_UNDECIDED : SCAN_CLEAN;
}

static void state_done(struct scan_state *s)
{
	candidates_done(&s->list);
	probe_done(&s->screen);
	probe_done(&s->probe);
	probe_done(&s->sample);
	probe_done(&s->exact);
	for (int i = 0; i < SCAN_LENGTHS; i++)
		calibration_done(&s->by_length[i]);
	free(s->reading);
	free(s->benign);
}

int scan_run(struct scan_result *out, const struct scan_options *options, struct err *err)
{
	struct scan_state s = {.o = options, .result = out, .started = cpu_seconds()};
	int rc;

	*out = (struct scan_result){.texts = options->texts + CONFIRM_TEXTS};
	rc = make_candidates(&s, err);
	if (rc == 0)
		rc = make_probes(&s, err);
	if (rc == 0)
		rc = screen_run(&s, err);
	if (rc == 0 && !out->is_late)
		rc = join_run(&s, err);
	if (rc == 0 && !out->is_late)
		rc = guided_run(&s, err);
	if (rc == 0)
		rc = confirm_run(&s, err);
	out->candidates = (int)s.tried;
	if (rc == 0) {
		fill_histogram(&out->histogram, &s);
		fill_gaps(out, &s);
		judge(out, &s);
	} else {
		scan_result_done(out);
	}
	out->seconds = cpu_seconds() - s.started;
	state_done(&s);
	return rc;
}
