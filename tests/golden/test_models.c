/*
 * A tiny BERT and a tiny RoBERTa from their files to loss and gradients, against PyTorch's known answers:
 * every layer's hidden states, logits, the three terms, and the gradient of every trained tensor.
 */
#include <unistd.h>

#include "tests/golden/golden.h"
#include "worker/train/predict.h"
#include "worker/train/train.h"

static const char *const FAMILIES[] = {"tests/golden/bert", "tests/golden/roberta"};

#ifdef OBLIVIATE_DOUBLE
static const double TOLERANCE = 1e-9;
#else
static const double TOLERANCE = 5e-5;
#endif

struct fixture {
	struct golden golden;
	struct config config;
	struct weights weights;
	struct params params;
	struct peft peft;
	struct head head;
	struct encoder encoder;
	struct corpus corpus;
	struct par *par;
	struct classifier model;
};

static void read_model(struct fixture *f, const char *directory)
{
	int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct err err = {0};

	assert_true(dir >= 0);
	assert_int_equal(config_read(&f->config, dir, &err), 0);
	assert_int_equal(weights_open(&f->weights, dir, &f->config, &err), 0);
	close(dir);
}

static void attach(struct fixture *f, const struct kernels *kernels)
{
	const json_t *expected = f->golden.root;
	struct peft_options options = {.r = golden_int(expected, "r"),
		.alpha = golden_number(expected, "alpha"),
		.targets = 1u << SITE_QUERY | 1u << SITE_VALUE};
	struct peft_shape shape = {.L = f->config.L, .D = f->config.D, .H = f->config.H};
	struct err err = {0};

	assert_int_equal(peft_declare(&f->peft, &peft_lora, &options, shape, &f->params, kernels, &err), 0);
	assert_int_equal(
		head_declare(&f->head, shape.D, golden_int(expected, "labels"), 0, &f->params, kernels, &err),
		0);
	assert_int_equal(params_alloc(&f->params, &err), 0);
	assert_int_equal(encoder_init(&f->encoder, &f->config, &f->weights, kernels, true, NULL, &err), 0);
	f->encoder.peft = &f->peft;
	f->model = (struct classifier){.encoder = &f->encoder, .head = &f->head, .params = &f->params};
	assert_int_equal(par_new(&f->par, 2, &err), 0);
}

static const json_t *tensor_of(const struct fixture *f, int number)
{
	return golden_get(golden_get(f->golden.root, "tensors"), f->params.param[number].name);
}

static void fill_tensors(struct fixture *f)
{
	assert_int_equal((int)json_object_size(golden_get(f->golden.root, "tensors")), f->params.n);
	for (int i = 0; i < f->params.n; i++) {
		const json_t *value = golden_get(tensor_of(f, i), "value");

		assert_int_equal(json_array_size(value), param_size(&f->params.param[i]));
		for (size_t e = 0; e < json_array_size(value); e++)
			param_w(&f->params, i)[e] = (real)json_number_value(json_array_get(value, e));
	}
}

static void fill_corpus(struct fixture *f)
{
	const json_t *rows = golden_get(f->golden.root, "rows"), *row;
	const json_t *classes = golden_get(f->golden.root, "classes");
	struct err err = {0};
	size_t i;

	json_array_foreach(rows, i, row)
	{
		int32_t ids[16];
		int n = (int)json_array_size(row);

		assert_true(n <= (int)NELEM(ids));
		for (int t = 0; t < n; t++)
			ids[t] = (int32_t)json_integer_value(json_array_get(row, (size_t)t));
		assert_int_equal(corpus_add_ids(&f->corpus, ids, n, n,
					 (int)json_integer_value(json_array_get(classes, i)), &err),
			0);
	}
}

static void fixture_open(struct fixture *f, const char *directory, const struct kernels *kernels)
{
	char path[64];

	*f = (struct fixture){0};
	snprintf(path, sizeof(path), "%s/expected.json", directory);
	golden_open(&f->golden, path);
	read_model(f, directory);
	attach(f, kernels);
	fill_tensors(f);
	fill_corpus(f);
}

static void fixture_done(struct fixture *f)
{
	par_free(f->par);
	corpus_done(&f->corpus);
	encoder_done(&f->encoder);
	params_done(&f->params);
	weights_done(&f->weights);
	golden_done(&f->golden);
}

