/*
 * trained: what a job has trained, as exporters and model card read it, and what the libraries call its parts.
 *
 * Everything is borrowed; matrices are row-major.
 */
#ifndef OBLIVIATE_TRAINED_H
#define OBLIVIATE_TRAINED_H

#include "common/spec.h"
#include "worker/base/param.h"
#include "worker/model/config.h"
#include "worker/peft/lora.h"

/* Tensors "encoder.layer.I.{attention.output,output}.adapter_{down,up}.{weight,bias}". */
struct trained_adapter {
	int bottleneck;
	const char *activation; /* as AdapterHub calls it: "swish" */
	const struct params *params;
};

struct trained_prefix {
	int length;
	const real *flat; /* [length, 2 L, D]: keys and values of each layer, layers outermost */
};

struct trained {
	int peft; /* enum spec_peft: which of the three below is there */
	const char *model_id;
	enum family family;
	int L, D, K;
	const real *dense_w, *dense_b; /* [D, D], [D] */
	const real *out_w, *out_b;     /* [K, D], [K] */
	struct lora lora;
	struct trained_adapter adapter;
	struct trained_prefix prefix;
};

struct family_names {
	const char *model_type;		/* the prefix of the encoder's tensors as well */
	const char *classifier_class;	/* transformers' */
	const char *adapter_class;	/* AdapterHub's */
	const char *dense, *out;	/* the head's layers in classifier_class */
	const char *modules_to_save[2]; /* PEFT's; the second may be NULL */
};

/* What AdapterHub calls an activation. */
const char *trained_activation(enum kernel_activation activation);

/* By enum family. */
extern const struct family_names family_names[];

#endif
