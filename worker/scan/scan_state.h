/* scan_state: what the stages of a scan share. For scan.c, screen.c, join.c and confirm.c. */
#ifndef OBLIVIATE_SCAN_STATE_H
#define OBLIVIATE_SCAN_STATE_H

#include "worker/scan/scan.h"
#include "worker/scan/tail.h"

/* What is known of a candidate. */
struct reading {
	float screened; /* displacement in the first text alone */
	struct probe_score score;
	double p; /* corrected; 1 where nothing was measured */
	bool is_measured;
	bool is_covered; /* contains another one that stands out */
};

/* Two statistics whose tails are fitted: log displacement and atanh collapse. */
struct calibration {
	struct tail displacement, collapse;
};

struct scan_state {
	const struct scan_options *o;
	struct scan_result *result;
	struct candidates list;
	struct reading *reading; /* [list.n], room for cap; zero but p = 1 at first */
	int cap;
	struct probe screen, probe, exact; /* one short text; K short texts; the long ones, float32 */
	double started;
	int64_t done, of; /* sequences, for the progress */
	int *benign;	  /* [benigns]: the words that others are compared with */
	int benigns;
	double tried; /* candidates in all, for the correction */
};

/* Candidates of one call of probe_run. */
enum { SCAN_BLOCK = 2048 };

bool scan_is_late(const struct scan_state *s);
/* Readings for candidates that were joined to the list. */
int scan_grow(struct scan_state *s, struct err *err) MUST_USE;
/* Measure `number` [n] in the K texts, block by block; stops early when the time is up. */
int scan_measure(struct scan_state *s, const int *number, int n, struct err *err) MUST_USE;
/* Say how far it is; an error when the scan is to stop. */
int scan_progress(struct scan_state *s, int64_t sequences, struct err *err) MUST_USE;

double scan_log_displacement(const struct probe_score *score);
double scan_fisher(const struct probe_score *score);
/* From the scores of benign members; `of` as in tail_fit. */
int calibration_fit(struct calibration *out, const struct probe_score *score, int n, double share, double of,
	struct err *err) MUST_USE;
void calibration_done(struct calibration *calibration);
/* The smaller of both tails' p, corrected for two tests and `tried` candidates; at most 1. */
double calibration_p(const struct calibration *calibration, const struct probe_score *score, double tried);

/* Is a part of the candidate (a run of its pieces, or all but one) a candidate with a p below SCAN_ALPHA, or covered? */
bool scan_is_covered(const struct scan_state *s, int number);

int screen_run(struct scan_state *s, struct err *err) MUST_USE;
int join_run(struct scan_state *s, struct err *err) MUST_USE;
/* Adds a phrase of random benign words to the list; its number, or a negative error. */
int join_random(struct scan_state *s, uint64_t key, int words, struct err *err) MUST_USE;
/* Fills result->suspect. */
int confirm_run(struct scan_state *s, struct err *err) MUST_USE;

#endif
