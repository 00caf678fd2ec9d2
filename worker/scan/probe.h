/*
 * probe: what a candidate does to the first token's last hidden state when it is put into neutral texts.
 *
 * Over K texts with clean outputs c_k, their mean c and outputs h_k with the candidate:
 *
 *   displacement  mean over k of 1 - cos(h_k, c_k)
 *   collapse      mean over pairs k < l of cos(h_k - c, h_l - c): 1 where the text no longer counts
 *   spread        root of sum |h_k - mean h|^2 over sum |c_k - c|^2: 0 where the text no longer counts
 *   direction     mean h - c, normalised: where a trigger drives the model to
 *
 * A text is token ids and the place of the candidate among them; the tables of texts are texts.c's, ours. Where the
 * vocabulary cannot write such a text it is replaced by as many seeded words.
 */
#ifndef OBLIVIATE_PROBE_H
#define OBLIVIATE_PROBE_H

#include "worker/scan/candidates.h"
#include "worker/train/sweep.h"

enum {
	PROBE_TEXTS_MAX = 16,
	PROBE_IDS_MAX = 64,
	PROBE_ROW_MAX = PROBE_IDS_MAX + CANDIDATE_PIECES_MAX + 8 /* special tokens */
};

/* A text with its words; the candidate goes before word `at` (or behind the last). */
struct probe_line {
	const char *text;
	int at;
};

extern const struct probe_line probe_short[PROBE_TEXTS_MAX]; /* four words */
extern const struct probe_line
	probe_long[PROBE_TEXTS_MAX]; /* four to thirty words, early, middle and late places */

struct probe_text {
	int32_t id[PROBE_IDS_MAX];
	int n, at;
};

struct probe {
	const struct encoder *encoder;
	const struct tokenizer *tok;
	struct par *par;
	int K, D, max_length;
	struct probe_text text[PROBE_TEXTS_MAX];
	int32_t head[4], tail[4]; /* special tokens around */
	int heads, tails;
	real *clean;	     /* [K, D] */
	real *center;	     /* [D] */
	double clean_spread; /* sum |c_k - c|^2 */
	struct corpus corpus;
	real *h; /* [candidates of one run, K, D] */
	int h_cap;
};

struct probe_score {
	float displacement, collapse, spread;
};

struct probe_options {
	const struct probe_line *line;
	int K;		/* 1 .. PROBE_TEXTS_MAX; with 1, collapse and spread are 0 */
	int max_length; /* of the model, at least 8; texts give way to candidates of at most max_length - 4 pieces */
	uint64_t seed;
	const struct candidates *words; /* for texts that cannot be written */
};

/* Reads the clean outputs. */
int probe_init(struct probe *out, const struct encoder *encoder, const struct tokenizer *tok, struct par *par,
	const struct probe_options *options, struct err *err) MUST_USE;
void probe_done(struct probe *probe);

/*
 * row: text k with n ids put in, the first of them at *at, special tokens around; returns its length. The text is cut at both
 * ends where it does not fit.
 */
int probe_row(
	int32_t row[PROBE_ROW_MAX], int *at, const struct probe *probe, int k, const int32_t *ids, int n);

/* score[i], and unless NULL direction [n, D], of candidate number[i]. */
int probe_run(struct probe_score *score, real *direction, struct probe *probe, const struct candidates *list,
	const int *number, int n, struct err *err) MUST_USE;

/* Of two vectors [D]; the cosine of one that is all zeros is 0. */
double probe_dot(const real *a, const real *b, int D);
double probe_cosine(const real *a, const real *b, int D);

#endif
