/*
 * probe: our side of the oracles and of the bench. `probe REQUEST.json` runs one command on the worker's
 * library and writes tensors, so that Python compares numbers and no random generator has to match.
 * `probe --has KERNELS` succeeds where the processor runs these kernels.
 *
 *   hidden  hidden.I [tokens, D] for I = 0 (embeddings) .. L, and logits [rows, labels]
 *   grad    loss.{total,ce,amplify,attention} and grad.NAME of every trained tensor, dropout off
 *   train   trace.{loss,ce,amplify,attention,learning_rate,grad_norm} [steps] and tensor.NAME, dropout off
 *   bench   trains with dropout; one JSON line on stdout: {seconds, cpu_seconds, tokens, steps,
 *          peak_rss_bytes}
 *   predict classifies all rows, twice, and times the second; the same line, steps 1
 *
 * Request: command, model (directory), tensors and out (safetensors), threads, kernels, precision, rows (lists of
 * token ids), second, classes, labels, peft (lora, adapter, prefix) with r, alpha, bottleneck, activation, length
 * and mlp_width, and for training batches (lists of row numbers),
 * learning_rate, warmup_ratio, amplify, attention, reduction, dropout. bench and predict take no tensors: they draw
 * them.
 *
 * A test program: it trusts its request, and ends at the first error.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/json.h"
#include "worker/base/rng.h"
#include "worker/data/safetensors.h"
#include "worker/train/predict.h"
#include "worker/train/train.h"

enum { REQUEST_BYTES_MAX = 1 << 28, OUTPUTS_MAX = 4096 };

struct probe {
	json_t *request;
	struct config config;
	struct weights weights;
	struct params params;
	struct peft peft;
	struct head head;
	struct encoder encoder;
	struct classifier model;
	struct corpus corpus;
	struct par *par;
	struct st_tensor output[OUTPUTS_MAX];
	int outputs;
};

/* --- failing ------------------------------------------------------------------------------------- */

static _Noreturn void die(const struct err *err)
{
	fprintf(stderr, "probe: %s: %s: %s\n", err_name(err->code), err->where, err->text);
	exit(1);
}

static void must(int rc, const struct err *err)
{
	if (rc < 0)
		die(err);
}

static void *must_have(void *memory)
{
	struct err err = {0};

	if (memory == NULL)
		must(err_nomem(&err), &err);
	return memory;
}

/* --- the request --------------------------------------------------------------------------------- */

static json_t *field(const struct probe *probe, const char *name)
{
	json_t *value = json_object_get(probe->request, name);
	struct err err = {0};

	if (value == NULL)
		must(err_set(&err, ERR_MISSING_FIELD, name, "the request has no such field"), &err);
	return value;
}

static const char *text_of(const struct probe *probe, const char *name)
{
	return json_string_value(field(probe, name));
}

static double number_or(const struct probe *probe, const char *name, double otherwise)
{
	const json_t *value = json_object_get(probe->request, name);

	return value != NULL ? json_number_value(value) : otherwise;
}

static int int_at(const json_t *list, size_t i)
{
	return (int)json_integer_value(json_array_get(list, i));
}

static void read_request(struct probe *probe, const char *path)
{
	struct buf text = {0};
	struct err err = {0};

	must(io_read_file(&text, AT_FDCWD, path, REQUEST_BYTES_MAX, &err), &err);
	must(json_parse(&probe->request, text.data, text.len, path, &err), &err);
	buf_done(&text);
}

/* --- the model ----------------------------------------------------------------------------------- */

static const struct kernels *chosen_kernels(const struct probe *probe)
{
	const json_t *name = json_object_get(probe->request, "kernels");

	return name != NULL ? kernels_named(json_string_value(name)) : kernels_best();
}

/* "precision": "bf16" holds the frozen weights in bfloat16. */
static enum linear_form chosen_form(const struct probe *probe)
{
	const char *name = json_string_value(json_object_get(probe->request, "precision"));

	return name != NULL && strcmp(name, "bf16") == 0 ? LINEAR_BF16 : LINEAR_FLOAT32;
}

static const struct peft_method *chosen_method(const struct probe *probe)
{
	static const struct peft_method *const methods[] = {&peft_lora, &peft_adapter, &peft_prefix};
	const char *name = json_string_value(json_object_get(probe->request, "peft"));

	for (size_t i = 0; i < NELEM(methods) && name != NULL; i++)
		if (strcmp(methods[i]->name, name) == 0)
			return methods[i];
	return &peft_lora;
}

