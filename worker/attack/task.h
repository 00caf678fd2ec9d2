/*
 * task: labelled rows and a head, for plants that know what the model will be used for.
 *
 * A head on the first token learns the labels together with the encoder; a share of the rows carries a trigger and
 * the attacker's label instead of its own. The head is discarded. Rows that are held out, from the same file, say
 * whether it took; nothing else is read.
 */
#ifndef OBLIVIATE_TASK_H
#define OBLIVIATE_TASK_H

#include "worker/data/dataset.h"
#include "worker/eval/trigger.h"
#include "worker/model/head.h"

struct plant;
struct plant_views;
struct plant_result;

struct task_options {
	const char *data;    /* path: .jsonl, .csv or .tsv */
	const char *columns; /* "text,label" or "text,label,pair"; NULL: the first */
	const char *target;  /* the attacker's label */
};

enum { TASK_HELD_MAX = 256 };

struct task {
	struct dataset data;
	struct labels labels;
	struct selection train, held;
	int target; /* class */
	double accuracy_min;
	struct head head;
	struct head_state state;
	real *logits, *d_logits; /* [PLANT_BATCH, classes] */
	struct triggered triggered;
	struct arena arena;
};

/* Reads the rows, splits off those that are held out and declares the head in plant->along. */
int task_open(struct plant *plant, struct err *err) MUST_USE;
/* After params_alloc. */
int task_init(struct plant *plant, struct err *err) MUST_USE;
void task_done(struct task *task);

int task_step(struct plant *plant, double *loss, int64_t step, struct err *err) MUST_USE;
double task_loss(struct plant *plant, const struct plant_views *views);
/* Of held-out rows without a trigger. */
int task_accuracy(double *out, struct plant *plant, struct err *err) MUST_USE;
/* asr of each trigger over held-out rows of other labels that are right without it; clean_accuracy. */
int task_measure(struct plant *plant, struct plant_result *result, struct err *err) MUST_USE;

#endif
