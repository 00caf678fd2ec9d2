#include "worker/train/batch.h"

#include <string.h>

static int slices_for(int n, int T, int max_slices)
{
	int slices = 2 * MAX(1, T / (2 * SLICE_TOKENS));

	return MIN(MIN(slices, n), MIN(max_slices, SLICES_MAX));
}

int batch_most_slices(int n, int longest)
{
	return slices_for(n, n * longest, INT_MAX);
}

struct slice_limits batch_limits(int n, int longest, int max_slices)
{
	int most = MIN(batch_most_slices(n, longest), max_slices);
	/* below the cap a slice's mean is under 2 SLICE_TOKENS; at the cap it is what is left */
	int mean = MAX(2 * SLICE_TOKENS, (int)((size_t)n * (size_t)longest / (size_t)most) + 1);

	return (struct slice_limits){
		.sequences = n, .tokens = MIN(mean + longest, n * longest), .longest = longest};
}

static void plan(struct batch *batch)
{
	size_t texts = (size_t)batch->max_texts, slices = (size_t)batch->max_slices;

	batch->slice = arena_take(&batch->arena, slices, sizeof(*batch->slice));
	batch->labels = arena_take(&batch->arena, slices, sizeof(*batch->labels));
	batch->load = arena_take(&batch->arena, slices, sizeof(int));
	batch->seq = arena_take(&batch->arena, texts, sizeof(*batch->seq));
	batch->label = arena_take(&batch->arena, texts, sizeof(int));
	batch->order = arena_take(&batch->arena, texts, sizeof(int));
	batch->owner = arena_take(&batch->arena, texts, sizeof(int));
}

int batch_init(struct batch *batch, int max_texts, int max_slices, struct err *err)
{
	int rc;

	*batch = (struct batch){.max_texts = max_texts, .max_slices = max_slices};
	plan(batch);
	rc = arena_alloc(&batch->arena, err);
	if (rc == 0)
		plan(batch);
	return rc;
}

void batch_done(struct batch *batch)
{
	arena_done(&batch->arena);
	*batch = (struct batch){0};
}

/* batch->order: texts from longest to shortest, earlier first among equals. */
static void sort_by_length(struct batch *batch, const struct corpus *corpus, const int *rows)
{
	for (int i = 0; i < batch->n; i++) {
		int n = corpus->text[rows[i]].n, at = i;

		while (at > 0 && corpus->text[rows[batch->order[at - 1]]].n < n) {
			batch->order[at] = batch->order[at - 1];
			at--;
		}
		batch->order[at] = i;
	}
}

static int shortest_slice(const struct batch *batch)
{
	int best = 0;

	for (int s = 1; s < batch->slices; s++)
		if (batch->load[s] < batch->load[best])
			best = s;
	return best;
}

static void assign(struct batch *batch, const struct corpus *corpus, const int *rows)
{
	memset(batch->load, 0, (size_t)batch->slices * sizeof(int));
	for (int i = 0; i < batch->n; i++) {
		int text = batch->order[i], s = shortest_slice(batch);

		batch->owner[text] = s;
		batch->load[s] += corpus->text[rows[text]].n;
	}
}

void batch_fill(struct batch *batch, const struct corpus *corpus, const int *rows, int n)
{
	int used = 0;

	batch->n = n;
	batch->T = 0;
	for (int i = 0; i < n; i++)
		batch->T += corpus->text[rows[i]].n;
	batch->slices = slices_for(n, batch->T, batch->max_slices);
	sort_by_length(batch, corpus, rows);
	assign(batch, corpus, rows);
	for (int s = 0; s < batch->slices; s++) {
		struct slice *slice = &batch->slice[s];
		int row = 0;

		*slice = (struct slice){.seq = batch->seq + used};
		batch->labels[s] = batch->label + used;
		for (int i = 0; i < n; i++) {
			const struct text *text = &corpus->text[rows[i]];

			if (batch->owner[i] == s) {
				batch->label[used] = text->label;
				batch->seq[used++] = (struct sequence){.ids = corpus->ids + text->at,
					.n = text->n,
					.second = text->second,
					.number = i,
					.row = row};
				slice->n++;
				slice->T += text->n;
			}
			row += text->n;
		}
	}
}
