/*
 * run_scan: a job of type "scan": model and tokenizer, the search, report.json. No data, no checkpoint: a scan that
 * was stopped begins again.
 */
#ifndef OBLIVIATE_RUN_SCAN_H
#define OBLIVIATE_RUN_SCAN_H

#include "worker/run.h"

/* As run_job, of a spec of type SPEC_SCAN. */
int run_scan(struct run *run, struct err *err) MUST_USE;

#endif
