/*
 * tiny_model: a whole model directory, one layer and eight wide, that a test may then spoil.
 *
 * tiny_model_init gives the tensors (F32, values of a counter, all different) with the names of a bare
 * checkpoint; the test edits them, and tiny_model_write writes config.json and model.safetensors.
 */
#ifndef OBLIVIATE_TESTS_TINY_MODEL_H
#define OBLIVIATE_TESTS_TINY_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/scratch.h"
#include "worker/data/safetensors.h"
#include "worker/model/weights.h"

enum { TINY_TENSORS = 5 + 16, TINY_EXTRA = 4 };

struct tiny_model {
	struct config config;
	int n; /* tensors; room for TINY_EXTRA more */
	struct st_tensor tensor[TINY_TENSORS + TINY_EXTRA];
	char name[TINY_TENSORS][96];
	float value[TINY_TENSORS][16 * 8];
};

static inline void tiny_model_init(struct tiny_model *tiny)
{
	const struct config config = {.family = FAMILY_BERT,
		.model_type = "bert",
		.V = 16,
		.D = 8,
		.L = 1,
		.H = 2,
		.F = 8,
		.P = 12,
		.types = 2,
		.max_tokens = 12,
		.layer_norm_eps = 1e-12};
	int next = 0;

	*tiny = (struct tiny_model){.config = config};
	for (int layer = -1; layer < 1; layer++) {
		const struct tensor_site *sites = layer < 0 ? weights_embedding_sites : weights_layer_sites;
		int count = layer < 0 ? weights_embedding_site_count : weights_layer_site_count;

		for (int i = 0; i < count; i++) {
			struct st_tensor *tensor = &tiny->tensor[tiny->n];
			size_t elements = weights_site_elements(&sites[i], &config);

			weights_name(tiny->name[tiny->n], sizeof(tiny->name[0]), &sites[i], layer);
			for (size_t k = 0; k < elements; k++)
				tiny->value[tiny->n][k] = (float)++next / 1024;
			*tensor = (struct st_tensor){
				tiny->name[tiny->n], ST_F32, sites[i].rank, {elements}, tiny->value[tiny->n]};
			if (sites[i].rank == 2) {
				tensor->shape[0] = elements / 8;
				tensor->shape[1] = 8;
			}
			tiny->n++;
		}
	}
}

/* The tensor whose name contains this. */
static inline struct st_tensor *tiny_model_tensor(struct tiny_model *tiny, const char *part)
{
	for (int i = 0; i < tiny->n; i++)
		if (strstr(tiny->tensor[i].name, part) != NULL)
			return &tiny->tensor[i];
	abort();
}

static inline void tiny_model_write(const struct tiny_model *tiny, const struct scratch *scratch)
{
	static const char CONFIG[] =
		"{\"model_type\": \"bert\", \"vocab_size\": 16, \"hidden_size\": 8, \"num_hidden_layers\": "
		"1, "
		"\"num_attention_heads\": 2, \"intermediate_size\": 8, \"max_position_embeddings\": 12}";

	scratch_write_text(scratch, "config.json", CONFIG);
	if (st_write(scratch->fd, "model.safetensors", tiny->tensor, tiny->n, NULL, 0, NULL) != 0)
		abort();
}

#endif