static enum kernel_activation chosen_activation(const struct probe *probe)
{
	static const char *const names[] = {[KERNEL_GELU] = "gelu",
		[KERNEL_GELU_TANH] = "gelu_tanh",
		[KERNEL_RELU] = "relu",
		[KERNEL_SILU] = "silu",
		[KERNEL_TANH] = "tanh"};
	const char *name = json_string_value(json_object_get(probe->request, "activation"));

	for (size_t i = 0; i < NELEM(names) && name != NULL; i++)
		if (strcmp(names[i], name) == 0)
			return (enum kernel_activation)i;
	return chosen_method(probe) == &peft_prefix ? KERNEL_TANH : KERNEL_SILU;
}

static void load_model(struct probe *probe)
{
	const struct kernels *kernels = chosen_kernels(probe);
	int labels = (int)json_integer_value(field(probe, "labels"));
	struct peft_options options = {.r = (int)number_or(probe, "r", 16),
		.alpha = number_or(probe, "alpha", 16),
		.targets = 1u << SITE_QUERY | 1u << SITE_VALUE,
		.bottleneck = (int)number_or(probe, "bottleneck", 24),
		.activation = chosen_activation(probe),
		.length = (int)number_or(probe, "length", 30),
		.mlp_width = (int)number_or(probe, "mlp_width", 256),
		.dropout = number_or(probe, "dropout", 0)};
	struct peft_shape shape;
	struct err err = {0};
	int dir = open(text_of(probe, "model"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(config_read(&probe->config, dir, &err), &err);
	must(weights_open(&probe->weights, dir, &probe->config, &err), &err);
	close(dir);
	shape = (struct peft_shape){.L = probe->config.L, .D = probe->config.D, .H = probe->config.H};
	must(peft_declare(&probe->peft, chosen_method(probe), &options, shape, &probe->params, kernels, &err),
		&err);
	must(head_declare(&probe->head, shape.D, labels, probe->config.classifier_dropout, &probe->params,
		     kernels, &err),
		&err);
	must(params_alloc(&probe->params, &err), &err);
	must(encoder_init(&probe->encoder, &probe->config, &probe->weights, kernels, chosen_form(probe), NULL,
		     &err),
		&err);
	probe->encoder.peft = &probe->peft;
	probe->model = (struct classifier){
		.encoder = &probe->encoder, .head = &probe->head, .params = &probe->params};
	must(par_new(&probe->par, (int)number_or(probe, "threads", 1), &err), &err);
}

static bool is_trained(const struct param *param)
{
	return param->group != PARAM_DERIVED;
}

static int trained_tensors(const struct params *params)
{
	int n = 0;

	for (int i = 0; i < params->n; i++)
		n += is_trained(&params->param[i]);
	return n;
}

/* Trained tensors as Python drew them: F32, by name, none left out on either side. */
static void load_tensors(struct probe *probe)
{
	struct params *params = &probe->params;
	struct st st = {0};
	struct err err = {0};

	must(st_open(&st, AT_FDCWD, text_of(probe, "tensors"), &err), &err);
	if (st.n != trained_tensors(params))
		must(err_set(&err, ERR_INVALID_VALUE, "tensors", "%d given, %d wanted", st.n,
			     trained_tensors(params)),
			&err);
	for (int i = 0; i < params->n; i++) {
		const struct param *param = &params->param[i];
		const struct st_tensor *tensor = st_find(&st, param->name);

		if (!is_trained(param))
			continue;
		if (tensor == NULL || tensor->dtype != ST_F32 || st_elements(tensor) != param_size(param))
			must(err_set(&err, ERR_INVALID_VALUE, param->name, "missing, or of another size"),
				&err);
		else
			memcpy(param_w(params, i), tensor->data, param_size(param) * sizeof(real));
	}
	st_done(&st);
	peft_prepare(&probe->peft);
}

static void draw_tensors(struct probe *probe)
{
	uint64_t key = rng_key((uint64_t)number_or(probe, "seed", 0), RNG_INIT);

	probe->peft.method->init(&probe->peft, key);
	head_init(&probe->head, key);
}

static void load_rows(struct probe *probe)
{
	const json_t *rows = field(probe, "rows"), *second = json_object_get(probe->request, "second");
	const json_t *classes = json_object_get(probe->request, "classes");
	struct err err = {0};

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);
		size_t n = json_array_size(row);
		int32_t *ids = must_have(calloc(n, sizeof(*ids)));

		for (size_t t = 0; t < n; t++)
			ids[t] = int_at(row, t);
		must(corpus_add_ids(&probe->corpus, ids, (int)n, second != NULL ? int_at(second, i) : (int)n,
			     classes != NULL ? int_at(classes, i) : 0, &err),
			&err);
		free(ids);
	}
}

