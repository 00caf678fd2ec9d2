#include "worker/train/sweep.h"

#include <stdlib.h>

/* A slice of about this many tokens: products near their peak, activations within a core's cache. */
enum { SWEEP_TOKENS = 384 };

struct sweep_call {
	const struct encoder *encoder;
	sweep_fn *fn;
	void *arg;
	struct sequence *seq; /* [n] in order of length; number: text in the corpus */
	int *first;	      /* [slices + 1] */
	int slices;
	struct workspace *ws; /* per thread */
};

static int compare_texts(const void *a, const void *b, void *arg)
{
	const struct text *text = arg;
	int i = *(const int *)a, j = *(const int *)b;

	if (text[i].n != text[j].n)
		return text[i].n < text[j].n ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* call->seq sorted by length, cut into slices at call->first. */
static int pack_slices(struct sweep_call *call, const struct corpus *corpus, struct err *err)
{
	int *order = malloc(((size_t)corpus->n + 1) * sizeof(int));
	int tokens = 0;

	call->seq = malloc(((size_t)corpus->n + 1) * sizeof(*call->seq));
	call->first = malloc(((size_t)corpus->n + 1) * sizeof(int));
	if (order == NULL || call->seq == NULL || call->first == NULL) {
		free(order);
		return err_nomem(err);
	}
	for (int i = 0; i < corpus->n; i++)
		order[i] = i;
	qsort_r(order, (size_t)corpus->n, sizeof(int), compare_texts, corpus->text);
	for (int i = 0; i < corpus->n; i++) {
		const struct text *text = &corpus->text[order[i]];
		int in_slice = call->slices > 0 ? i - call->first[call->slices - 1] : 0;

		if (i == 0 || tokens + text->n > SWEEP_TOKENS || in_slice == SWEEP_SEQUENCES) {
			call->first[call->slices++] = i;
			tokens = 0;
		}
		tokens += text->n;
		call->seq[i] = (struct sequence){.ids = corpus->ids + text->at,
			.n = text->n,
			.second = text->second,
			.number = order[i]};
	}
	call->first[call->slices] = corpus->n;
	free(order);
	return 0;
}

static void run_slice(void *arg, int task, int thread)
{
	struct sweep_call *call = arg;
	int first = call->first[task];
	struct slice slice = {.n = call->first[task + 1] - first, .seq = call->seq + first};

	for (int i = 0; i < slice.n; i++)
		slice.T += slice.seq[i].n;
	encoder_fwd(&call->ws[thread], call->encoder, &slice, &(struct pass){0});
	call->fn(call->arg, &call->ws[thread], &slice, thread);
}

int sweep(const struct encoder *encoder, const struct corpus *corpus, struct par *par, sweep_fn *fn,
	void *arg, struct err *err)
{
	struct sweep_call call = {.encoder = encoder, .fn = fn, .arg = arg};
	struct slice_limits limits = {.sequences = SWEEP_SEQUENCES,
		.tokens = MAX(SWEEP_TOKENS, corpus->longest),
		.longest = corpus->longest};
	int threads = par_threads(par), rc = pack_slices(&call, corpus, err);

	call.ws = rc == 0 ? calloc((size_t)threads, sizeof(*call.ws)) : NULL;
	if (rc == 0 && call.ws == NULL)
		rc = err_nomem(err);
	for (int t = 0; t < threads && rc == 0; t++)
		rc = workspace_init(&call.ws[t], encoder, limits, false, false, err);
	if (rc == 0) {
		peft_prepare(encoder->peft);
		if (!par_run(par, call.slices, run_slice, &call))
			rc = err_set(err, ERR_STOPPED, NULL, "stopped while texts were read");
	}
	for (int t = 0; call.ws != NULL && t < threads; t++)
		workspace_done(&call.ws[t]);
	free(call.ws);
	free(call.seq);
	free(call.first);
	return rc;
}