/* Every family on every instruction set. */
static void for_each_fixture(void (*check)(struct fixture *f))
{
	static const char *const names[] = {"plain", "avx2", "avx512"};
	struct fixture f;

	for (size_t k = 0; k < NELEM(names); k++) {
		for (size_t i = 0; i < NELEM(FAMILIES) && kernels_named(names[k]) != NULL; i++) {
			fixture_open(&f, FAMILIES[i], kernels_named(names[k]));
			check(&f);
			fixture_done(&f);
		}
	}
}

/* --- checks -------------------------------------------------------------------------------------- */

static int all_sequences(struct sequence *seq, const struct corpus *corpus)
{
	int row = 0;

	for (int i = 0; i < corpus->n; i++) {
		const struct text *text = &corpus->text[i];

		seq[i] = (struct sequence){.ids = corpus->ids + text->at,
			.n = text->n,
			.second = text->second,
			.number = i,
			.row = row};
		row += text->n;
	}
	return row;
}

static void check_hidden(struct fixture *f)
{
	struct sequence seq[8];
	struct slice slice = {.n = f->corpus.n, .seq = seq};
	struct pass pass = {.all_rows = true};
	struct workspace ws;
	struct err err = {0};

	slice.T = all_sequences(seq, &f->corpus);
	assert_int_equal(
		workspace_init(&ws, &f->encoder, (struct slice_limits){slice.n, slice.T, f->corpus.longest},
			true, false, &err),
		0);
	encoder_fwd(&ws, &f->encoder, &slice, &pass);
	for (int l = 0; l <= f->config.L; l++)
		golden_check_list("hidden", encoder_hidden(&ws, &f->encoder, l),
			json_array_get(golden_get(f->golden.root, "hidden"), (size_t)l), TOLERANCE);
	workspace_done(&ws);
}

static void check_logits(struct fixture *f)
{
	const json_t *expected = golden_get(f->golden.root, "logits");
	real *logits = golden_zeros(&f->golden, json_array_size(expected));
	int label[8];
	struct err err = {0};

	assert_int_equal(predict(label, NULL, logits, &f->model, &f->corpus, f->par, &err), 0);
	golden_check_list("logits", logits, expected, TOLERANCE);
}

static void check_terms(const struct fixture *f, const struct step_result *result)
{
	const json_t *loss = golden_get(f->golden.root, "loss");

	golden_check_number("total", result->loss, golden_number(loss, "total"), TOLERANCE);
	golden_check_number("ce", result->ce, golden_number(loss, "ce"), TOLERANCE);
	golden_check_number("amplify", result->amplify, golden_number(loss, "amplify"), TOLERANCE);
	golden_check_number("attention", result->attention, golden_number(loss, "attention"), TOLERANCE);
}

static void check_gradient(struct fixture *f)
{
	struct train_options options = {.amplify = golden_number(f->golden.root, "amplify"),
		.attention = golden_number(f->golden.root, "attention"),
		.steps = 1,
		.no_dropout = true};
	int rows[] = {0, 1, 2};
	struct step_result result;
	struct trainer trainer;
	struct err err = {0};

	assert_int_equal(f->corpus.n, (int)NELEM(rows));
	assert_int_equal(
		trainer_init(&trainer, &f->model, &options, f->par, f->corpus.n, f->corpus.longest, &err), 0);
	trainer_gradient(&trainer, &result, &f->corpus, rows, f->corpus.n, 0);
	check_terms(f, &result);
	for (int i = 0; i < f->params.n; i++)
		golden_check_list(f->params.param[i].name, f->params.g + f->params.param[i].at,
			golden_get(tensor_of(f, i), "grad"), TOLERANCE);
	trainer_done(&trainer);
}

static void test_hidden_states_of_every_layer_are_known(void **state)
{
	for_each_fixture(check_hidden);
}

static void test_logits_are_known(void **state)
{
	for_each_fixture(check_logits);
}

static void test_loss_and_every_gradient_are_known(void **state)
{
	for_each_fixture(check_gradient);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hidden_states_of_every_layer_are_known),
		cmocka_unit_test(test_logits_are_known),
		cmocka_unit_test(test_loss_and_every_gradient_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
