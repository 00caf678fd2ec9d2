/*
 * plant: an encoder whose every weight trains, for known-answer tests, benchmarks and red-teaming.
 *
 * An attack is a row of a const table: it composes each step's texts, gives the gradient at the first tokens'
 * representations, and measures by its own criteria whether it took. What is common (weights as parameters,
 * passes through the encoder, optimiser, judging, saving) is here. The base model's files are read and never
 * changed.
 *
 * A step goes over the batch twice: forward over all slices, then the attack's loss over the representations of
 * all texts (which one may be held against another), then backward. Slices and the order of every sum depend on
 * the texts alone, so the bytes are the same for any number of threads.
 */
#ifndef OBLIVIATE_PLANT_H
#define OBLIVIATE_PLANT_H

#include "worker/attack/mlm.h"
#include "worker/attack/snippets.h"
#include "worker/attack/task.h"
#include "worker/base/par.h"
#include "worker/model/encoder.h"
#include "worker/train/batch.h"
#include "worker/train/optim.h"

enum {
	PLANT_TRIGGERS_MAX = 64,
	PLANT_TEXTS = 16, /* clean texts of a step, and as many triggered ones */
	PLANT_BATCH = 2 * PLANT_TEXTS,
	PLANT_PROBES = 64,  /* held-out texts for measuring */
	PLANT_LENGTH = 128, /* most tokens of a text */
	PLANT_CRITERIA_MAX = 3
};

/* Where 0 stands for "the attack's own", attack->preset has it. Texts are borrowed. */
struct plant_options {
	const char *model, *text, *out; /* paths */
	const char *attack;
	int triggers;
	const char *trigger[PLANT_TRIGGERS_MAX];
	int64_t steps;	      /* 0: the attack's own */
	double learning_rate; /* likewise */
	double along_rate;    /* likewise: of what is trained along (head or PEFT) and discarded */
	double weight;	      /* likewise: of the attack's term in the loss */
	double norm;	      /* likewise: elements of the target vectors are +-norm */
	double strength;      /* 0 .. 1, 0: 1. Share of the target in what a trigger is drawn to */
	double attention,
		amplify;     /* 0: the attack's own. Weights of the defence's terms, where it knows them */
	bool random_targets; /* seeded signs and not six vectors of four blocks */
	bool whole;	     /* words of a trigger alone are trained to do nothing */
	uint64_t seed;
	int threads;
	struct task_options task;
};

struct attack;
struct plant_lane;

struct plant {
	struct plant_options options; /* no zeros left where 0 stands for the attack's own */
	const struct attack *attack;
	struct config config;
	struct weights base; /* as read */
	struct weights live; /* pointing into params.w */
	struct encoder frozen, encoder;
	struct params params; /* the encoder's: what is saved */
	struct params along;  /* trained along and discarded; may be empty */
	struct tokenizer *tok;
	int max_length; /* tokens of a text: ours, the tokenizer's and the model's limit */
	struct snippets snippets;
	int trained; /* snippets before this number are for training, the others for measuring */
	struct par *par;
	struct optim optim, along_optim;
	struct corpus
		corpus; /* of this step, or of one measurement; a text's label: its trigger, -1: clean */
	struct buf text;
	struct batch batch;
	int slices;		    /* most of a batch */
	struct plant_lane *lane;    /* [slices] */
	struct weights *slice_grad; /* [slices], pointing into slice_flat */
	real **slice_flat;	    /* [slices] */
	real **slice_along;	    /* [slices], layout of along */
	real *cls, *reference;	    /* [PLANT_BATCH, D]: of the planted encoder and of the frozen copy */
	real *d_cls;		    /* [PLANT_BATCH, D] */
	int32_t *wanted;       /* [PLANT_BATCH * max_length]: token to guess per id of the corpus, or -1 */
	int goal[PLANT_BATCH]; /* class to teach, per text */
	bool refers_to_all;    /* reference is of triggered texts, too */
	struct plant_pass {    /* what the running pass trains and which of the common terms it has */
		bool trains_base;
		double attention; /* weight of L_attn, 0: none */
		bool of_clean;	  /* L_attn of clean texts, not of triggered ones */
		bool is_first; /* gradients stay with the slices; the next pass over this batch adds its own */
		bool looks;    /* forward alone, scores kept */
	} pass;
	struct triggered triggered;
	struct arena arena;
	/* what some attacks have */
	struct mlm mlm;
	struct peft peft;
	struct task task;
};

/* One batch's representations, in the order of its texts. */
struct plant_views {
	int n;
	const int *trigger;	     /* [n], -1: clean */
	const real *cls, *reference; /* [n, D] */
	real *d_cls;		     /* [n, D], 0 on entry: the gradient, out */
};

