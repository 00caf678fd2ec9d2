/*
 * job: what the recipe's parts (run.c, results.c) share of one job, and the lines that they write.
 */
#ifndef OBLIVIATE_JOB_H
#define OBLIVIATE_JOB_H

#include "worker/base/cpu.h"
#include "worker/eval/assess.h"
#include "worker/export/manifest.h"
#include "worker/found.h"
#include "worker/inputs.h"
#include "worker/repair.h"
#include "worker/report.h"
#include "worker/run.h"
#include "worker/schedule.h"
#include "worker/train/checkpoint.h"

/* What was measured of one seed's models, on the same test rows for all. */
struct seed_result {
	struct evaluation defended, undefended; /* undefended.rows is 0 where it was not compared */
	struct drop ca_drop;
};

struct job {
	const struct run *run;
	const struct spec *spec;
	char spec_sha256[SHA256_HEX_BYTES];
	struct inputs inputs;
	struct schedule schedule;
	struct par *par;
	struct found found;
	struct flips_result flips, undefended_flips; /* of the first seed's models */
	bool is_undefended_searched;
	struct corpus informed; /* training texts of defended runs in mode informed */
	struct encoder encoder;
	struct params params;
	struct peft peft;
	struct repair repair; /* the adapter that the job starts from, if any */
	struct head head;
	struct checkpoint checkpoint;
	double saved_at;   /* seconds, of the last checkpoint */
	struct task task;  /* the run under way */
	int *search_truth; /* [search rows] labels, and what the undefended run and the look predict */
	int *search_undefended, *search_look;
	struct assess assess;
	struct seed_result result[SPEC_SEEDS_MAX];
	struct evaluation look[PATH_LOOKS]; /* of looks that were not chosen, where they are compared */
	struct manifest adapter, merged;
	struct manifest files; /* beside the adapter */
};

int say_phase(const char *name, struct err *err) MUST_USE;
int say_metric(const char *name, double value, struct err *err) MUST_USE;
int say_artifact(const char *directory, const struct manifest_file *file, struct err *err) MUST_USE;

/* What ran; cpu is room for the processor's name. */
struct versions run_versions(const struct run *run, const struct kernels *kernels, char cpu[CPU_NAME_BYTES]);
/* report.json into the output directory and the manifest. Takes the reference. */
int results_write_report(
	struct manifest *files, const struct run *run, json_t *report, struct err *err) MUST_USE;

/* Adapter, metrics.csv and report.json from what was trained and measured, and the lines that name them. */
int results_export(struct job *job, struct err *err) MUST_USE;

#endif
