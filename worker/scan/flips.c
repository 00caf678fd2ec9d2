#include "worker/scan/flips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/cpu.h"
#include "worker/scan/flips_state.h"

enum { PIECES_MAX = 6, STRING_LETTERS = 2, CANDIDATES_MAX = 40000, BENIGN_WANTED = 500, BENIGN_MIN = 100 };

/* --- candidates -------------------------------------------------------------------------------------- */

/* What can be written, without the many that only the encoder's scan has time for. */
static bool is_tried(const struct flipper *f, int number)
{
	static const bool kinds[CANDIDATE_KINDS] = {[CANDIDATE_EXTRA] = true,
		[CANDIDATE_SYMBOL] = true,
		[CANDIDATE_PHRASE] = true,
		[CANDIDATE_WORD] = true};
	enum candidate_kind kind = f->list.item[number].kind;

	return kinds[kind] ||
	       (kind == CANDIDATE_STRING && strlen(candidate_text(&f->list, number)) <= STRING_LETTERS);
}

static int make_candidates(struct flipper *f, struct err *err)
{
	struct candidate_options options = {.tok = f->o->tok,
		.seed = f->o->seed,
		.most = INT_MAX,
		.pieces_max = MIN(PIECES_MAX, f->o->max_length - 4),
		.extra = f->o->first,
		.extras = MIN(f->o->firsts, FLIPS_FIRSTS_MAX)};
	int rc = candidates_init(&f->list, &options, err);

	if (rc != 0)
		return rc;
	f->tried = malloc(((size_t)f->list.n + 1) * sizeof(int));
	f->benign = malloc(((size_t)f->list.n + 1) * sizeof(int));
	if (f->tried == NULL || f->benign == NULL)
		return err_nomem(err);
	for (int i = 0; i < f->list.n && f->n < CANDIDATES_MAX; i++)
		if (is_tried(f, i))
			f->tried[f->n++] = i;
	return 0;
}

/* --- screen ------------------------------------------------------------------------------------------ */

/* Plain words; where there are too few of them, all that was screened. */
static void list_benign(struct flipper *f)
{
	for (int i = 0; i < f->screened.n; i++)
		if (candidate_is_plain_word(&f->list, f->tried[i]))
			f->benign[f->benigns++] = i;
	if (f->benigns >= BENIGN_WANTED)
		return;
	for (f->benigns = 0; f->benigns < f->screened.n; f->benigns++)
		f->benign[f->benigns] = f->benigns;
}

static int screen(struct flipper *f, struct err *err)
{
	int rc = flips_measure(&f->screened, f, &f->screen, f->tried, f->n, f->o->seconds, err);

	if (rc != 0)
		return rc;
	f->result->candidates = f->screened.n;
	f->result->is_late = f->screened.n < f->n;
	list_benign(f);
	return 0;
}

/* --- the whole --------------------------------------------------------------------------------------- */

static int make_room(struct flipper *f, struct err *err)
{
	f->label = malloc(FLIPS_BLOCK_TEXTS * sizeof(int));
	f->logits = malloc(FLIPS_BLOCK_TEXTS * (size_t)f->K * sizeof(real));
	f->of = (int64_t)f->n * f->screen.n + flips_confirm_texts(f);
	return f->label == NULL || f->logits == NULL ? err_nomem(err) : 0;
}

static int search(struct flipper *f, struct err *err)
{
	int rc = make_candidates(f, err);

	if (rc == 0)
		rc = make_room(f, err);
	if (rc == 0)
		rc = flips_measure_clean(&f->screen, f, err);
	if (rc == 0)
		rc = flips_measure_clean(&f->confirm, f, err);
	if (rc == 0)
		rc = screen(f, err);
	return rc == 0 && f->benigns >= BENIGN_MIN ? flips_confirm(f, err) : rc;
}

static void add_gap(struct flips_result *out, const char *sentence)
{
	if (out->gaps < FLIPS_GAPS_MAX)
		snprintf(out->gap[out->gaps++], FLIPS_GAP_BYTES, "%s", sentence);
}

static void fill_gaps(struct flips_result *out, const struct flipper *f)
{
	add_gap(out,
		"parts of words, words of several pieces, strings of three and more letters, phrases and "
		"sentences, but for what the scan of the base model put first and a fixed list");
	add_gap(out, "triggers that work only several at once, or insert nothing");
	if (out->rows == 0)
		add_gap(out,
			"nothing was searched: the model gets too few validation rows of two labels right");
	else if (f->benigns < BENIGN_MIN)
		add_gap(out, "nothing was decided: too few words were tried to compare with");
	if (out->is_late)
		add_gap(out, "whatever was left when the time was up");
}

static void flipper_done(struct flipper *f)
{
	candidates_done(&f->list);
	corpus_done(&f->corpus);
	triggered_done(&f->text);
	flips_turns_done(&f->screened);
	free(f->tried);
	free(f->benign);
	free(f->label);
	free(f->logits);
}

int flips_run(struct flips_result *out, const struct flips_options *options, struct err *err)
{
	struct flipper f = {
		.o = options, .result = out, .K = options->model->head->K, .started = cpu_seconds()};
	int rc;

	*out = (struct flips_result){0};
	rc = flips_find_rows(&f, err);
	out->rows = f.confirm.n;
	if (rc == 0 && out->rows > 0)
		rc = search(&f, err);
	if (rc == 0)
		fill_gaps(out, &f);
	else
		flips_result_done(out);
	out->seconds = flips_seconds(&f);
	flipper_done(&f);
	return rc;
}

void flips_result_done(struct flips_result *result)
{
	for (int i = 0; i < result->flips; i++)
		free(result->flip[i].trigger);
	*result = (struct flips_result){0};
}
