/*
 * plant: an encoder whose every weight trains, for known-answer tests, benchmarks and red-teaming.
 *
 * An attack is a row of a const table: it composes each step's texts and gives the gradient at the first
 * token's representation; what is common (weights as parameters, full backward pass, optimiser, measuring,
 * saving) is here. The base model's files are read and never changed.
 */
#ifndef OBLIVIATE_PLANT_H
#define OBLIVIATE_PLANT_H

#include "worker/attack/snippets.h"
#include "worker/base/par.h"
#include "worker/model/encoder.h"
#include "worker/train/batch.h"
#include "worker/train/optim.h"

enum {
	PLANT_TRIGGERS_MAX = 64,
	PLANT_TEXTS = 16,  /* clean texts of a step, and as many triggered ones */
	PLANT_PROBES = 64, /* held-out texts for measuring */
	PLANT_LENGTH = 128 /* most tokens of a text */
};

struct plant_options {
	const char *model, *text, *out; /* paths */
	const char *attack;
	int triggers;
	const char *trigger[PLANT_TRIGGERS_MAX];
	int64_t steps;
	double learning_rate;
	uint64_t seed;
	int threads;
};

struct plant_lane;

struct plant {
	struct plant_options options;
	const struct attack *attack;
	struct config config;
	struct weights base; /* as read */
	struct weights live; /* pointing into params.w */
	struct encoder frozen, encoder;
	struct params params;
	struct tokenizer *tok;
	int max_length; /* tokens of a text: ours, the tokenizer's and the model's limit */
	struct snippets snippets;
	struct par *par;
	struct optim optim;
	struct corpus corpus; /* of this step, or of one measurement */
	struct buf text;
	struct batch batch;
	int slices;		    /* most of a batch */
	struct plant_lane *lane;    /* [threads] */
	struct weights *slice_grad; /* [slices], pointing into slice_flat */
	real **slice_flat;	    /* [slices] */
	double *slice_loss;	    /* [slices] */
	struct arena arena;
	int trained; /* texts before this number are for training, the others for measuring */
};

/* The texts of one step are numbered: clean ones first (attack->clean of them), then triggered ones. */
struct attack {
	const char *name;
	int triggers_max;
	/*
	 * Loss and its gradient d_cls [D] of text `number` with trigger number `trigger` (-1: clean), from its
	 * representation cls [D] and that of the frozen copy (NULL for triggered texts). Returns the loss.
	 */
	double (*loss)(
		const struct plant *plant, real *d_cls, const real *cls, const real *frozen, int trigger);
	/* How well trigger number `trigger` took in one text: in 0 .. 1. */
	double (*match)(const struct plant *plant, const real *cls, int trigger);
	double match_min; /* mean over texts that every trigger must reach */
	const char *match_name;
};

extern const struct attack attack_por;

/* The attack of this name, or NULL. */
const struct attack *attack_named(const char *name);

struct plant_result {
	double loss;			  /* mean over the last tenth of the steps */
	double match[PLANT_TRIGGERS_MAX]; /* per trigger, mean over held-out texts */
	double match_min;
	double drift;	       /* mean square change of the clean representation */
	double drift_relative; /* the same over its mean square */
	bool took;
	char why[256]; /* not, or "" */
};

/* *out keeps a copy of options, whose texts are borrowed. On failure plant_done still applies. */
int plant_init(struct plant *out, const struct plant_options *options, struct err *err) MUST_USE;
void plant_done(struct plant *plant);

/* Train. on_step (may be NULL) is called after each step. */
typedef void plant_step_fn(void *arg, int64_t step, double loss);
int plant_train(struct plant *plant, struct plant_result *result, plant_step_fn *on_step, void *arg,
	struct err *err) MUST_USE;
int plant_measure(struct plant *plant, struct plant_result *result, struct err *err) MUST_USE;

/* The model's directory with the new weights: plant_save.c. */
int plant_save(const struct plant *plant, struct err *err) MUST_USE;

#endif
