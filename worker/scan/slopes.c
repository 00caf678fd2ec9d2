#include "worker/scan/slopes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A slice's tokens, as batch.h has them; tokens of the vocabulary that are scored at once: half a megabyte. */
enum { SLICE_TEXTS = 16, SLICE_TOKENS_MOST = 256, SLICE_SLOTS = SLICE_TEXTS * SLOPES_SLOTS, BLOCK = 1024 };

static const struct pass PASS = {.train = true, .no_dropout = true, .to_embeddings = true};

/* The steepest tokens so far of one slot. */
struct ranked {
	int n;
	real score[SLOPES_BEST];
	int32_t *id; /* [SLOPES_BEST], in the answer */
};

/* One thread's: a slice and its open slots. */
struct slopes_lane {
	struct workspace ws;
	struct arena arena;
	int32_t row[SLICE_TEXTS][PROBE_ROW_MAX];
	int at[SLICE_TEXTS]; /* of the first slot within its row */
	struct sequence seq[SLICE_TEXTS];
	struct ranked ranked[SLICE_SLOTS];
	int slots;
	real *gradient; /* [SLICE_SLOTS, D] */
	real *score;	/* [SLICE_SLOTS, BLOCK] */
	real *scratch;
};

/* --- forward and backward ------------------------------------------------------------------------------ */

/* sign * cos(h, u) and its derivative by h. */
static double cosine_bwd(real *d_h, const real *h, const real *u, double sign, int D)
{
	double hh = MAX(probe_dot(h, h, D), 1e-30), norms = sqrt(hh * MAX(probe_dot(u, u, D), 1e-30)),
	       cosine = probe_dot(h, u, D) / norms;

	for (int j = 0; j < D; j++)
		d_h[j] = (real)(sign * ((double)u[j] / norms - cosine * (double)h[j] / hh));
	return sign * cosine;
}

struct slopes_call {
	struct slopes *slopes;
	const struct slopes_phrase *phrase;
	int n;
	struct slopes_answer *answer;
	real *gradient;
};

static struct slice fill_slice(
	struct slopes_lane *lane, const struct slopes *s, const struct slopes_phrase *phrase, int n)
{
	struct slice slice = {.n = n, .seq = lane->seq};

	for (int i = 0; i < n; i++) {
		int length = probe_row(
			lane->row[i], &lane->at[i], s->probe, phrase[i].text, phrase[i].id, phrase[i].n);

		lane->seq[i] = (struct sequence){
			.ids = lane->row[i], .n = length, .second = length, .number = i, .row = slice.T};
		slice.T += length;
	}
	return slice;
}

/* The open slots' gradients, one after another, to lane->gradient, and where their tokens go. */
static void gather_slots(struct slopes_lane *lane, const struct slopes_call *call, int first, int n, int D)
{
	const real *d = encoder_d_embedding(&lane->ws);
	size_t width = (size_t)D;

	lane->slots = 0;
	for (int i = 0; i < n; i++) {
		const struct slopes_phrase *phrase = &call->phrase[first + i];

		for (int slot = 0; slot < phrase->n; slot++) {
			size_t from = (size_t)(lane->seq[i].row + lane->at[i] + slot) * width;

			if ((phrase->open >> slot & 1) == 0)
				continue;
			memcpy(lane->gradient + (size_t)lane->slots * width, d + from, width * sizeof(real));
			lane->ranked[lane->slots++] =
				(struct ranked){.id = call->answer[first + i].best[slot]};
			if (call->gradient != NULL)
				memcpy(call->gradient + (size_t)((first + i) * SLOPES_SLOTS + slot) * width,
					d + from, width * sizeof(real));
		}
	}
}

/* --- tokens -------------------------------------------------------------------------------------------- */

/* Sorted insertion; among equals the first token stays in front. */
static void offer(struct ranked *to, real score, int32_t id)
{
	int at = to->n;

	if (at == SLOPES_BEST && !(score > to->score[at - 1]))
		return;
	if (at == SLOPES_BEST)
		at--;
	else
		to->n++;
	for (; at > 0 && score > to->score[at - 1]; at--) {
		to->score[at] = to->score[at - 1];
		to->id[at] = to->id[at - 1];
	}
	to->score[at] = score;
	to->id[at] = id;
}

static void rank_tokens(struct slopes_lane *lane, const struct slopes *s)
{
	const struct config *c = s->encoder->config;

	for (int first = 0; first < c->V && lane->slots > 0; first += BLOCK) {
		int n = MIN(BLOCK, c->V - first);

		gemm_nt(s->encoder->kernels, lane->score, lane->gradient,
			s->encoder->weights->word + (size_t)first * (size_t)c->D, lane->slots, n, c->D,
			GEMM_SET, lane->scratch);
		for (int slot = 0; slot < lane->slots; slot++)
			for (int i = 0; i < n; i++)
				if (s->may[first + i])
					offer(&lane->ranked[slot], lane->score[slot * n + i], first + i);
	}
}