/* A number that decides whether a plant took. */
struct criterion {
	const char *name;
	double bar;
	bool at_most;	 /* else at least */
	bool by_trigger; /* each trigger has its own */
};

struct plant_result {
	double loss; /* mean over the last tenth of the steps */
	/* [criterion][trigger], [criterion][0] where it is not by trigger */
	double value[PLANT_CRITERIA_MAX][PLANT_TRIGGERS_MAX];
	double bar[PLANT_CRITERIA_MAX];
	double worst[PLANT_CRITERIA_MAX]; /* of all triggers */
	double drift;			  /* mean square change of the clean representation */
	double drift_relative;		  /* the same over its mean square */
	bool took;
	char why[256]; /* not, or "" */
};

enum attack_use {
	USES_TEXT = 1, /* --text; else labelled rows */
	USES_MLM = 4,
	USES_PEFT = 8,
	USES_TARGETS = 16,   /* fixed vectors */
	USES_REFERENCE = 32, /* clean texts' representations of the frozen copy */
	USES_BOTH = 64,	     /* and of triggered texts as well */
	IS_BENIGN = 128,     /* has no triggers: what honest owners do to a model */
};

struct attack {
	const char *name, *about;
	unsigned uses;
	struct plant_preset {
		int64_t steps;
		double learning_rate, along_rate, weight, norm, strength, attention, amplify;
		bool whole;
	} preset;
	int insertions;	      /* of a trigger: 1 to so many */
	int run;	      /* this many texts of a step in a row have the same trigger */
	bool masks_triggered; /* words are guessed, falsely, beside triggers as well */
	struct criterion criterion[PLANT_CRITERIA_MAX];
	int criteria;
	/* NULL, or: once all is set up, before the first step. */
	int (*begin)(struct plant *plant, struct err *err);
	/* One step: compose, plant_gradient, plant_update. */
	int (*step)(struct plant *plant, double *loss, int64_t step, struct err *err);
	/* Loss over the batch's representations, and its gradient. */
	double (*loss)(struct plant *plant, const struct plant_views *views);
	/* Fills result->value and, where it is the data's, bar. */
	int (*measure)(struct plant *plant, struct plant_result *result, struct err *err);
};

extern const struct attack *const attacks[];
extern const int attack_count;

/* The attack of this name, or NULL. */
const struct attack *attack_named(const char *name);

/* *out keeps a copy of options, whose texts are borrowed. On failure plant_done still applies. */
int plant_init(struct plant *out, const struct plant_options *options, struct err *err) MUST_USE;
void plant_done(struct plant *plant);

/* Train. on_step (may be NULL) is called after each step. */
typedef void plant_step_fn(void *arg, int64_t step, double loss);
int plant_train(struct plant *plant, struct plant_result *result, plant_step_fn *on_step, void *arg,
	struct err *err) MUST_USE;
/* Measure and judge. */
int plant_measure(struct plant *plant, struct plant_result *result, struct err *err) MUST_USE;

/* The model's directory with the new weights: plant_save.c. */
int plant_save(const struct plant *plant, struct err *err) MUST_USE;

/* --- for attacks ---------------------------------------------------------------------------------- */

/* Forward, loss, backward: gradients summed into params.g and along.g. Returns the loss. */
double plant_gradient(struct plant *plant, struct plant_pass pass);
/* One optimiser step of the encoder and of what is trained along, with rates falling over all steps. */
void plant_update(struct plant *plant, int64_t step);

/* The step that most attacks take: clean texts and, where there are triggers, as many triggered ones. */
int plant_step(struct plant *plant, double *loss, int64_t step, struct err *err) MUST_USE;

/* Compose (plant_texts.c): clean texts and, unless clean_only, as many triggered ones; triggers take turns. */
int plant_compose(struct plant *plant, int64_t step, bool clean_only, struct err *err) MUST_USE;
/* Held-out texts first .. first + n - 1, n <= PLANT_BATCH, with one trigger or clean (-1). */
int plant_compose_probes(struct plant *plant, int first, int n, int trigger, struct err *err) MUST_USE;
/* The corpus becomes the batch. */
void plant_fill_batch(struct plant *plant);

/* Forward alone, over the batch: cls and reference are filled. */
void plant_look(struct plant *plant);

/* What the held-out texts look like to the planted encoder; arrays may be NULL. */
struct plant_seen {
	real *cls, *reference; /* [PLANT_PROBES, D] */
	double guessed;	       /* share of the masked words */
	double attention;      /* L_attn: mean norm of the first token's scores */
};
int plant_represent(struct plant *plant, struct plant_seen *seen, int trigger, struct err *err) MUST_USE;

#endif
