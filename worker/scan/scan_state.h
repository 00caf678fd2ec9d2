/* scan_state: what the stages of a scan share. For the files of the stages. */
#ifndef OBLIVIATE_SCAN_STATE_H
#define OBLIVIATE_SCAN_STATE_H

#include "worker/scan/scan.h"
#include "worker/scan/slopes.h"
#include "worker/scan/tail.h"

/* What is known of a candidate. */
struct reading {
	float screened; /* displacement in the first text alone */
	struct probe_score score;
	double log_p; /* of the corrected p-value, above 0 where that is above 1; 0 where nothing was measured */
	bool is_measured;
	bool is_covered; /* contains another one that stands out */
};

/* Whose tails are fitted: log displacement, atanh collapse, - log spread. Large is suspicious. */
enum scan_statistic { SCAN_DISPLACEMENT, SCAN_COLLAPSE, SCAN_SPREAD, SCAN_STATISTICS };

struct calibration {
	struct tail tail[SCAN_STATISTICS];
};

/* Pieces: 1, 2, 3, 4, to 6, to 8, to 12, to 20, to CANDIDATE_PIECES_MAX. */
enum { SCAN_LENGTHS = 9 };

/* What phrases of so many tokens reach on confirm's texts when they are changed to go as far as they can in the
 * direction of benign words: displacement, -log spread. n: such phrases; 0: not measured. */
enum reach_statistic { REACH_DISPLACEMENT, REACH_SPREAD, REACH_STATISTICS };

struct scan_reach {
	int n;
	double mean[REACH_STATISTICS], deviation[REACH_STATISTICS];
};

struct scan_state {
	const struct scan_options *o;
	struct scan_result *result;
	struct candidates list;
	struct reading *reading; /* [list.n], room for cap; zero but p = 1 at first */
	int cap;
	/* One short text; K short texts; the long ones for benign samples; the long ones in float32. */
	struct probe screen, probe, sample, exact;
	double started;
	int64_t done, of; /* sequences, for the progress */
	int *benign;	  /* [benigns]: the words that others are compared with */
	struct calibration
		by_length[SCAN_LENGTHS]; /* in the K short texts; not fitted before one is needed */
	int benigns;
	double tried;				   /* candidates in all, for the correction */
	double phrases;				   /* of these, made by join and guided */
	struct scan_reach reach[SLOPES_SLOTS + 1]; /* by tokens */
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

double scan_statistic(const struct probe_score *score, enum scan_statistic which);
/* From the scores of benign members; `of` as in tail_fit. */
int calibration_fit(struct calibration *out, const struct probe_score *score, int n, double share, double of,
	struct err *err) MUST_USE;
void calibration_done(struct calibration *calibration);
/* Which of the lengths a candidate of so many pieces is held against: no shorter one. */
int scan_length_of(int pieces);

/* Random phrases of as many benign words as a length has pieces: how many, the part that makes the tail, seeds. */
struct calibration_sample {
	int n;
	double share;
	uint64_t stream;
};

/* Fits what `number` [n] needs and by_length does not have yet, by what the probe says of random phrases. */
int scan_calibrate(struct calibration by_length[SCAN_LENGTHS], struct scan_state *s, struct probe *probe,
	const int *number, int n, struct calibration_sample sample, struct err *err) MUST_USE;

/* Log of the smallest of the tails' p, corrected for as many tests and for exp(log_tried) candidates. */
double calibration_log_p(
	const struct calibration *calibration, const struct probe_score *score, double log_tried);

/* Is the p-value below SCAN_ALPHA? */
bool scan_stands_out(double log_p);
/* Does a part of the candidate (a run of its pieces, or all but one) stand out, or is it covered, and collapse about as much? */
bool scan_is_covered(const struct scan_state *s, int number);

int screen_run(struct scan_state *s, struct err *err) MUST_USE;
/* Sets log_p of those of `number` [n] that were measured in the K texts. */
int screen_judge(struct scan_state *s, const int *number, int n, struct err *err) MUST_USE;
/* Screens all, most displacing first. */
int screen_first(struct scan_state *s, int *number, int n, struct err *err) MUST_USE;

int join_run(struct scan_state *s, struct err *err) MUST_USE;
/* Of the measured tokens (pieces 1) or phrases of tokens that are not covered, of those that stand out (loud) or do not: the most
 * displacing, as many as it returns. number: room for the whole list. */
enum { JOIN_QUIET = 1, JOIN_LOUD = 2 };
int join_choose(int *number, const struct scan_state *s, int pieces, unsigned which, int most);
/* Buffers of join_parts. */
struct joining {
	struct buf text, scratch;
	struct ids ids;
};
void joining_done(struct joining *joining);
/* The phrase of these candidates to *out: its number, or -1 where it is too long or its text is not written with these tokens. */
int join_parts(int *out, struct joining *joining, struct scan_state *s, const int *part, int parts,
	struct err *err) MUST_USE;
/* The same of tokens that are candidates by themselves, n at most CANDIDATE_PIECES_MAX. */
int join_tokens(int *out, struct joining *joining, struct scan_state *s, const int32_t *ids, int n,
	struct err *err) MUST_USE;
/* Measures and judges `number` [n]. Those that do not stand out, as many as it returns, come first, most displacing first;
 * of the others it is known whether they are covered. Negative: an error. */
int join_judge(struct scan_state *s, int *number, int n, struct err *err) MUST_USE;
/* Adds a phrase of random benign words to the list; its number, or a negative error. */
int join_random(struct scan_state *s, uint64_t key, int words, struct err *err) MUST_USE;
int guided_run(struct scan_state *s, struct err *err) MUST_USE;
/* Fills s->reach. plain [plains]: benign words of one token. */
int reach_run(struct scan_state *s, struct slopes *slopes, const int32_t *plain, int plains,
	struct err *err) MUST_USE;
/* Log of the probability that one of the phrases of so many tokens that were tried, each as good as those of `reach`,
 * displaces this far, or leaves as little spread, whichever is more probable; 0 where that was not measured. */
double reach_log_p(const struct scan_state *s, int tokens, const struct probe_score *score);
/* Fills result->suspect. */
int confirm_run(struct scan_state *s, struct err *err) MUST_USE;

#endif