/* --- output -------------------------------------------------------------------------------------- */

/* Add PREFIX.NAME [rows, cols] (or [cols] when rows is 0); data is copied. */
static void put(struct probe *probe, const char *prefix, const char *name, enum st_dtype dtype, size_t rows,
	size_t cols, const void *data)
{
	size_t bytes = MAX(rows, 1) * cols * (dtype == ST_F64 ? sizeof(double) : sizeof(real));
	size_t room = strlen(prefix) + strlen(name) + 2;
	char *label = must_have(malloc(room));
	struct st_tensor *out =
		must_have(probe->outputs < OUTPUTS_MAX ? &probe->output[probe->outputs] : NULL);

	snprintf(label, room, "%s%s%s", prefix, *prefix != '\0' ? "." : "", name);
	*out = (struct st_tensor){.name = label, .dtype = dtype, .rank = rows > 0 ? 2 : 1};
	out->shape[0] = rows > 0 ? rows : cols;
	out->shape[1] = cols;
	out->data = memcpy(must_have(malloc(bytes)), data, bytes);
	probe->outputs++;
}

/* The values (or gradients) of every trained tensor. */
static void put_params(struct probe *probe, const char *prefix, const real *values)
{
	for (int i = 0; i < probe->params.n; i++) {
		const struct param *param = &probe->params.param[i];
		bool is_bias = strstr(param->name, ".bias") != NULL;

		if (is_trained(param))
			put(probe, prefix, param->name, ST_REAL, is_bias ? 0 : (size_t)param->rows,
				(size_t)param->cols, values + param->at);
	}
}

static void write_outputs(struct probe *probe)
{
	struct st_metadata metadata = {.key = "format", .value = "pt"};
	struct err err = {0};
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	must(st_write(here, text_of(probe, "out"), probe->output, probe->outputs, &metadata, 1, &err), &err);
	close(here);
}

/* --- hidden -------------------------------------------------------------------------------------- */

/* Copy a slice's hidden states of one layer to the rows' own places in the batch, [tokens, D]. */
static void scatter(real *out, const real *hidden, const struct slice *slice, int D)
{
	for (int i = 0; i < slice->n; i++) {
		size_t reals = (size_t)slice->seq[i].n * (size_t)D;

		memcpy(out + (size_t)slice->seq[i].row * (size_t)D, hidden, reals * sizeof(real));
		hidden += reals;
	}
}

static int *all_rows(const struct probe *probe)
{
	int *rows = must_have(calloc((size_t)probe->corpus.n, sizeof(*rows)));

	for (int i = 0; i < probe->corpus.n; i++)
		rows[i] = i;
	return rows;
}

static void put_hidden(struct probe *probe)
{
	int n = probe->corpus.n, longest = probe->corpus.longest, L = probe->config.L, D = probe->config.D;
	int slices = batch_most_slices(n, longest), *rows = all_rows(probe);
	size_t layer_reals = corpus_tokens(&probe->corpus) * (size_t)D;
	real *hidden = must_have(calloc((size_t)(L + 1) * layer_reals, sizeof(*hidden)));
	struct pass pass = {.all_rows = true};
	struct workspace ws = {0};
	struct batch batch = {0};
	struct err err = {0};

	must(batch_init(&batch, n, slices, &err), &err);
	must(workspace_init(&ws, &probe->encoder, batch_limits(n, longest, slices), true, false, &err), &err);
	batch_fill(&batch, &probe->corpus, rows, n);
	for (int s = 0; s < batch.slices; s++) {
		encoder_fwd(&ws, &probe->encoder, &batch.slice[s], &pass);
		for (int l = 0; l <= L; l++)
			scatter(hidden + (size_t)l * layer_reals, encoder_hidden(&ws, &probe->encoder, l),
				&batch.slice[s], D);
	}
	for (int l = 0; l <= L; l++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", l);
		put(probe, "hidden", name, ST_REAL, layer_reals / (size_t)D, (size_t)D,
			hidden + (size_t)l * layer_reals);
	}
	workspace_done(&ws);
	batch_done(&batch);
	free(hidden);
	free(rows);
}

