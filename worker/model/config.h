/*
 * config: what config.json says about an encoder, checked. Only fields that change numerics are read.
 *
 * Unknown architectures, remote code (`auto_map`), relative positions, decoders, quantised weights and
 * unknown activations are ERR_UNSUPPORTED_MODEL; a missing file and an ill-typed or absurd field are
 * ERR_INVALID_MODEL; both name "config.json: FIELD". A field that is absent or null has transformers'
 * default; model_type must be there.
 */
#ifndef OBLIVIATE_CONFIG_H
#define OBLIVIATE_CONFIG_H

#include <jansson.h>

#include "common/err.h"

enum family { FAMILY_BERT, FAMILY_ROBERTA };

enum activation { ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_SILU };

struct config {
	enum family family;
	const char *model_type; /* "bert" or "roberta" */
	int V;			/* vocab_size */
	int D;			/* hidden_size, a multiple of H */
	int L;			/* num_hidden_layers */
	int H;			/* num_attention_heads */
	int F;			/* intermediate_size */
	int P;			/* max_position_embeddings: rows of the table */
	int types;		/* type_vocab_size */
	int position_offset;	/* position of the first token: 0 (BERT), pad_token_id + 1 (RoBERTa) */
	int max_tokens;		/* longest sequence that the position table allows: P - position_offset */
	int pad_id;
	enum activation activation;
	double layer_norm_eps;
	double hidden_dropout, attention_dropout, classifier_dropout; /* in [0, 1) */
};

/* Limits on what a config may ask for. */
enum {
	CONFIG_VOCAB_MAX = 1 << 20,
	CONFIG_HIDDEN_MAX = 1 << 13,
	CONFIG_LAYERS_MAX = 128,
	CONFIG_INTERMEDIATE_MAX = 1 << 15,
	CONFIG_POSITIONS_MAX = 1 << 16,
	CONFIG_TYPES_MAX = 1 << 10,
};

int config_read(struct config *out, int dirfd, struct err *err) MUST_USE;

/* The way back: the fields that are read, by transformers' names. New reference; NULL when out of memory. */
json_t *config_json(const struct config *config) MUST_USE;

#endif
