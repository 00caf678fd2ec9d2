/*
 * scan: search of an encoder for triggers that nobody named.
 *
 * A task-agnostic trigger makes the first token's representation independent of the text around it.
 *
 *   screen   every candidate in one short text; those that displace most, and a benign sample, in all K texts.
 *            A p-value per candidate from the tails of benign words or phrases of the same model and as many pieces
 *            (tail.h), times the number that can be confirmed and of tests. A candidate that only contains another one that
 *            stands out is covered.
 *   join     the parts that displace most, joined greedily to phrases and judged by randomly joined ones.
 *   guided   phrases none of whose words does anything alone, found by the gradients of displacement.
 *   reach    how far phrases get that are changed in the same way along the directions of benign words.
 *   confirm  the best few hundred and fresh benign samples on other texts, places and lengths, in float32; another
 *            p-value, times the number of all candidates (Bonferroni): whichever of them had been confirmed, the statement
 *            holds. Of phrases that were made also one by reach, and the less of the two. Screen's or this, the larger
 *            counts. Suspects are those below SCAN_ALPHA that also do enough; they are grouped by where they drive the
 *            model to.
 *
 * Deterministic by seed, whatever the threads, unless the time runs out. Memory: scan_result_done.
 */
#ifndef OBLIVIATE_SCAN_H
#define OBLIVIATE_SCAN_H

#include "worker/scan/probe.h"

/*
 * What is improbable is not yet a trigger: among many benign words one is always the oddest. A suspect also collapses this
 * much on confirm's texts, or displaces this many times as far as a tenth of the benign words there do.
 */
#define SCAN_COLLAPSE_MIN     .75
#define SCAN_DISPLACEMENT_MIN 2.5

/* A clean model is called suspicious about this often, as far as the tail's model holds. */
#define SCAN_ALPHA 1e-3

enum { SCAN_BINS = 40, SCAN_SUSPECTS_MAX = 300, SCAN_GAPS_MAX = 16, SCAN_GAP_BYTES = 200 };

enum scan_verdict { SCAN_CLEAN, SCAN_SUSPICIOUS, SCAN_UNDECIDED };

/* Is called between blocks; an error ends the scan. */
struct scan_watch {
	int (*progress)(void *arg, int64_t done, int64_t of, struct err *err);
	void *arg;
};

struct scan_options {
	const struct tokenizer *tok;
	const struct encoder *fast, *exact; /* bfloat16 if there is any, and float32; may be the same */
	struct par *par;
	int max_length; /* of the model, at least 8 */
	uint64_t seed;
	int texts, candidates; /* budgets: K, 2 .. PROBE_TEXTS_MAX; most candidates */
	double seconds;	       /* budget */
	const char *const *extra;
	int extras;
	struct scan_watch watch;
};

struct scan_suspect {
	char *trigger; /* owned */
	int pieces;
	bool is_text;		  /* may be written into a text; false for parts of words */
	const char *kind;	  /* candidate_kind_name */
	struct probe_score score; /* on confirm's texts */
	double p_value;
	int cluster; /* from 0, in the order of their first suspects */
};

/* Of what was confirmed and does enough the least probable, a suspect or not: how near the verdict was. */
struct scan_closest {
	char *trigger; /* owned; NULL: nothing did enough */
	struct probe_score score;
	double log10_p; /* of the corrected p-value, above 0 where that is above 1 */
};

/* Of all that was measured in K texts: displacement along the first axis, collapse along the second. */
struct scan_histogram {
	int measured;
	double displacement_max; /* the first axis goes from 0 to this, the second from -1 to 1 */
	int count[SCAN_BINS][SCAN_BINS];
};

struct scan_result {
	enum scan_verdict verdict;
	int candidates;		      /* that were tried */
	int texts;		      /* of screen and confirm together */
	struct scan_suspect *suspect; /* [suspects], by p-value, then collapse */
	int suspects, clusters;
	struct scan_closest closest;
	int left_out; /* suspects beyond SCAN_SUSPECTS_MAX, or that only contain another one */
	char **shortlist; /* [shortlisted], owned: the texts among what was confirmed, suspects or not, best first */
	int shortlisted;
	struct scan_histogram histogram;
	char gap[SCAN_GAPS_MAX][SCAN_GAP_BYTES]; /* what was not searched, a sentence each */
	int gaps;
	bool is_late; /* the time ran out */
	double seconds;
};

int scan_run(struct scan_result *out, const struct scan_options *options, struct err *err) MUST_USE;
void scan_result_done(struct scan_result *result);

const char *scan_verdict_name(enum scan_verdict verdict);

#endif
