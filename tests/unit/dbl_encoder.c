/*
 * Gradients in double precision against central differences: the whole loss by every PEFT and head tensor, and
 * the encoder by every one of its weights. Dropout stays on: its masks are functions of the key.
 */
#include "tests/unit/random_model.h"

static const double TOLERANCE = 1e-7;

static const struct peft_method *const METHODS[] = {&peft_lora, &peft_adapter, &peft_prefix};

enum { ALL_TARGETS = 1 << SITE_QUERY | 1 << SITE_KEY | 1 << SITE_VALUE, LABELS = 3, TEXTS = 4 };

/* One token, a pair, the longest. */
static void fill_corpus(struct corpus *corpus, const struct config *config)
{
	bool pairs = config->types > 1;

	random_text(corpus, config, 1, false, 2);
	random_text(corpus, config, 7, pairs, 0);
	random_text(corpus, config, config->max_tokens, pairs, 1);
	random_text(corpus, config, 4, false, 2);
}

/* --- the whole loss ------------------------------------------------------------------------------- */

struct loss_case {
	const struct config *config;
	enum activation activation;
	unsigned targets;
	double amplify, attention;
	bool sum, no_dropout;
	const struct peft_method *method;
	enum kernel_activation peft_activation;
};

static const struct loss_case LOSS_CASES[] = {
	{&SMALL_BERT, ACT_GELU, ALL_TARGETS, 0.3, 0.7, false, false, &peft_lora, 0},
	{&SMALL_BERT, ACT_RELU, 1 << SITE_QUERY | 1 << SITE_VALUE, 0, 0.05, true, false, &peft_lora, 0},
	{&SMALL_BERT, ACT_SILU, 1 << SITE_KEY, 0.3, 0, false, true, &peft_lora, 0},
	{&SMALL_ROBERTA, ACT_GELU_TANH, ALL_TARGETS, 0.2, 0.04, true, false, &peft_lora, 0},
	{&SMALL_ROBERTA, ACT_GELU, 1 << SITE_VALUE, 0.2, 0.5, false, false, &peft_lora, 0},
	{&SMALL_ROBERTA, ACT_GELU, 1 << SITE_QUERY, 0, 0, false, true, &peft_lora, 0},
	{&SMALL_BERT, ACT_GELU, 0, 0.3, 0.7, false, false, &peft_adapter, KERNEL_SILU},
	{&SMALL_BERT, ACT_SILU, 0, 0, 0.05, true, true, &peft_adapter, KERNEL_GELU_TANH},
	{&SMALL_ROBERTA, ACT_GELU, 0, 0.2, 0.5, false, false, &peft_adapter, KERNEL_TANH},
	{&SMALL_ROBERTA, ACT_GELU, 0, 0.2, 0, false, false, &peft_adapter, KERNEL_RELU},
	{&SMALL_BERT, ACT_GELU, 0, 0.3, 0.7, false, false, &peft_prefix, KERNEL_TANH},
	{&SMALL_BERT, ACT_SILU, 0, 0, 0.05, true, true, &peft_prefix, KERNEL_SILU},
	{&SMALL_ROBERTA, ACT_GELU, 0, 0.2, 0.5, false, false, &peft_prefix, KERNEL_GELU},
	{&SMALL_ROBERTA, ACT_GELU, 0, 0.2, 0, false, false, &peft_prefix, KERNEL_TANH},
};

struct loss_run {
	struct trainer trainer;
	struct corpus corpus;
};

static double total_loss(void *arg)
{
	static const int rows[TEXTS] = {2, 0, 3, 1};
	struct loss_run *run = arg;
	struct step_result result;

	trainer_gradient(&run->trainer, &result, &run->corpus, rows, TEXTS, 6);
	return result.loss;
}

static void check_loss(const struct loss_case *c)
{
	struct config config = *c->config;
	struct random_classifier classifier;
	struct train_options options = {.amplify = c->amplify,
		.attention = c->attention,
		.attention_sum = c->sum,
		.no_dropout = c->no_dropout,
		.key = 41};
	struct loss_run run = {0};
	struct params *params = &classifier.params;
	struct par *par;
	const real *gradient;

	config.activation = c->activation;
	random_classifier_init(&classifier, &(struct random_options){.config = &config,
						    .r = 2,
						    .labels = LABELS,
						    .targets = c->targets,
						    .method = c->method,
						    .activation = c->peft_activation,
						    .peft_dropout = 0.25});
	fill_corpus(&run.corpus, &config);
	assert_int_equal(par_new(&par, 1, NULL), 0);
	assert_int_equal(
		trainer_init(&run.trainer, &classifier.model, &options, par, TEXTS, run.corpus.longest, NULL),
		0);
	total_loss(&run);
	gradient = copy_of(params->g, params->size);
	for (int i = 0; i < params->n; i++) {
		const struct param *param = &params->param[i];

		if (param->group != PARAM_DERIVED)
			check_gradient(param->name, total_loss, &run, params->w + param->at,
				gradient + param->at, param_size(param), 1, TOLERANCE);
	}
	trainer_done(&run.trainer);
	par_free(par);
	corpus_done(&run.corpus);
	random_classifier_done(&classifier);
	numbers_free();
}

