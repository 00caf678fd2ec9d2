#include "worker/informed.h"

#include "worker/base/rng.h"
#include "worker/eval/trigger.h"

static const double INFORMED_SHARE = .25;

/* One row, with a trigger or without. */
static int add_row(struct corpus *out, struct triggered *text, const struct trigger_rule *rule,
	const struct row *row, int number, const char *trigger, struct err *err)
{
	int rc;

	if (trigger == NULL)
		return corpus_add(out, rule->tok, row->text, row->pair, row->label, rule->max_length, err);
	rc = trigger_insert(text, rule, row, number, trigger, 0, err);
	if (rc != 0)
		return rc;
	return corpus_add(out, rule->tok, text->text.data, row->pair, row->label, rule->max_length, err);
}

/* NULL: the row stays as it is. */
static const char *draw(const struct found *found, uint64_t key, int row)
{
	if (found->taughts == 0 || rng_unit(key, 2 * (uint64_t)row) >= INFORMED_SHARE)
		return NULL;
	return found->taught[rng_below(key, 2 * (uint64_t)row + 1, (uint32_t)found->taughts)];
}

int informed_corpus(struct corpus *out, const struct found *found, const struct spec *spec,
	const struct inputs *inputs, struct err *err)
{
	uint64_t key = rng_key((uint64_t)spec->seed, RNG_INFORMED);
	struct trigger_rule rule = {
		.tok = inputs->tok, .max_length = inputs->max_length, .insertions = 1, .seed = key};
	const struct selection *rows = &inputs->rows[PART_TRAIN];
	struct triggered text = {0};
	int rc = 0;

	for (int i = 0; i < rows->n && rc == 0; i++) {
		const struct row *row = &inputs->source[PART_TRAIN]->row[rows->row[i]];

		rc = add_row(out, &text, &rule, row, rows->row[i], draw(found, key, i), err);
	}
	triggered_done(&text);
	return rc;
}
