/*
 * weights: the tensors of a BERT or RoBERTa encoder, by role.
 *
 * Read from model.safetensors, or from the shards that model.safetensors.index.json names. Names may carry
 * one prefix ("bert.", "roberta.") or none, and LayerNorm.gamma/beta for weight/bias. F32 tensors that are
 * aligned are borrowed from the file's map; F16, BF16 and unaligned ones are converted into owned memory.
 * Every shape is checked against the config and every value must be finite.
 *
 * ERR_INVALID_MODEL "model.safetensors: TENSOR"; a directory with only pickled weights (pytorch_model.bin)
 * is ERR_UNSUPPORTED_FORMAT. All linear weights are [out, in], row-major.
 */
#ifndef OBLIVIATE_WEIGHTS_H
#define OBLIVIATE_WEIGHTS_H

#include "worker/base/real.h"
#include "worker/model/config.h"

struct layer_weights {
	const real *q_w, *q_b, *k_w, *k_b, *v_w, *v_b; /* [D, D], [D] */
	const real *o_w, *o_b;			       /* attention.output.dense [D, D], [D] */
	const real *ln1_w, *ln1_b;		       /* attention.output.LayerNorm [D] */
	const real *f1_w, *f1_b;		       /* intermediate.dense [F, D], [F] */
	const real *f2_w, *f2_b;		       /* output.dense [D, F], [D] */
	const real *ln2_w, *ln2_b;		       /* output.LayerNorm [D] */
};

struct weights {
	const real *word, *position, *type; /* [V, D], [P, D], [types, D] */
	const real *ln_w, *ln_b;	    /* embeddings.LayerNorm [D] */
	struct layer_weights *layer;	    /* [L] */
	bool prefixed;			    /* the files' names carry the family's prefix */
	struct weights_store *store;	    /* maps and converted copies */
};

/* One row of the table of tensors: its name in the files without prefix, its shape, its place. */
struct tensor_site {
	const char *name; /* "embeddings.word_embeddings.weight", "attention.self.query.weight" */
	size_t offset;	  /* of the pointer in struct weights or struct layer_weights */
	int8_t rank;	  /* 1 or 2 */
	char dim[2];	  /* letters of struct config: 'V' 'D' 'F' 'P', 't' for types */
};

extern const struct tensor_site weights_embedding_sites[];
extern const int weights_embedding_site_count;
extern const struct tensor_site weights_layer_sites[];
extern const int weights_layer_site_count;

/* The full name without prefix ("encoder.layer.3.attention.self.query.weight") of a site; layer < 0: embeddings. */
void weights_name(char *out, size_t len, const struct tensor_site *site, int layer);
/* The place of the pointer for a site in *weights. */
const real **weights_slot(struct weights *weights, const struct tensor_site *site, int layer);
/* Of its tensor; shape[1] is 0 where that is a vector. */
void weights_site_shape(int shape[2], const struct tensor_site *site, const struct config *config);
size_t weights_site_elements(const struct tensor_site *site, const struct config *config);

int weights_open(struct weights *out, int dirfd, const struct config *config, struct err *err) MUST_USE;
void weights_done(struct weights *weights);
/* What is borrowed needs no memory of this process until it is read again: after packing it seldom is. */
void weights_rest(const struct weights *weights);

#endif