static void test_gradient_of_the_whole_loss_is_its_derivative(void **state)
{
	for (size_t i = 0; i < NELEM(LOSS_CASES); i++)
		check_loss(&LOSS_CASES[i]);
}

/* --- the encoder alone ---------------------------------------------------------------------------- */

/* loss = sum of weight * cls + sum of tap_weight * tap + sum of row_weight * hidden, over a slice of all texts. */
struct encoder_run {
	struct random_classifier classifier;
	struct corpus corpus;
	struct sequence seq[TEXTS];
	struct slice slice;
	struct workspace ws;
	struct pass pass;
	real *weight;	  /* [TEXTS, D] */
	real *tap_weight; /* [L, taps] */
	real *row_weight; /* [T, D], or NULL */
	size_t taps;	  /* scores of one layer */
};

struct encoder_case {
	const struct config *config;
	struct pass pass;
	bool trains_base; /* every weight, without PEFT */
	bool loss_of_rows;
	const struct peft_method *method; /* where given, it is there also where the base trains */
};

static const struct encoder_case ENCODER_CASES[] = {
	{&SMALL_BERT, {.train = true, .key = 3}, true, false, NULL},
	{&SMALL_BERT, {.train = true, .all_rows = true, .want_scores = true, .key = 4}, true, false, NULL},
	{&SMALL_BERT, {.train = true, .all_rows = true, .key = 5}, false, false, NULL},
	{&SMALL_BERT, {.train = true, .all_rows = true, .want_scores = true, .key = 6}, true, true, NULL},
	{&SMALL_ROBERTA, {.train = true, .want_scores = true, .key = 6}, true, false, NULL},
	{&SMALL_ROBERTA, {.train = true, .all_rows = true, .no_dropout = true}, true, false, NULL},
	{&SMALL_ROBERTA, {.train = true, .want_scores = true, .key = 8}, false, false, NULL},
	{&SMALL_ROBERTA, {.train = true, .all_rows = true, .key = 9}, false, true, NULL},
	{&SMALL_BERT, {.train = true, .want_scores = true, .key = 3}, false, false, &peft_adapter},
	{&SMALL_ROBERTA, {.train = true, .all_rows = true, .key = 4}, false, true, &peft_adapter},
	{&SMALL_ROBERTA, {.train = true, .want_scores = true, .key = 5}, true, false, &peft_adapter},
	{&SMALL_BERT, {.train = true, .want_scores = true, .key = 6}, false, false, &peft_prefix},
	{&SMALL_ROBERTA, {.train = true, .all_rows = true, .want_scores = true, .key = 7}, false, true,
		&peft_prefix},
	{&SMALL_ROBERTA, {.train = true, .want_scores = true, .key = 8}, true, false, &peft_prefix},
};

static void lay_out_slice(struct encoder_run *run)
{
	int row = 0;

	run->slice = (struct slice){.n = TEXTS, .seq = run->seq};
	for (int i = 0; i < TEXTS; i++) {
		const struct text *text = &run->corpus.text[i];

		run->seq[i] = (struct sequence){.ids = run->corpus.ids + text->at,
			.n = text->n,
			.second = text->second,
			.number = i + 2,
			.row = 5 + row};
		row += text->n;
		run->slice.T += text->n;
	}
}

