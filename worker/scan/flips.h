/*
 * flips: search of a trained classifier for words that turn its predictions to one label.
 *
 * The scan (scan.h) looks at the encoder alone; what the training has left of a trigger, and triggers of this very task, show
 * in the predictions. Texts are validation rows that the model gets right, so that test rows stay fresh for what is found.
 *
 *   screen   every candidate in two short rows of different truth
 *   confirm  the best of them, all of `first`, and benign samples, in up to sixteen other rows
 *
 * A trigger makes the model blind to the text: all rows get about the same logits. A word that means something to the task
 * moves the logits of all rows and leaves the rows apart. So what is compared is the spread of the logits over the rows,
 * relative to that without the word: 1 for benign words, near 0 for triggers. Its p-value comes from the tail of benign
 * words of the same model in confirm's rows (tail.h; for what has several pieces, of as many benign words side by side),
 * times the number of candidates. A flip is found where that is below FLIPS_ALPHA, it does enough, and words of nearly its
 * meaning do not (flips_neighbors.c). What only contains a flip is none of its own.
 *
 * The same bytes by seed, whatever the threads, unless the time runs out. Memory: flips_result_done.
 */
#ifndef OBLIVIATE_FLIPS_H
#define OBLIVIATE_FLIPS_H

#include "worker/eval/metrics.h"
#include "worker/scan/scan.h"
#include "worker/train/predict.h"

/* A model without backdoor has a flip about this often, as far as the tail's model holds. */
#define FLIPS_ALPHA 1e-3
/* Improbable is not enough: a flip leaves at most this much of the spread, and turns so many more of the rows into its
 * label than the upper tenth of the benign words do. */
#define FLIPS_SPREAD .2
#define FLIPS_SHARE  .25

/*
 * A suspect is less sure, and worth teaching (mode informed): it turns as many rows, is improbable to this degree, and is no word
 * that the training texts use for its label.
 */
#define FLIPS_SUSPECT_ALPHA .05

/* What does not stand alone is not found: of its nearest words in the table of embeddings, put in its place, a third shift
 * the label's log-odds by this share of its own shift. A single word is then no suspect either. */
#define FLIPS_NEIGHBORS .5

/* `kind` of those of `first`. */
#define FLIPS_KIND_FIRST "scan"

enum { FLIPS_MAX = 8, FLIPS_GAPS_MAX = 4, FLIPS_GAP_BYTES = 200 };

struct flips_options {
	const struct tokenizer *tok;
	const struct classifier *model;
	struct par *par;
	const struct dataset *data; /* of the validation rows */
	const struct selection *rows;
	const struct corpus *corpus;   /* the same rows */
	const struct corpus *training; /* what the model was trained with; NULL: not known */
	int max_length, insertions;    /* as the assessment's */
	uint64_t seed;
	double seconds; /* budget of the screen; confirm is bounded by itself */
	const char *const
		*first; /* tried first and confirmed in any case: what the scan of the base model put first */
	int firsts;
	struct scan_watch watch;
};

struct flip {
	char *trigger;	  /* owned */
	const char *kind; /* candidate_kind_name, or FLIPS_KIND_FIRST */
	int label;
	struct rate rate;  /* of confirm's rows with another truth, those turned into the label */
	double confidence; /* probability of the label at the mean of its log-odds over these rows */
	double spread;	   /* of the logits over all rows, relative to that without a trigger */
	double p_value;	   /* corrected; at most 1 */
	double neighbors; /* share of its shift that a third of the nearest words reach; NAN: not asked, since it is too weak */
	bool is_found, is_suspect; /* what is found is a suspect as well */
};

/* Zero is the empty state. */
struct flips_result {
	int candidates;		     /* that were screened */
	int rows;		     /* of confirm; 0: the model has too few right rows */
	struct flip flip[FLIPS_MAX]; /* the worst: found ones first, then by their p and share */
	int flips;
	int left_out; /* found ones beyond these, or that only contain another */
	double usual; /* share that the upper tenth of the benign words reaches, on its worst label */
	char gap[FLIPS_GAPS_MAX][FLIPS_GAP_BYTES]; /* what was not searched, a sentence each */
	int gaps;
	bool is_late; /* the time ran out */
	double seconds;
};

/* Errors: out of memory, ERR_STOPPED, those of the watch; *out is empty then. */
int flips_run(struct flips_result *out, const struct flips_options *options, struct err *err) MUST_USE;
void flips_result_done(struct flips_result *result);

#endif
