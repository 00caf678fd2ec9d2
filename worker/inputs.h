/*
 * inputs: everything that a job reads: model, tokenizer, data sets and their splits, as token ids.
 *
 * Missing parts come from the training file, stratified by label, by seed: a fifth for the test, a tenth
 * for validation. Rows are capped by seeded samples after the split. With several seeds the splits are the first
 * seed's: what differs between the runs is training alone, and their predictions are paired.
 *
 * The search of mode auto compares accuracies that differ by a percent, for which a validation part is small. It
 * takes what else is clean and unseen: all rows of a validation file, else the tenth and the training rows that
 * max_train_rows left out, up to SEARCH_ROWS_MAX. No run trains on them; test rows are never among them.
 */
#ifndef OBLIVIATE_INPUTS_H
#define OBLIVIATE_INPUTS_H

#include "common/spec.h"
#include "worker/model/config.h"
#include "worker/model/weights.h"
#include "worker/train/corpus.h"

enum part { PART_TRAIN, PART_VALIDATION, PART_TEST, PART_COUNT };

enum { SEARCH_ROWS_MAX = 5000 };

struct inputs {
	struct config config;
	struct weights weights;
	struct tokenizer *tok;
	int max_length; /* tokens of a text: the job's, the tokenizer's and the model's limit */
	struct labels labels;
	struct dataset file[PART_COUNT];	  /* as uploaded; n = 0 where there was no such file */
	struct selection rows[PART_COUNT];	  /* row numbers in source[part] */
	const struct dataset *source[PART_COUNT]; /* a part's own file, or the training file */
	struct corpus corpus[PART_COUNT];
	struct selection search_rows; /* in source[PART_VALIDATION]; empty but in mode auto */
	struct corpus search;
};

/* Errors name file and place. On failure inputs_done still applies. */
int inputs_read(
	struct inputs *out, const struct spec *spec, int model_fd, int data_fd, struct err *err) MUST_USE;
/* The model alone: config, weights, tokenizer, max_length. *out is zero. */
int inputs_read_model(struct inputs *out, const struct spec *spec, int model_fd, struct err *err) MUST_USE;
void inputs_done(struct inputs *inputs);

#endif