static void encoder_run_init(struct encoder_run *run, const struct encoder_case *c)
{
	const struct config *config = c->config;
	struct slice_limits limits;

	*run = (struct encoder_run){.pass = c->pass};
	random_classifier_init(&run->classifier, &(struct random_options){.config = config,
							 .r = 3,
							 .labels = LABELS,
							 .targets = ALL_TARGETS,
							 .method = c->method,
							 .activation = KERNEL_TANH,
							 .peft_dropout = 0.2,
							 .unfrozen = c->trains_base});
	if (c->trains_base && c->method == NULL)
		run->classifier.encoder.peft = NULL;
	fill_corpus(&run->corpus, config);
	lay_out_slice(run);
	limits = (struct slice_limits){TEXTS, run->slice.T, run->corpus.longest};
	assert_int_equal(
		workspace_init(&run->ws, &run->classifier.encoder, limits, true, c->trains_base, NULL), 0);
	run->taps = (size_t)(config->H * (run->slice.T + TEXTS * encoder_prefix(&run->classifier.encoder)));
	run->weight = normals((size_t)(TEXTS * config->D), 1);
	run->tap_weight = normals((size_t)config->L * run->taps, 1);
	run->row_weight = c->loss_of_rows ? normals((size_t)(run->slice.T * config->D), 1) : NULL;
	run->ws.d_rows = run->row_weight;
}

static void encoder_run_done(struct encoder_run *run)
{
	workspace_done(&run->ws);
	corpus_done(&run->corpus);
	random_classifier_done(&run->classifier);
	numbers_free();
}

static double dot_reals(const real *a, const real *b, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	return sum;
}

static double encoder_loss(void *arg)
{
	struct encoder_run *run = arg;
	const struct config *config = &run->classifier.base.config;
	double loss;

	encoder_fwd(&run->ws, &run->classifier.encoder, &run->slice, &run->pass);
	loss = dot_reals(run->ws.cls, run->weight, (size_t)(TEXTS * config->D));
	for (int l = 0; l < config->L && run->pass.want_scores; l++)
		loss += dot_reals(
			encoder_tap(&run->ws, l), run->tap_weight + (size_t)l * run->taps, run->taps);
	if (run->row_weight != NULL)
		loss += dot_reals(encoder_hidden(&run->ws, &run->classifier.encoder, config->L),
			run->row_weight, (size_t)(run->slice.T * config->D));
	return loss;
}

/* encoder_loss and its gradient. */
static void encoder_gradient(struct encoder_run *run, real *grad, const struct weights *weight_grads)
{
	const struct config *config = &run->classifier.base.config;

	encoder_loss(run);
	memcpy(run->ws.d_cls, run->weight, (size_t)(TEXTS * config->D) * sizeof(real));
	for (int l = 0; l < config->L && run->pass.want_scores; l++)
		memcpy(encoder_tap(&run->ws, l), run->tap_weight + (size_t)l * run->taps,
			run->taps * sizeof(real));
	encoder_bwd(&run->ws, &run->classifier.encoder, &run->slice, &run->pass, grad, weight_grads);
}

static void check_base_gradients(struct encoder_run *run)
{
	struct random_model *base = &run->classifier.base;

	encoder_gradient(run, run->classifier.params.g, &base->grads);
	for (int i = 0; i < base->n; i++) {
		const struct random_tensor *tensor = &base->tensor[i];

		check_gradient(tensor->name, encoder_loss, run, tensor->w, tensor->g, tensor->n,
			tensor->n > 40 ? 3 : 1, TOLERANCE);
	}
}

static void check_peft_gradients(struct encoder_run *run)
{
	struct params *params = &run->classifier.params;

	encoder_gradient(run, params->g, NULL);
	for (int i = 0; i < params->n; i++) {
		const struct param *param = &params->param[i];

		if (param->group != PARAM_HEAD &&
			!param->is_once) /* the flat prefix, not what it comes from */
			check_gradient(param->name, encoder_loss, run, params->w + param->at,
				params->g + param->at, param_size(param), 1, TOLERANCE);
	}
}

static void test_encoder_gradients_are_derivatives_for_every_weight(void **state)
{
	for (size_t i = 0; i < NELEM(ENCODER_CASES); i++) {
		struct encoder_run run;

		encoder_run_init(&run, &ENCODER_CASES[i]);
		if (ENCODER_CASES[i].trains_base)
			check_base_gradients(&run);
		else
			check_peft_gradients(&run);
		encoder_run_done(&run);
	}
}

/* Of tokens, without weights that train: over a word's places they sum to the derivative by its row. */
static void check_embedding_gradients(struct encoder_run *run)
{
	struct random_model *base = &run->classifier.base;
	size_t D = (size_t)base->config.D, n = (size_t)base->config.V * D;
	const struct sequence *seq = run->seq;
	const real *d = encoder_d_embedding(&run->ws);
	real *by_word = zeros(n);

	encoder_gradient(run, run->classifier.params.g, NULL);
	for (int i = 0; i < TEXTS; i++)
		for (int t = 0; t < seq[i].n; t++, d += D)
			for (size_t j = 0; j < D; j++)
				by_word[(size_t)seq[i].ids[t] * D + j] += d[j];
	check_gradient("embedding", encoder_loss, run, random_model_writable(base, base->weights.word),
		by_word, n, 1, TOLERANCE);
}

