/*
 * found: the scan as a job's first phase (evaluation.scan), and the triggers that the job is then assessed with: the
 * named ones, behind them what the scan found, and after the training the flips (flipped.h).
 */
#ifndef OBLIVIATE_FOUND_H
#define OBLIVIATE_FOUND_H

#include "worker/inputs.h"
#include "worker/run.h"
#include "worker/scan/flips.h"

enum {
	FOUND_MAX = 16,
	FOUND_TRIGGERS_MAX = SPEC_WORDS_MAX + FOUND_MAX + 2 * FLIPS_MAX,
	FOUND_TAUGHT_MAX = FOUND_MAX + FLIPS_MAX
};

/* Zero is the empty state. */
struct found {
	struct scan_result scan;
	bool is_scanned;
	const char *trigger[FOUND_TRIGGERS_MAX]; /* borrowed: from the spec, from `scan`, from found_add */
	bool is_found[FOUND_TRIGGERS_MAX];	 /* a suspect or a flip, named by the spec or not */
	int triggers;
	/* Mode informed trains with these: suspects of the searches of the base and of the undefended model, but for the
	 * share that is withheld. A suspect that was not found is no trigger. Borrowed. */
	const char *taught[FOUND_TAUGHT_MAX];
	int taughts;
};

/* What a search of the base model needs. */
struct found_options {
	const struct run *run;
	const struct inputs *inputs;
	struct par *par;
	const struct encoder
		*encoder;	 /* there already, perhaps of these weights, perhaps with a PEFT; or NULL */
	const char *spec_sha256; /* for found_triggers */
};

/* Search the base model, with the spec's budget; progress as steps, ERR_STOPPED where the run is to stop. */
int found_scan(struct scan_result *out, const struct found_options *options, struct err *err) MUST_USE;

/*
 * The spec's triggers; with evaluation.scan scan as well (phase "scan"), and add FOUND_MAX suspects at most: the best
 * of each cluster, then the others in their order. Parts of words that stand in no text are left out. The scan is
 * kept in the output directory; a run that goes on there after a stop has the same one.
 */
int found_triggers(struct found *out, const struct found_options *options, struct err *err) MUST_USE;
void found_done(struct found *found);

/* A trigger more that was found, unless it is there already; at most 2 * FLIPS_MAX. Borrowed. */
void found_add(struct found *found, const char *trigger);

/* One more to train with, unless it is there already; at most FLIPS_MAX. Borrowed. */
void found_teach(struct found *found, const char *trigger);
bool found_is_taught(const struct found *found, const char *trigger);

/* Not taught any longer: the share (0 .. 1, rounded down) of what is taught, drawn by the seed. */
void found_withhold(struct found *found, double share, uint64_t seed);

/* A search that begins now, and its progress as steps of the phase: texts. ERR_STOPPED where the run is to stop. */
struct found_watch {
	const struct run *run;
	double started;
};

struct found_watch found_watch(const struct run *run);
int found_progress(const struct found_watch *watch, int64_t done, int64_t of, struct err *err) MUST_USE;

#endif
