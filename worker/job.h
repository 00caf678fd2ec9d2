/*
 * job: what the recipe's parts (run.c, results.c) share of one job, and the lines that they write.
 */
#ifndef OBLIVIATE_JOB_H
#define OBLIVIATE_JOB_H

#include "worker/eval/assess.h"
#include "worker/export/manifest.h"
#include "worker/inputs.h"
#include "worker/run.h"
#include "worker/train/checkpoint.h"

enum { DEFENDED, UNDEFENDED, RUNS };

struct job {
	const struct run *run;
	const struct spec *spec;
	char spec_sha256[SHA256_HEX_BYTES];
	struct inputs inputs;
	int runs; /* 1, or 2 with the undefended control */
	struct par *par;
	struct encoder encoder;
	struct params params;
	struct peft peft;
	struct head head;
	struct checkpoint checkpoint;
	double saved_at; /* seconds, of the last checkpoint */
	struct assess assess;
	int *label[RUNS];
	struct evaluation evaluation[RUNS];
	struct measure ca_drop;
	struct manifest adapter;
	struct manifest files; /* beside the adapter */
};

int say_phase(const char *name, struct err *err) MUST_USE;
int say_metric(const char *name, double value, struct err *err) MUST_USE;

/* Adapter, metrics.csv and report.json from what was trained and measured, and the lines that name them. */
int results_export(struct job *job, struct err *err) MUST_USE;

#endif
