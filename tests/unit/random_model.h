/*
 * random_model: a small encoder with random weights in memory, and a classifier on it, for tests of the numerics.
 *
 * Every tensor is an array of its own, so that ASan sees any step outside. Activations are of order 1 and
 * nothing is 0 (LoRA's B neither), so that no term hides another. Memory is numbers.h's.
 */
#ifndef OBLIVIATE_TESTS_RANDOM_MODEL_H
#define OBLIVIATE_TESTS_RANDOM_MODEL_H

#include "tests/unit/numbers.h"
#include "worker/train/train.h"

enum { RANDOM_TENSORS_MAX = 5 + 16 * 4 };

struct random_tensor {
	char name[96];
	real *w, *g;
	size_t n;
};

struct random_model {
	struct config config;
	struct weights weights, grads; /* the same roles */
	struct random_tensor tensor[RANDOM_TENSORS_MAX];
	int n;
};

static const struct config SMALL_BERT = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = 20,
	.D = 12,
	.L = 2,
	.H = 3,
	.F = 10,
	.P = 16,
	.types = 2,
	.max_tokens = 16,
	.activation = ACT_GELU,
	.layer_norm_eps = 1e-5,
	.hidden_dropout = 0.1,
	.attention_dropout = 0.2,
	.classifier_dropout = 0.1};

static const struct config SMALL_ROBERTA = {.family = FAMILY_ROBERTA,
	.model_type = "roberta",
	.V = 20,
	.D = 12,
	.L = 3,
	.H = 2,
	.F = 14,
	.P = 18,
	.types = 1,
	.position_offset = 2,
	.max_tokens = 16,
	.pad_id = 1,
	.activation = ACT_GELU_TANH,
	.layer_norm_eps = 1e-5,
	.hidden_dropout = 0.2,
	.attention_dropout = 0.1,
	.classifier_dropout = 0.3};

static inline void random_model_site(struct random_model *model, const struct tensor_site *site, int layer)
{
	struct random_tensor *tensor = &model->tensor[model->n++];
	bool is_norm = strstr(site->name, "LayerNorm.weight") != NULL;
	bool is_embedding = layer < 0 && site->rank == 2;
	double scale = is_embedding ? 1 : site->rank == 2 ? 1 / sqrt(model->config.D) : 0.2;

	weights_name(tensor->name, sizeof(tensor->name), site, layer);
	tensor->n = weights_site_elements(site, &model->config);
	tensor->w = normals(tensor->n, scale);
	tensor->g = zeros(tensor->n);
	for (size_t i = 0; i < tensor->n && is_norm; i++)
		tensor->w[i] += 1;
	*weights_slot(&model->weights, site, layer) = tensor->w;
	*weights_slot(&model->grads, site, layer) = tensor->g;
}

static inline void random_model_init(struct random_model *out, const struct config *config)
{
	*out = (struct random_model){.config = *config};
	out->weights.layer = zeros_of((size_t)config->L, sizeof(*out->weights.layer));
	out->grads.layer = zeros_of((size_t)config->L, sizeof(*out->grads.layer));
	for (int i = 0; i < weights_embedding_site_count; i++)
		random_model_site(out, &weights_embedding_sites[i], -1);
	for (int l = 0; l < config->L; l++)
		for (int i = 0; i < weights_layer_site_count; i++)
			random_model_site(out, &weights_layer_sites[i], l);
}

/* The model's own array of one of its weights. */
static inline real *random_model_writable(const struct random_model *model, const real *tensor)
{
	for (int i = 0; i < model->n; i++)
		if (model->tensor[i].w == tensor)
			return model->tensor[i].w;
	fail_msg("no such tensor");
	return NULL;
}

/* A classifier with a PEFT on that encoder; adapters and prefixes are narrow and few. */
struct random_classifier {
	struct random_model base;
	struct params params;
	struct peft peft;
	struct head head;
	struct encoder encoder;
	struct classifier model;
};

struct random_options {
	const struct config *config;
	const struct kernels *kernels;	  /* NULL: the best */
	const struct peft_method *method; /* NULL: LoRA */
	int r, labels;
	unsigned targets;
	enum kernel_activation activation; /* the PEFT's */
	double peft_dropout;
	bool unfrozen; /* no packed panels */
};

static inline void random_classifier_init(struct random_classifier *out, const struct random_options *o)
{
	const struct config *config = &out->base.config;
	const struct kernels *kernels = o->kernels != NULL ? o->kernels : kernels_best();
	struct peft_options options = {.r = o->r,
		.alpha = 1.5 * o->r,
		.targets = o->targets,
		.bottleneck = 5,
		.activation = o->activation,
		.length = 3,
		.mlp_width = 4,
		.dropout = o->peft_dropout};

	*out = (struct random_classifier){0};
	random_model_init(&out->base, o->config);
	assert_int_equal(encoder_init(&out->encoder, config, &out->base.weights, kernels,
				 o->unfrozen ? LINEAR_AS_IT_LIES : LINEAR_FLOAT32, NULL, NULL),
		0);
	assert_int_equal(
		peft_declare(&out->peft, o->method != NULL ? o->method : &peft_lora, &options,
			(struct peft_shape){config->L, config->D, config->H}, &out->params, kernels, NULL),
		0);
	assert_int_equal(head_declare(&out->head, config->D, o->labels, config->classifier_dropout,
				 &out->params, kernels, NULL),
		0);
	assert_int_equal(params_alloc(&out->params, NULL), 0);
	for (int i = 0; i < out->params.n; i++)
		fill_normal(param_w(&out->params, i), param_size(&out->params.param[i]), 0.3);
	out->encoder.peft = &out->peft;
	out->model = (struct classifier){&out->encoder, &out->head, &out->params};
}

static inline void random_classifier_done(struct random_classifier *classifier)
{
	encoder_done(&classifier->encoder);
	peft_done(&classifier->peft);
	params_done(&classifier->params);
}

/* A text of n random ids, none of them padding; BERT's second half is of type 1 where is_pair. */
static inline void random_text(
	struct corpus *corpus, const struct config *config, int n, bool is_pair, int label)
{
	uint64_t key = rng_key(numbers_stream++, 2);
	int32_t ids[512];

	assert_true(n >= 1 && n <= (int)NELEM(ids) && n <= config->max_tokens);
	for (int i = 0; i < n; i++)
		ids[i] = 2 + (int32_t)rng_below(key, (uint64_t)i, (uint32_t)config->V - 2);
	assert_int_equal(corpus_add_ids(corpus, ids, n, is_pair ? n / 2 : n, label, NULL), 0);
}

#endif
