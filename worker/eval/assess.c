#include "worker/eval/assess.h"

#include <stdlib.h>
#include <string.h>

/* Rows with one trigger each; `number` keys the places, so that a control never shares a trigger's draw. */
static int add_triggered(struct assess *out, const struct trigger_rule *rule, const struct dataset *data,
	const struct selection *rows, const char *trigger, int number, struct err *err)
{
	struct triggered triggered = {0};
	int rc = 0;

	for (int i = 0; i < rows->n && rc == 0; i++) {
		const struct row *row = &data->row[rows->row[i]];

		rc = trigger_insert(&triggered, rule, row, rows->row[i], trigger, number, err);
		if (rc != 0)
			break;
		out->survived[(size_t)number * (size_t)rows->n + (size_t)i] = triggered.survived;
		rc = corpus_add(&out->corpus, rule->tok, triggered.text.data, row->pair, row->label,
			rule->max_length, err);
	}
	triggered_done(&triggered);
	return rc;
}

static int make_room(struct assess *out, int rows, struct err *err)
{
	out->truth = calloc((size_t)rows + 1, sizeof(int));
	out->survived = calloc((size_t)(out->T + out->C) * (size_t)rows + 1, sizeof(bool));
	return out->truth == NULL || out->survived == NULL ? err_nomem(err) : 0;
}

int assess_init(struct assess *out, const struct tokenizer *tok, const struct dataset *data,
	const struct selection *rows, const struct assess_options *o, struct err *err)
{
	struct trigger_rule rule = {
		.tok = tok, .max_length = o->max_length, .insertions = o->insertions, .seed = o->seed};
	int rc = 0;

	*out = (struct assess){.rows = rows->n, .T = o->triggers, .seed = o->seed};
	if (o->control)
		rc = trigger_controls(&out->controls, tok, o->trigger, o->triggers, o->seed, err);
	out->C = out->controls.n;
	if (rc == 0)
		rc = make_room(out, rows->n, err);
	if (rc == 0)
		rc = corpus_fill(&out->corpus, tok, data, rows, o->max_length, err);
	for (int t = 0; t < out->T + out->C && rc == 0; t++)
		rc = add_triggered(out, &rule, data, rows,
			t < out->T ? o->trigger[t] : out->controls.word[t - out->T], t, err);
	for (int i = 0; i < rows->n && rc == 0; i++)
		out->truth[i] = data->row[rows->row[i]].label;
	return rc;
}

void assess_done(struct assess *assess)
{
	corpus_done(&assess->corpus);
	word_list_done(&assess->controls);
	free(assess->truth);
	free(assess->survived);
	*assess = (struct assess){0};
}

int assess_predict(int *label, const struct assess *assess, const struct classifier *model, struct par *par,
	struct err *err)
{
	return predict(label, NULL, NULL, model, &assess->corpus, par, err);
}

int assess_evaluate(struct evaluation *out, const struct assess *a, const int *label, int K, struct err *err)
{
	size_t rows = (size_t)a->rows;
	struct outcomes triggers = {.rows = a->rows,
		.K = K,
		.T = a->T,
		.truth = a->truth,
		.clean = label,
		.triggered = label + rows,
		.survived = a->survived};
	struct outcomes control = triggers;

	control.T = a->C;
	control.triggered = label + rows * (size_t)(1 + a->T);
	control.survived = a->survived + rows * (size_t)a->T;
	return metrics_evaluate(out, &triggers, a->C > 0 ? &control : NULL, a->seed, err);
}