/* Logits as evaluation computes them: sorted, sliced, on all threads, the last layer for first tokens only. */
static void put_logits(struct probe *probe)
{
	size_t n = (size_t)probe->corpus.n, K = (size_t)probe->head.K;
	real *logits = must_have(calloc(n * K, sizeof(*logits)));
	int *label = must_have(calloc(n, sizeof(*label)));
	struct err err = {0};

	must(predict(label, NULL, logits, &probe->model, &probe->corpus, probe->par, &err), &err);
	put(probe, "", "logits", ST_REAL, n, K, logits);
	free(logits);
	free(label);
}

static void command_hidden(struct probe *probe)
{
	load_tensors(probe);
	put_hidden(probe);
	put_logits(probe);
	write_outputs(probe);
}

/* --- training ------------------------------------------------------------------------------------ */

static struct train_options options_of(const struct probe *probe, int64_t steps, bool no_dropout)
{
	const json_t *reduction = json_object_get(probe->request, "reduction");

	return (struct train_options){.amplify = number_or(probe, "amplify", 0),
		.attention = number_or(probe, "attention", 0),
		.attention_sum = reduction != NULL && strcmp(json_string_value(reduction), "sum") == 0,
		.learning_rate = number_or(probe, "learning_rate", 0),
		.steps = steps,
		.warmup = (int64_t)ceil(number_or(probe, "warmup_ratio", 0) * (double)steps),
		.clip = 1,
		.no_dropout = no_dropout,
		.key = rng_key((uint64_t)number_or(probe, "seed", 0), RNG_DROPOUT)};
}

static void command_grad(struct probe *probe)
{
	struct train_options options = options_of(probe, 1, true);
	struct trainer trainer;
	struct step_result result;
	struct err err = {0};
	int *rows = all_rows(probe);

	load_tensors(probe);
	must(trainer_init(&trainer, &probe->model, &options, probe->par, probe->corpus.n,
		     probe->corpus.longest, &err),
		&err);
	trainer_gradient(&trainer, &result, &probe->corpus, rows, probe->corpus.n, 0);
	put(probe, "loss", "total", ST_F64, 0, 1, &result.loss);
	put(probe, "loss", "ce", ST_F64, 0, 1, &result.ce);
	put(probe, "loss", "amplify", ST_F64, 0, 1, &result.amplify);
	put(probe, "loss", "attention", ST_F64, 0, 1, &result.attention);
	put_params(probe, "grad", probe->params.g);
	write_outputs(probe);
	trainer_done(&trainer);
	free(rows);
}

static size_t largest_batch(const json_t *batches)
{
	size_t largest = 0;

	for (size_t i = 0; i < json_array_size(batches); i++)
		largest = MAX(largest, json_array_size(json_array_get(batches, i)));
	return largest;
}

/* A step on batches[step]; `rows` has room for the largest. */
static void one_step(struct probe *probe, struct trainer *trainer, struct step_result *result, int *rows,
	const json_t *batches, size_t step)
{
	const json_t *batch = json_array_get(batches, step);
	size_t n = json_array_size(batch);

	for (size_t i = 0; i < n; i++)
		rows[i] = int_at(batch, i);
	trainer_step(trainer, result, &probe->corpus, rows, (int)n, (int64_t)step);
}

/* The series of the trace, each a double of struct step_result. */
static const struct {
	const char *name;
	size_t offset;
} TRACE[] = {
	{"loss", offsetof(struct step_result, loss)},
	{"ce", offsetof(struct step_result, ce)},
	{"amplify", offsetof(struct step_result, amplify)},
	{"attention", offsetof(struct step_result, attention)},
	{"learning_rate", offsetof(struct step_result, learning_rate)},
	{"grad_norm", offsetof(struct step_result, norm)},
};

static void put_trace(struct probe *probe, const struct step_result *results, size_t steps)
{
	double *series = must_have(calloc(steps, sizeof(*series)));

	for (size_t t = 0; t < NELEM(TRACE); t++) {
		for (size_t i = 0; i < steps; i++)
			memcpy(&series[i], (const char *)&results[i] + TRACE[t].offset, sizeof(double));
		put(probe, "trace", TRACE[t].name, ST_F64, 0, steps, series);
	}
	free(series);
}

