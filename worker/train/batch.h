/*
 * batch: one step's texts, divided into slices for the threads.
 *
 * The division depends on the texts alone, never on the number of threads, so that sums come out the same
 * bits: an even number of slices of about SLICE_TOKENS tokens, balanced by giving each text, longest
 * first, to the slice that is shortest so far.
 */
#ifndef OBLIVIATE_BATCH_H
#define OBLIVIATE_BATCH_H

#include "worker/model/encoder.h"
#include "worker/train/corpus.h"

/*
 * Two hundred rows keep a core's products at nine tenths of its peak; more would only cost cache. Each slice
 * has a gradient of its own, so that there are never more than SLICES_MAX.
 */
enum { SLICE_TOKENS = 192, SLICES_MAX = 32 };

struct batch {
	int n, T; /* texts, tokens */
	int slices;
	struct slice *slice; /* [slices] */
	int **labels;	     /* [slices], labels of its sequences */
	int max_slices, max_texts;
	/* owned */
	struct sequence *seq; /* [max_texts], grouped by slice */
	int *label;	      /* likewise */
	int *order, *owner, *load;
	struct arena arena;
};

/* For batches of at most max_texts texts and max_slices slices (at least 1). */
int batch_init(struct batch *batch, int max_texts, int max_slices, struct err *err) MUST_USE;
void batch_done(struct batch *batch);

/* Slices that batch_fill may make of n texts of at most `longest` tokens. */
int batch_most_slices(int n, int longest);
/* The largest slice that it may make with no more than max_slices. */
struct slice_limits batch_limits(int n, int longest, int max_slices);

/* rows: numbers of texts in corpus. Pointers into the corpus are borrowed. */
void batch_fill(struct batch *batch, const struct corpus *corpus, const int *rows, int n);

#endif