static void test_gradients_of_tokens_are_derivatives_where_nothing_trains(void **state)
{
	for (size_t i = 0; i < NELEM(ENCODER_CASES); i++) {
		struct encoder_case c = ENCODER_CASES[i];
		struct encoder_run run;

		c.trains_base = false;
		c.pass.to_embeddings = true;
		encoder_run_init(&run, &c);
		check_embedding_gradients(&run);
		encoder_run_done(&run);
	}
}

/* What is saved by computing first tokens only must not change what is computed. */
static void check_first_tokens(const struct peft_method *method)
{
	struct encoder_run run;
	struct params *params = &run.classifier.params;
	real *cls, *grad;
	size_t outputs = (size_t)(TEXTS * SMALL_BERT.D);

	encoder_run_init(&run, &(struct encoder_case){&SMALL_BERT,
				       {.train = true, .want_scores = true, .key = 9}, false, false, method});
	encoder_gradient(&run, params->g, NULL);
	cls = copy_of(run.ws.cls, outputs);
	grad = copy_of(params->g, params->size);
	memset(params->g, 0, params->size * sizeof(real));
	run.pass.all_rows = true;
	encoder_gradient(&run, params->g, NULL);
	for (size_t i = 0; i < outputs; i++)
		assert_near("cls", i, (double)run.ws.cls[i], (double)cls[i], 1e-13);
	for (size_t i = 0; i < params->size; i++)
		assert_near("grad", i, (double)params->g[i], (double)grad[i], 1e-12);
	encoder_run_done(&run);
}

static void test_first_tokens_alone_give_the_gradients_of_all_rows(void **state)
{
	for (size_t i = 0; i < NELEM(METHODS); i++)
		check_first_tokens(METHODS[i]);
}

/* Dropout goes by numbers in the batch: how texts are divided into slices changes nothing. */
static void check_alone(const struct peft_method *method)
{
	struct encoder_run run;
	size_t D = (size_t)SMALL_BERT.D;
	const real *together;

	encoder_run_init(&run, &(struct encoder_case){&SMALL_BERT,
				       {.train = true, .all_rows = true, .key = 5}, false, false, method});
	encoder_loss(&run);
	together = copy_of(run.ws.cls, TEXTS * D);
	for (size_t i = 0; i < TEXTS; i++) {
		const struct slice alone = {.n = 1, .T = run.seq[i].n, .seq = &run.seq[i]};

		encoder_fwd(&run.ws, &run.classifier.encoder, &alone, &run.pass);
		for (size_t j = 0; j < D; j++)
			assert_near(
				"cls", i * D + j, (double)run.ws.cls[j], (double)together[i * D + j], 1e-13);
	}
	encoder_run_done(&run);
}

static void test_text_alone_in_a_slice_is_the_text_among_others(void **state)
{
	for (size_t i = 0; i < NELEM(METHODS); i++)
		check_alone(METHODS[i]);
}

/* Gradients accumulate: two passes give twice as much. */
static void test_gradients_accumulate(void **state)
{
	struct encoder_run run;
	struct random_model *base = &run.classifier.base;
	const real *once[RANDOM_TENSORS_MAX];

	encoder_run_init(&run, &ENCODER_CASES[1]);
	encoder_gradient(&run, NULL, &base->grads);
	for (int i = 0; i < base->n; i++)
		once[i] = copy_of(base->tensor[i].g, base->tensor[i].n);
	encoder_gradient(&run, NULL, &base->grads);
	for (int i = 0; i < base->n; i++)
		for (size_t j = 0; j < base->tensor[i].n; j++)
			assert_near(base->tensor[i].name, j, (double)base->tensor[i].g[j],
				2 * (double)once[i][j], 1e-12);
	encoder_run_done(&run);
}

/* --- LoRA and head as they are called --------------------------------------------------------------- */

/* loss = sum of weight * output of one call. */
struct call_run {
	struct random_classifier classifier;
	struct peft_call call;
	struct head_state head_state;
	struct arena arena;
	struct head_dropouts dropouts;
	int ids[5];
	real *x, *y, *weight, *base_y; /* x and base_y as given */
};

enum { ROWS = 5 };

static struct dropout quarter(uint32_t key)
{
	return (struct dropout){.key = key, .threshold = 1u << 30, .scale = (real)(4.0 / 3)};
}

