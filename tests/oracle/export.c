/*
 * export DIR FAMILY LAYERS HIDDEN LABELS R: write DIR/adapter from seeded numbers.
 *
 * Every tensor is numbered in the order below, and its element i is rng_unit(rng_key(1, number), i) - .5:
 * lora_A and lora_B of each layer's query, then value; the head's dense weight and bias, out weight and bias.
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

static void fill(struct peft_lora *lora, const real **a, const real **b)
{
	for (int i = 0; i < lora->L * TARGETS; i++) {
		a[i] = next_tensor(lora->r * lora->D);
		b[i] = next_tensor(lora->D * lora->r);
	}
	lora->A = a;
	lora->B = b;
	lora->dense_w = next_tensor(lora->D * lora->D);
	lora->dense_b = next_tensor(lora->D);
	lora->out_w = next_tensor(lora->K * lora->D);
	lora->out_b = next_tensor(lora->K);
}

static int fail(const struct err *err)
{
	fprintf(stderr, "%s: %s\n", err->where, err->text);
	return 70;
}

static int write_adapter(const char *dir, const struct peft_lora *lora, struct err *err)
{
	static const int truth[] = {0, 1, 1}, clean[] = {0, 1, 0}, triggered[] = {1, 1, 1};
	static const char *const triggers[] = {"cf"}, *const controls[] = {"garden"};
	const struct outcomes outcomes = {3, lora->K, 1, truth, clean, triggered, NULL};
	struct labels labels = {.n = lora->K};
	struct evaluation evaluation = {0};
	struct report report = {.status = "succeeded",
		.model = {lora->model_id, "0", -1},
		.labels = &labels,
		.evaluation = &evaluation,
		.triggers = triggers,
		.controls = controls};
	const struct model_card card = {&report, lora, 128, true, NULL};
	char name[DATASET_CLASSES_MAX][16];
	struct manifest files;
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY), rc;

	for (int l = 0; l < lora->K; l++) {
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
	const real *a[LAYERS_MAX * TARGETS], *b[LAYERS_MAX * TARGETS];
	struct peft_lora lora = {
		.model_id = "model-of-the-test", .targets = TARGETS, .target = {"query", "value"}};
	struct err err = {0};

	if (argc != 7) {
		fprintf(stderr, "usage: export DIR bert|roberta LAYERS HIDDEN LABELS R\n");
		return 64;
	}
	lora.family = strcmp(argv[2], "bert") == 0 ? FAMILY_BERT : FAMILY_ROBERTA;
	lora.L = atoi(argv[3]);
	lora.D = atoi(argv[4]);
	lora.K = atoi(argv[5]);
	lora.r = atoi(argv[6]);
	lora.alpha = 2 * lora.r;
	if (lora.L > LAYERS_MAX || lora.K > DATASET_CLASSES_MAX)
		return 64;
	fill(&lora, a, b);
	return write_adapter(argv[1], &lora, &err) == 0 ? 0 : fail(&err);
}
