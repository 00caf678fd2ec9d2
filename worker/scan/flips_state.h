/* flips_state: what the parts of a search for flips share. For the files flips*.c. */
#ifndef OBLIVIATE_FLIPS_STATE_H
#define OBLIVIATE_FLIPS_STATE_H

#include "worker/eval/trigger.h"
#include "worker/scan/flips.h"

enum { FLIPS_CONFIRM_ROWS = 16, FLIPS_FIRSTS_MAX = 100, FLIPS_BLOCK_TEXTS = 4096 };

/* Rows that candidates are put into, by their places in the selection. */
struct hosts {
	int row[FLIPS_CONFIRM_ROWS], n, tokens;
	int others[DATASET_CLASSES_MAX];  /* rows of another truth than the label */
	double clean;			  /* spread of the logits over the rows as they are */
	double odds[DATASET_CLASSES_MAX]; /* mean log-odds of the label over those rows, as they are */
};

/* What n candidates do. */
struct turns {
	int n;
	double *blindness; /* [n]: minus the log of the logits' spread, relative to the clean one */
	double *hold;	   /* [n]: least log-odds of any row, of the label for which that is largest */
	double *odds;	   /* [n, K]: mean log-odds of the label over rows of another truth */
	int *count;	   /* [n, K]: of these rows, those that are predicted as the label */
};

struct flipper {
	const struct flips_options *o;
	struct flips_result *result;
	int K;
	struct candidates list;
	struct hosts screen, confirm;
	int *tried, n;	      /* numbers in the list, in the order of the screen */
	int *benign, benigns; /* places in `tried`, of those that were screened */
	struct turns screened;
	struct corpus corpus;
	struct triggered text;
	int *label; /* [FLIPS_BLOCK_TEXTS] */
	real *logits;
	double started;
	int64_t done, of; /* texts, for the progress */
};

/* flips_rows.c */
const struct text *flips_text(const struct flipper *f, int row);
/* The training texts use the candidate for the label: several of them have it, most of these with it. */
bool flips_is_explained(const struct flipper *f, int number, int label);
/* The hosts; confirm has none where the model gets too few rows of two labels right. */
int flips_find_rows(struct flipper *f, struct err *err) MUST_USE;

/* flips_measure.c */
double flips_seconds(const struct flipper *f);
/* The rows without a trigger: hosts->clean and odds. */
int flips_measure_clean(struct hosts *hosts, struct flipper *f, struct err *err) MUST_USE;
/* Block by block; with a limit in seconds out->n becomes what was measured before it. *out is for flips_turns_done. */
int flips_measure(struct turns *out, struct flipper *f, const struct hosts *hosts, const int *number, int n,
	double seconds, struct err *err) MUST_USE;
void flips_turns_done(struct turns *turns);

/* flips_neighbors.c: the share of the shift in the label's log-odds that a third of the candidate's neighbours reach;
 * 0 where there are too few. */
int flips_neighbors(
	double *share, struct flipper *f, int number, int label, double shift, struct err *err) MUST_USE;

/* Words, joined to a candidate: its number in the list, or a negative error. */
int flips_join_words(struct flipper *f, const char *const *word, int words, struct err *err) MUST_USE;
/* flips_confirm.c: fills result->flip from what was screened. */
int flips_confirm(struct flipper *f, struct err *err) MUST_USE;
/* Texts that it reads in all, at most. */
int64_t flips_confirm_texts(const struct flipper *f);

#endif