static void run_slice(void *arg, int task, int thread)
{
	struct slopes_call *call = arg;
	struct slopes *s = call->slopes;
	struct slopes_lane *lane = &s->lane[thread];
	int D = s->encoder->config->D, first = task * s->texts, n = MIN(s->texts, call->n - first);
	struct slice slice = fill_slice(lane, s, call->phrase + first, n);

	encoder_fwd(&lane->ws, s->encoder, &slice, &PASS);
	for (int i = 0; i < n; i++) {
		const struct slopes_phrase *phrase = &call->phrase[first + i];
		const real *h = lane->ws.cls + (size_t)i * (size_t)D,
			   *clean = s->probe->clean + (size_t)phrase->text * (size_t)D;
		real *d_h = lane->ws.d_cls + (size_t)i * (size_t)D;

		call->answer[first + i].value = phrase->along != NULL
							? cosine_bwd(d_h, h, phrase->along, 1, D)
							: 1 + cosine_bwd(d_h, h, clean, -1, D);
	}
	encoder_bwd(&lane->ws, s->encoder, &slice, &PASS, NULL, NULL);
	gather_slots(lane, call, first, n, D);
	rank_tokens(lane, s);
}

int slopes_run(struct slopes_answer *answer, real *gradient, struct slopes *slopes,
	const struct slopes_phrase *phrase, int n, struct err *err)
{
	struct slopes_call call = {slopes, phrase, n, answer, gradient};

	for (int i = 0; i < n; i++)
		memset(answer[i].best, 0xff, sizeof(answer[i].best));
	if (!par_run(slopes->par, (n + slopes->texts - 1) / slopes->texts, run_slice, &call))
		return err_set(err, ERR_STOPPED, NULL, "stopped while gradients were followed");
	return 0;
}

/* --- memory -------------------------------------------------------------------------------------------- */

static void plan_lane(struct slopes_lane *lane, const struct encoder *encoder)
{
	int D = encoder->config->D;

	lane->gradient = arena_take(&lane->arena, (size_t)SLICE_SLOTS * (size_t)D, sizeof(real));
	lane->score = arena_take(&lane->arena, (size_t)SLICE_SLOTS * BLOCK, sizeof(real));
	lane->scratch = arena_take(&lane->arena, encoder->kernels->gemm_scratch_reals(D), sizeof(real));
}

static int lane_init(
	struct slopes_lane *lane, const struct encoder *encoder, struct slice_limits limits, struct err *err)
{
	int rc;

	plan_lane(lane, encoder);
	rc = arena_alloc(&lane->arena, err);
	if (rc != 0)
		return rc;
	plan_lane(lane, encoder);
	return workspace_init(&lane->ws, encoder, limits, true, false, err);
}

/* Of the probe's texts with all slots. */
static int longest_row(const struct probe *probe)
{
	static const int32_t ids[SLOPES_SLOTS];
	int32_t row[PROBE_ROW_MAX];
	int longest = 0, at;

	for (int k = 0; k < probe->K; k++)
		longest = MAX(longest, probe_row(row, &at, probe, k, ids, SLOPES_SLOTS));
	return longest;
}

int slopes_init(struct slopes *out, const struct probe *probe, const struct encoder *encoder, struct par *par,
	const bool *may, struct err *err)
{
	int longest = longest_row(probe), threads = par_threads(par), rc = 0;
	int texts = MIN(SLICE_TEXTS, MAX(SLICE_TOKENS_MOST / longest, 1));
	struct slice_limits limits = {texts, texts * longest, longest};

	*out = (struct slopes){.probe = probe,
		.encoder = encoder,
		.par = par,
		.may = may,
		.texts = texts,
		.lane = calloc((size_t)threads, sizeof(*out->lane))};
	if (out->lane == NULL)
		return err_nomem(err);
	for (int t = 0; t < threads && rc == 0; t++)
		rc = lane_init(&out->lane[t], encoder, limits, err);
	return rc;
}

void slopes_done(struct slopes *slopes)
{
	int threads = slopes->par != NULL ? par_threads(slopes->par) : 0;

	for (int t = 0; slopes->lane != NULL && t < threads; t++) {
		workspace_done(&slopes->lane[t].ws);
		arena_done(&slopes->lane[t].arena);
	}
	free(slopes->lane);
	*slopes = (struct slopes){0};
}