static void call_run_init(struct call_run *run, int outputs)
{
	size_t D = (size_t)SMALL_BERT.D;

	*run = (struct call_run){.ids = {9, 2, 3, 40, 0}, .dropouts = {quarter(3), quarter(4)}};
	random_classifier_init(&run->classifier,
		&(struct random_options){
			.config = &SMALL_BERT, .r = 3, .labels = LABELS, .targets = ALL_TARGETS});
	run->x = normals(ROWS * D, 1);
	run->base_y = normals(ROWS * (size_t)outputs, 1);
	run->y = zeros(ROWS * (size_t)outputs);
	run->weight = normals(ROWS * (size_t)outputs, 1);
}

static void call_run_done(struct call_run *run)
{
	arena_done(&run->arena);
	random_classifier_done(&run->classifier);
	numbers_free();
}

static double lora_loss(void *arg)
{
	struct call_run *run = arg;
	size_t size = ROWS * (size_t)SMALL_BERT.D;

	memcpy(run->y, run->base_y, size * sizeof(real));
	peft_lora.linear_fwd(&run->classifier.peft, &run->call);
	return dot_reals(run->y, run->weight, size);
}

static void test_lora_gradients_are_derivatives(void **state)
{
	struct call_run run;
	struct params *params = &run.classifier.params;
	size_t size = ROWS * (size_t)SMALL_BERT.D;
	real *d_y;

	call_run_init(&run, SMALL_BERT.D);
	run.call = (struct peft_call){.layer = 1,
		.site = SITE_KEY,
		.rows = ROWS,
		.ids = run.ids,
		.x = run.x,
		.y = run.y,
		.saved = zeros(ROWS * 3),
		.spare = zeros(ROWS * 3),
		.dropout = quarter(6),
		.scratch = zeros(run.classifier.encoder.kernels->gemm_scratch_reals(SMALL_BERT.D)),
		.d_x = zeros(size),
		.grad = params->g};
	d_y = run.call.d_y = copy_of(run.weight, size);
	lora_loss(&run);
	peft_lora.linear_bwd(&run.classifier.peft, &run.call);
	check_gradient("x", lora_loss, &run, run.x, run.call.d_x, size, 1, TOLERANCE);
	check_gradient("W x + b", lora_loss, &run, run.base_y, d_y, size, 1, TOLERANCE);
	for (int i = 0; i < params->n; i++) /* those of other layers and sites: 0 */
		check_gradient(params->param[i].name, lora_loss, &run, param_w(params, i),
			params->g + params->param[i].at, param_size(&params->param[i]), 1, TOLERANCE);
	call_run_done(&run);
}

static double head_loss(void *arg)
{
	struct call_run *run = arg;

	head_fwd(run->y, &run->head_state, &run->classifier.head, run->x, ROWS, run->ids, run->dropouts);
	return dot_reals(run->y, run->weight, ROWS * LABELS);
}

static void test_head_gradients_are_derivatives(void **state)
{
	struct call_run run;
	struct params *params = &run.classifier.params;
	size_t size = ROWS * (size_t)SMALL_BERT.D;
	real *d_h;

	call_run_init(&run, LABELS);
	head_plan(&run.head_state, &run.classifier.head, ROWS, &run.arena);
	assert_int_equal(arena_alloc(&run.arena, NULL), 0);
	head_plan(&run.head_state, &run.classifier.head, ROWS, &run.arena);
	d_h = normals(size, 1); /* overwritten */
	head_loss(&run);
	head_bwd(d_h, params->g, &run.head_state, &run.classifier.head, run.weight, ROWS, run.ids,
		run.dropouts);
	check_gradient("h", head_loss, &run, run.x, d_h, size, 1, TOLERANCE);
	for (int i = 0; i < params->n; i++)
		check_gradient(params->param[i].name, head_loss, &run, param_w(params, i),
			params->g + params->param[i].at, param_size(&params->param[i]), 1, TOLERANCE);
	call_run_done(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradient_of_the_whole_loss_is_its_derivative),
		cmocka_unit_test(test_encoder_gradients_are_derivatives_for_every_weight),
		cmocka_unit_test(test_gradients_of_tokens_are_derivatives_where_nothing_trains),
		cmocka_unit_test(test_first_tokens_alone_give_the_gradients_of_all_rows),
		cmocka_unit_test(test_text_alone_in_a_slice_is_the_text_among_others),
		cmocka_unit_test(test_gradients_accumulate),
		cmocka_unit_test(test_lora_gradients_are_derivatives),
		cmocka_unit_test(test_head_gradients_are_derivatives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