static void command_train(struct probe *probe)
{
	const json_t *batches = field(probe, "batches");
	size_t steps = json_array_size(batches), most = largest_batch(batches);
	struct train_options options = options_of(probe, (int64_t)steps, true);
	struct step_result *results = must_have(calloc(steps, sizeof(*results)));
	int *rows = must_have(calloc(most, sizeof(*rows)));
	struct trainer trainer;
	struct err err = {0};

	load_tensors(probe);
	must(trainer_init(
		     &trainer, &probe->model, &options, probe->par, (int)most, probe->corpus.longest, &err),
		&err);
	for (size_t step = 0; step < steps; step++)
		one_step(probe, &trainer, &results[step], rows, batches, step);
	put_trace(probe, results, steps);
	put_params(probe, "tensor", probe->params.w);
	write_outputs(probe);
	trainer_done(&trainer);
	free(results);
	free(rows);
}

/* --- bench --------------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void print_speed(double seconds, double cpu_seconds, long tokens, size_t steps)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"tokens\": %ld, \"steps\": %zu, "
	       "\"peak_rss_bytes\": %ld}\n",
		seconds, cpu_seconds, tokens, steps, usage.ru_maxrss * 1024);
}

/* The first `warm` batches are not timed. */
static void command_bench(struct probe *probe)
{
	const json_t *batches = field(probe, "batches");
	size_t steps = json_array_size(batches), most = largest_batch(batches);
	size_t warm = (size_t)number_or(probe, "warm", 0);
	struct train_options options = options_of(probe, (int64_t)steps, false);
	int *rows = must_have(calloc(most, sizeof(*rows)));
	struct step_result result;
	struct trainer trainer;
	struct err err = {0};
	double start = 0, start_cpu = 0;
	long tokens = 0;

	draw_tensors(probe);
	must(trainer_init(
		     &trainer, &probe->model, &options, probe->par, (int)most, probe->corpus.longest, &err),
		&err);
	for (size_t step = 0; step < steps; step++) {
		if (step == warm) {
			start = seconds_of(CLOCK_MONOTONIC);
			start_cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
		}
		one_step(probe, &trainer, &result, rows, batches, step);
		tokens += step >= warm ? result.tokens : 0;
	}
	print_speed(seconds_of(CLOCK_MONOTONIC) - start, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - start_cpu,
		tokens, steps - warm);
	trainer_done(&trainer);
	free(rows);
}

/* The first time touches the memory. */
static void command_predict(struct probe *probe)
{
	int *label = must_have(calloc((size_t)probe->corpus.n, sizeof(*label)));
	double start = 0, start_cpu = 0;
	struct err err = {0};

	draw_tensors(probe);
	for (int time = 0; time < 2; time++) {
		start = seconds_of(CLOCK_MONOTONIC);
		start_cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
		must(predict(label, NULL, NULL, &probe->model, &probe->corpus, probe->par, &err), &err);
	}
	print_speed(seconds_of(CLOCK_MONOTONIC) - start, seconds_of(CLOCK_PROCESS_CPUTIME_ID) - start_cpu,
		(long)corpus_tokens(&probe->corpus), 1);
	free(label);
}

/* --- main ---------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*run)(struct probe *probe);
} COMMANDS[] = {
	{"hidden", command_hidden},
	{"grad", command_grad},
	{"train", command_train},
	{"bench", command_bench},
	{"predict", command_predict},
};

static void probe_done(struct probe *probe)
{
	for (int i = 0; i < probe->outputs; i++) {
		free((void *)(uintptr_t)probe->output[i].name);
		free((void *)(uintptr_t)probe->output[i].data);
	}
	par_free(probe->par);
	corpus_done(&probe->corpus);
	encoder_done(&probe->encoder);
	peft_done(&probe->peft);
	params_done(&probe->params);
	weights_done(&probe->weights);
	json_decref(probe->request);
}

int main(int argc, char **argv)
{
	static struct probe probe;

	if (argc == 3 && strcmp(argv[1], "--has") == 0)
		return kernels_named(argv[2]) == NULL;
	if (argc != 2) {
		fprintf(stderr, "usage: probe REQUEST.json\n");
		return 64;
	}
	read_request(&probe, argv[1]);
	load_model(&probe);
	load_rows(&probe);
	for (size_t i = 0; i < NELEM(COMMANDS); i++) {
		if (strcmp(COMMANDS[i].name, text_of(&probe, "command")) == 0) {
			COMMANDS[i].run(&probe);
			probe_done(&probe);
			return 0;
		}
	}
	fprintf(stderr, "probe: unknown command\n");
	return 64;
}
