/*
 * peft: what a parameter-efficient method adds to a frozen encoder, as a const vtable.
 *
 * A method declares its tensors in the params table and is called by the encoder at its sites. It knows
 * arrays and rows, nothing of an encoder. A method without business at a site leaves the hook NULL or
 * answers false from `uses`.
 *
 *   method   acts on                      tensors, per layer %d (a weight is [out, in], a bias [1, out])
 *   lora     query, key, value            encoder.layer.%d.attention.self.{query,key,value}.lora_A [r, D]
 *                                         ... .lora_B [D, r]
 *   adapter  the attention's output and   encoder.layer.%d.attention.output.adapter_down.{weight,bias} [b, D]
 *            the FFN's                    encoder.layer.%d.attention.output.adapter_up.{weight,bias} [D, b]
 *                                         encoder.layer.%d.output.adapter_{down,up}.{weight,bias}
 *   prefix   keys and values in front     prefix.wte.weight [P, D], prefix.control_trans.0.{weight,bias} [M, D],
 *            of every sequence            prefix.control_trans.2.{weight,bias} [2 L D, M]; no layers
 *
 * Ownership: struct peft borrows params and kernels; peft_done releases what a method keeps beside them.
 */
#ifndef OBLIVIATE_PEFT_H
#define OBLIVIATE_PEFT_H

#include "worker/base/param.h"
#include "worker/ops/kernels.h"

/*
 * Places in a layer: linear maps that a method may add to, then outputs (after their dense map and dropout,
 * before residual and LayerNorm) that it may transform.
 */
enum peft_site {
	SITE_QUERY,
	SITE_KEY,
	SITE_VALUE,
	SITE_PROJECTIONS,
	SITE_ATTENTION_OUT = SITE_PROJECTIONS,
	SITE_FFN_OUT,
	SITE_COUNT
};

/* The frozen encoder's measures. */
struct peft_shape {
	int L, D, H;
};

struct peft_options {
	double dropout; /* on the method's outputs, under defence */
	/* lora */
	int r;
	double alpha;
	unsigned targets; /* bit per projection */
	/* adapter: width of the bottleneck; adapter, prefix: between the two maps */
	int bottleneck;
	enum kernel_activation activation;
	/* prefix: virtual tokens, width of the MLP that makes them */
	int length, mlp_width;
};

struct peft {
	const struct peft_method *method;
	struct peft_options options;
	struct peft_shape shape;
	struct params *params; /* borrowed: tensors of this method and of the head */
	int first;	       /* number of the method's first tensor */
	int P;		       /* virtual tokens in front of every sequence's keys and values; 0: none */
	int flat;	       /* number of the tensor that holds them, [P, 2 L D], where P > 0 */
	const real *origin;    /* prefix: added to what the MLP makes, [P, 2 L D], borrowed; NULL: nothing */
	void *work;	       /* the method's buffers, in arena */
	struct arena arena;
	const struct kernels *k;
};

/* One call at a site; rows of x and y are [rows, D]. */
struct peft_call {
	int layer;
	enum peft_site site;
	int rows;
	const int *ids; /* row numbers in the batch, for dropout */
	const real *x;
	real *y;
	real *saved;		/* saved_reals per row, kept from forward to backward */
	struct dropout dropout; /* of this site, this step */
	real *scratch;		/* gemm scratch */
	real *spare;		/* saved_reals per row, backward only */
	/* backward */
	real *d_y;
	real *d_x;
	real *grad; /* this slice's gradient, layout of params */
};

struct peft_method {
	const char *name;
	int (*declare)(struct peft *peft, struct err *err);
	void (*init)(const struct peft *peft, uint64_t key);
	bool (*uses)(const struct peft *peft, int layer, enum peft_site site);
	size_t (*saved_reals)(const struct peft *peft); /* per row and site */
	/*
	 * A projection. Forward: y = W x + b is there; add to it, then drop out. Backward: d_y comes as the
	 * gradient of the site's output and leaves as that of W x + b; d_x accumulates, or is NULL where no
	 * gradient is needed below.
	 */
	void (*linear_fwd)(const struct peft *peft, const struct peft_call *call);
	void (*linear_bwd)(const struct peft *peft, const struct peft_call *call);
	/*
	 * An output. Forward: y = x + f(x), y overwritten; the encoder drops out behind the LayerNorm that
	 * follows. Backward: d_x is d_y, which becomes the gradient of x, or NULL likewise.
	 */
	void (*output_fwd)(const struct peft *peft, const struct peft_call *call);
	void (*output_bwd)(const struct peft *peft, const struct peft_call *call);
	/* See peft_prepare and peft_finish. */
	void (*prepare)(const struct peft *peft);
	void (*finish)(const struct peft *peft);
};

extern const struct peft_method peft_lora, peft_adapter, peft_prefix;

/* Set up *peft and declare its tensors in params; the method's buffers too. peft_done also after a failure. */
int peft_declare(struct peft *peft, const struct peft_method *method, const struct peft_options *options,
	struct peft_shape shape, struct params *params, const struct kernels *k, struct err *err) MUST_USE;
void peft_done(struct peft *peft);

/* Before passes with new weights: compute what is derived from them. peft may be NULL. Not for two threads. */
void peft_prepare(const struct peft *peft);
/* When params->g holds the sum over slices: take gradients of what is derived back to the tensors themselves. */
void peft_finish(const struct peft *peft);

/* Place in w, g or a slice's gradient of virtual token p's key (SITE_KEY) or value (SITE_VALUE), [D]. */
static inline size_t peft_prefix_at(const struct peft *peft, int layer, enum peft_site site, int p)
{
	const struct param *flat = &peft->params->param[peft->flat];
	size_t column = (size_t)(2 * layer + (site == SITE_VALUE)) * (size_t)peft->shape.D;

	return flat->at + (size_t)p * (size_t)flat->cols + column;
}

/*
 * The prefix without its MLP, as it is exported ("ejected"): out[P, 2 L, D], index 2 l the keys of layer l,
 * 2 l + 1 its values. For peft_prefix only.
 */
void prefix_flatten(real *out, const struct peft *peft);

#endif
