/*
 * peft: what a parameter-efficient method adds to a frozen encoder, as a const vtable.
 *
 * A method declares its tensors in the params table and is called by the encoder at its sites. It knows
 * arrays and rows, nothing of an encoder. A method without business at a site leaves the hook NULL or
 * answers false from `uses`.
 */
#ifndef OBLIVIATE_PEFT_H
#define OBLIVIATE_PEFT_H

#include "worker/base/param.h"
#include "worker/ops/kernels.h"

/* Linear maps of a layer that a method may add to. */
enum peft_site { SITE_QUERY, SITE_KEY, SITE_VALUE, SITE_COUNT };

/* The frozen encoder's measures. */
struct peft_shape {
	int L, D, H;
};

struct peft_options {
	int r;
	double alpha;
	unsigned targets; /* bit per peft_site */
	double dropout;	  /* on the method's outputs, under defence */
};

struct peft {
	const struct peft_method *method;
	struct peft_options options;
	struct peft_shape shape;
	struct params *params; /* borrowed: tensors of this method and of the head */
	int first;	       /* number of the method's first tensor */
	const struct kernels *k;
};

/* One call at a site: y = W x + b is there; rows of x and y are [rows, D]. */
struct peft_call {
	int layer;
	enum peft_site site;
	int rows;
	const int *ids; /* row numbers in the batch, for dropout */
	const real *x;
	real *y;
	real *saved;		/* peft_saved_reals per row, kept from forward to backward */
	struct dropout dropout; /* of this site, this step */
	real *scratch;		/* gemm scratch */
	real *spare;		/* peft_saved_reals per row, backward only */
	/* backward */
	real *d_y;  /* in: gradient of the site's output; out: gradient of W x + b */
	real *d_x;  /* accumulates, or NULL where no gradient is needed below */
	real *grad; /* this slice's gradient, layout of params */
};

struct peft_method {
	const char *name;
	int (*declare)(struct peft *peft, struct err *err);
	void (*init)(const struct peft *peft, uint64_t key);
	bool (*uses)(const struct peft *peft, int layer, enum peft_site site);
	size_t (*saved_reals)(const struct peft *peft); /* per row and site */
	void (*linear_fwd)(const struct peft *peft, const struct peft_call *call);
	void (*linear_bwd)(const struct peft *peft, const struct peft_call *call);
};

extern const struct peft_method peft_lora;

/* Set up *peft and declare its tensors in params. */
int peft_declare(struct peft *peft, const struct peft_method *method, const struct peft_options *options,
	struct peft_shape shape, struct params *params, const struct kernels *k, struct err *err) MUST_USE;

#endif
