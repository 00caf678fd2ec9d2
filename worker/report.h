/*
 * report: what a job did and measured, as report.json and metrics.csv.
 *
 * The structs below are the report in C; report_json gives the object of docs/protocol.md. A part that is
 * NULL is null in the report, and so is a number that is NaN: a report can be written before the job is
 * finished. Everything is borrowed. Two reports of one job differ only in the ids that the caller puts in
 * and in `seconds` and `tokens_per_second`.
 */
#ifndef OBLIVIATE_REPORT_H
#define OBLIVIATE_REPORT_H

#include <jansson.h>

#include "common/spec.h"
#include "worker/data/dataset.h"
#include "worker/eval/metrics.h"
#include "worker/scan/flips.h"
#include "worker/train/path.h"

enum { REPORT_SEEDS_MAX = SPEC_SEEDS_MAX };

struct report_input {
	const char *id, *sha256; /* id NULL: there was no such file */
	int rows;		 /* of a data file, all that it has; -1: not a data file */
};

struct epoch_summary {
	int epoch; /* from 1 */
	double loss, ce, amplify, attention;
	double valid_loss, valid_accuracy;
};

struct training_summary {
	int64_t steps, tokens;
	double seconds, tokens_per_second;
	int selected_epoch; /* what is exported and gated */
	const struct epoch_summary *epoch;
	int epochs;
};

/* One seed of several, on the same rows. */
struct report_seed {
	int64_t seed;
	const struct training_summary *training;
	const struct evaluation *evaluation, *undefended;
	const struct drop *ca_drop;
};

/* The search of mode auto. */
struct report_search {
	const struct path *path;
	double amplify, attention; /* at strength 1 */
	double undefended_accuracy;
	int64_t steps; /* of each look */
	double look_seconds[PATH_LOOKS];
	const struct evaluation
		*evaluation[PATH_LOOKS]; /* on test rows, after the choice; NULL: not compared */
	double seconds;			 /* spent in steps by the undefended run and all looks */
};

struct report_artifact {
	const char *path; /* relative to the output directory */
	size_t bytes;
	const char *sha256;
};

struct versions {
	const char *program, *blas, *blas_kernel, *cpu;
	int threads;
	const char *sandbox; /* what of it held */
};

struct report {
	const char *job, *status;
	struct report_input model, training_file, validation_file, test_file;
	const char *init_from_sha256; /* adapter.zip of the job that this one repairs; NULL: none */
	const char *spec_sha256;
	const struct labels *labels;
	const struct training_summary *training, *undefended_training;
	const struct evaluation *evaluation, *undefended;
	const char *const *triggers;	/* texts of evaluation->triggers, and of undefended's */
	const bool *found;		/* with scan, per trigger: it is a suspect or a flip */
	const bool *taught;		/* mode informed, per trigger: training saw it; else NULL */
	const struct scan_result *scan; /* NULL: there was none */
	/* With scan: of the exported model, and of the undefended one (NULL: there was none). */
	const struct flips_result *flips, *undefended_flips;
	const char *const *controls; /* likewise of the control */
	const struct drop *ca_drop;
	const struct report_seed *seed; /* [seeds], the first is what evaluation and ca_drop say */
	int seeds;			/* 0: the job has one seed */
	const struct report_search *search;
	const json_t *thresholds; /* the job's gate (common/gate.h); NULL or null: no verdict */
	const struct report_artifact *artifact;
	int artifacts;
	const struct versions *versions;
};

/* New reference; NULL when out of memory. */
json_t *report_versions(const struct versions *versions);

/* New reference. ERR_INTERNAL when a text is not UTF-8 or memory ran out. */
int report_json(json_t **out, const struct report *report, struct err *err) MUST_USE;

/* One line of metrics.csv; NaN leaves a cell empty. */
struct metrics_line {
	int64_t step;
	int epoch;
	double loss, ce, amplify, attention, learning_rate, valid_loss, valid_accuracy;
};

void report_csv_header(struct buf *out);
void report_csv_line(struct buf *out, const struct metrics_line *line);

#endif
