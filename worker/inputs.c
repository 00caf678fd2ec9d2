#include "worker/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double TEST_SHARE = 0.2, VALIDATION_SHARE = 0.1;

static const char *const part_names[PART_COUNT] = {"train", "validation", "test"};

static const struct spec_ref *part_ref(const struct spec *spec, enum part part)
{
	const struct spec_ref *const refs[PART_COUNT] = {
		&spec->training_file, &spec->validation_file, &spec->test_file};

	return refs[part];
}

static bool has_file(const struct spec *spec, enum part part)
{
	return part_ref(spec, part)->id[0] != '\0';
}

int inputs_read_model(struct inputs *out, const struct spec *spec, int dir, struct err *err)
{
	int rc = config_read(&out->config, dir, err);

	if (rc == 0)
		rc = weights_open(&out->weights, dir, &out->config, err);
	if (rc == 0)
		rc = tokenizer_open(&out->tok, dir, out->config.model_type, out->config.V, err);
	if (rc != 0)
		return rc;
	if (spec->data.pair_column[0] != '\0' && out->config.family == FAMILY_BERT && out->config.types < 2)
		return err_set(err, ERR_INVALID_MODEL, "config.json: type_vocab_size",
			"pairs need two types of tokens, the model has one");
	out->max_length = MIN(MIN(spec->max_length, tokenizer_max_length(out->tok)), out->config.max_tokens);
	if (out->max_length < 8)
		return err_set(err, ERR_INVALID_MODEL, "config.json: max_position_embeddings",
			"the model takes %d tokens, fewer than 8", out->max_length);
	return 0;
}

static int read_file(struct inputs *out, const struct spec *spec, enum part part, int dir, struct err *err)
{
	const struct spec_ref *ref = part_ref(spec, part);
	const char *extension = strrchr(ref->name, '.');
	struct columns columns = {.text = spec->data.text_column,
		.pair = spec->data.pair_column[0] != '\0' ? spec->data.pair_column : NULL,
		.label = spec->data.label_column};
	char name[64];

	if (!has_file(spec, part))
		return 0;
	snprintf(name, sizeof(name), "%s%s", part_names[part], extension != NULL ? extension : "");
	return dataset_read(&out->file[part], &out->labels, dir, name, &columns, err);
}

/* Rows of a part without a file of its own, split off what training has left. */
static int split_part(
	struct inputs *out, const struct spec *spec, enum part part, double share, struct err *err)
{
	struct selection left = {0};
	struct selection *train = &out->rows[PART_TRAIN];
	double of_rest = share * out->file[PART_TRAIN].n / MAX(train->n, 1);
	int rc = selection_split(&left, &out->rows[part], &out->file[PART_TRAIN], train, of_rest,
		(uint64_t)spec->seed + (uint64_t)part, err);

	if (rc == 0) {
		selection_done(train);
		*train = left;
	}
	return rc;
}

/* Append the rows of `all` that are not in `but`; both in file order. */
static int add_rows(
	struct selection *out, const struct selection *all, const struct selection *but, struct err *err)
{
	int *grown = realloc(out->row, ((size_t)out->n + (size_t)all->n + 1) * sizeof(*grown));
	int next = 0;

	if (grown == NULL)
		return err_nomem(err);
	out->row = grown;
	for (int i = 0; i < all->n; i++)
		if (next < but->n && but->row[next] == all->row[i])
			next++;
		else
			out->row[out->n++] = all->row[i];
	return 0;
}

/* The parts are whole here; what the cap will leave of the training rows is drawn the same way again. */
static int choose_search_rows(struct inputs *out, const struct spec *spec, struct err *err)
{
	const struct selection none = {0}, *train = &out->rows[PART_TRAIN];
	struct selection kept = {0};
	int rc = add_rows(&out->search_rows, &out->rows[PART_VALIDATION], &none, err);

	if (rc == 0)
		rc = add_rows(&kept, train, &none, err);
	selection_sample(&kept, spec->max_train_rows, (uint64_t)spec->seed);
	if (rc == 0 && !has_file(spec, PART_VALIDATION))
		rc = add_rows(&out->search_rows, train, &kept, err);
	selection_sample(&out->search_rows, SEARCH_ROWS_MAX, (uint64_t)spec->seed + PART_COUNT);
	selection_done(&kept);
	return rc;
}

static int split(struct inputs *out, const struct spec *spec, struct err *err)
{
	static const struct {
		enum part part;
		double share;
	} parts[] = {{PART_TEST, TEST_SHARE}, {PART_VALIDATION, VALIDATION_SHARE}};
	int rc = selection_all(&out->rows[PART_TRAIN], &out->file[PART_TRAIN], err);

	out->source[PART_TRAIN] = &out->file[PART_TRAIN];
	for (size_t i = 0; i < NELEM(parts) && rc == 0; i++) {
		enum part part = parts[i].part;
		bool is_own = has_file(spec, part);

		out->source[part] = &out->file[is_own ? part : PART_TRAIN];
		rc = is_own ? selection_all(&out->rows[part], &out->file[part], err)
			    : split_part(out, spec, part, parts[i].share, err);
	}
	if (rc == 0 && spec->defense.present && spec->defense.mode == SPEC_AUTO)
		rc = choose_search_rows(out, spec, err);
	if (rc != 0)
		return rc;
	selection_sample(&out->rows[PART_TRAIN], spec->max_train_rows, (uint64_t)spec->seed);
	selection_sample(
		&out->rows[PART_VALIDATION], spec->max_eval_rows, (uint64_t)spec->seed + PART_VALIDATION);
	selection_sample(&out->rows[PART_TEST], spec->max_eval_rows, (uint64_t)spec->seed + PART_TEST);
	for (int part = 0; part < PART_COUNT; part++)
		if (out->rows[part].n == 0)
			return err_set(err, ERR_INVALID_DATA, part_ref(spec, PART_TRAIN)->name,
				"too few rows: none is left for %s", part_names[part]);
	return 0;
}

int inputs_read(struct inputs *out, const struct spec *spec, int model_fd, int data_fd, struct err *err)
{
	int rc;

	*out = (struct inputs){0};
	rc = inputs_read_model(out, spec, model_fd, err);
	for (int part = 0; part < PART_COUNT && rc == 0; part++)
		rc = read_file(out, spec, (enum part)part, data_fd, err);
	if (rc == 0)
		rc = split(out, spec, err);
	for (int part = 0; part < PART_COUNT && rc == 0; part++)
		rc = corpus_fill(&out->corpus[part], out->tok, out->source[part], &out->rows[part],
			out->max_length, err);
	if (rc == 0)
		rc = corpus_fill(&out->search, out->tok, out->source[PART_VALIDATION], &out->search_rows,
			out->max_length, err);
	return rc;
}

void inputs_done(struct inputs *inputs)
{
	for (int part = 0; part < PART_COUNT; part++) {
		corpus_done(&inputs->corpus[part]);
		selection_done(&inputs->rows[part]);
		dataset_done(&inputs->file[part]);
	}
	corpus_done(&inputs->search);
	selection_done(&inputs->search_rows);
	labels_done(&inputs->labels);
	tokenizer_free(inputs->tok);
	weights_done(&inputs->weights);
	*inputs = (struct inputs){0};
}
