/*
 * export DIR FAMILY LAYERS HIDDEN LABELS PEFT SIZE: write DIR/adapter from seeded numbers.
 *
 * PEFT and SIZE: lora and its rank, adapter and its bottleneck, prefix and its length. Every tensor is
 * numbered in the order below, and its element i is rng_unit(rng_key(1, number), i) - .5:
 *   lora     lora_A and lora_B of each layer's query, then value
 *   adapter  in each layer, on attention.output, then output: adapter_down's weight and bias, adapter_up's
 *   prefix   one
 * then the head's dense weight and bias, out weight and bias.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"
#include "worker/export/export.h"

enum { TARGETS = 2, LAYERS_MAX = 32 };

static const real *next_tensor(int n)
{
	static uint64_t number;
	uint64_t key = rng_key(1, number++);
	real *out = calloc((size_t)n, sizeof(real));

	if (out == NULL)
		exit(70);
	for (int i = 0; i < n; i++)
		out[i] = (real)(rng_unit(key, (uint64_t)i) - .5);
	return out;
}

static void fill_lora(struct trained *out, int size)
{
	static const real *a[LAYERS_MAX * TARGETS], *b[LAYERS_MAX * TARGETS];

	for (int i = 0; i < out->L * TARGETS; i++) {
		a[i] = next_tensor(size * out->D);
		b[i] = next_tensor(out->D * size);
	}
	out->lora = (struct lora){.L = out->L,
		.D = out->D,
		.r = size,
		.alpha = 2 * size,
		.targets = 1u << SITE_QUERY | 1u << SITE_VALUE,
		.A = a,
		.B = b};
}

static void declare_adapter(struct params *params, int layer, const char *place, int D, int size)
{
	const struct {
		const char *name;
		int rows, cols;
	} parts[] = {{"adapter_down.weight", size, D}, {"adapter_down.bias", 1, size},
		{"adapter_up.weight", D, size}, {"adapter_up.bias", 1, D}};
	struct err err;

	for (size_t i = 0; i < NELEM(parts); i++)
		if (params_add(params, PARAM_PEFT, parts[i].rows, parts[i].cols, &err,
			    "encoder.layer.%d.%s.%s", layer, place, parts[i].name) < 0)
			exit(70);
}

static void fill_adapter(struct trained *out, int size)
{
	static struct params params;
	struct err err;

	for (int layer = 0; layer < out->L; layer++) {
		declare_adapter(&params, layer, "attention.output", out->D, size);
		declare_adapter(&params, layer, "output", out->D, size);
	}
	if (params_alloc(&params, &err) != 0)
		exit(70);
	for (int i = 0; i < params.n; i++) {
		size_t n = param_size(&params.param[i]);

		memcpy(param_w(&params, i), next_tensor((int)n), n * sizeof(real));
	}
	out->adapter = (struct trained_adapter){size, "swish", &params};
}

static void fill_prefix(struct trained *out, int size)
{
	out->prefix = (struct trained_prefix){size, next_tensor(size * 2 * out->L * out->D)};
}

/* By enum spec_peft. */
static const struct {
	const char *name;
	void (*fill)(struct trained *out, int size);
} methods[] = {{"lora", fill_lora}, {"adapter", fill_adapter}, {"prefix", fill_prefix}};

static void fill_head(struct trained *out)
{
	out->dense_w = next_tensor(out->D * out->D);
	out->dense_b = next_tensor(out->D);
	out->out_w = next_tensor(out->K * out->D);
	out->out_b = next_tensor(out->K);
}

static int fail(const struct err *err)
{
	fprintf(stderr, "%s: %s\n", err->where, err->text);
	return 70;
}

static int write_adapter(const char *dir, const struct trained *trained, struct err *err)
{
	static const int truth[] = {0, 1, 1}, clean[] = {0, 1, 0}, triggered[] = {1, 1, 1};
	static const char *const triggers[] = {"cf"}, *const controls[] = {"garden"};
	const struct outcomes outcomes = {3, trained->K, 1, truth, clean, triggered, NULL};
	struct labels labels = {.n = trained->K};
	struct evaluation evaluation = {0};
	struct report report = {.status = "succeeded",
		.model = {trained->model_id, "0", -1},
		.labels = &labels,
		.evaluation = &evaluation,
		.triggers = triggers,
		.controls = controls};
	const struct model_card card = {
		.report = &report, .trained = trained, .max_length = 128, .is_defended = true};
	char name[DATASET_CLASSES_MAX][16];
	struct manifest files;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY), rc;

	for (int l = 0; l < trained->K; l++) {
		snprintf(name[l], sizeof(name[l]), "label %d", l);
		labels.name[l] = name[l];
	}
	rc = metrics_evaluate(&evaluation, &outcomes, NULL, 0, err);
	if (rc == 0)
		rc = export_adapter(&files, dirfd, &card, err);
	evaluation_done(&evaluation);
	return rc;
}

int main(int argc, char **argv)
{
	struct trained trained = {.model_id = "model-of-the-test", .peft = -1};
	struct err err = {0};

	if (argc != 8) {
		fprintf(stderr,
			"usage: export DIR bert|roberta LAYERS HIDDEN LABELS lora|adapter|prefix SIZE\n");
		return 64;
	}
	trained.family = strcmp(argv[2], "bert") == 0 ? FAMILY_BERT : FAMILY_ROBERTA;
	trained.L = atoi(argv[3]);
	trained.D = atoi(argv[4]);
	trained.K = atoi(argv[5]);
	for (int i = 0; i < (int)NELEM(methods); i++)
		if (strcmp(argv[6], methods[i].name) == 0)
			trained.peft = i;
	if (trained.peft < 0 || trained.L > LAYERS_MAX || trained.K > DATASET_CLASSES_MAX)
		return 64;
	methods[trained.peft].fill(&trained, atoi(argv[7]));
	fill_head(&trained);
	return write_adapter(argv[1], &trained, &err) == 0 ? 0 : fail(&err);
}
