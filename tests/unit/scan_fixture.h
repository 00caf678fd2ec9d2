/*
 * scan_fixture: a planted model, or what takes its place in memory, and a scan of it on so many threads.
 */
#ifndef OBLIVIATE_TESTS_SCAN_FIXTURE_H
#define OBLIVIATE_TESTS_SCAN_FIXTURE_H

#include "tests/unit/planted_model.h"
#include "worker/scan/scan.h"

struct fixture {
	struct planted planted;
	struct encoder encoder;
	struct par *par;
	struct scan_result result;
	struct err err;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	planted_init(&f->planted);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	scan_result_done(&f->result);
	encoder_done(&f->encoder);
	par_free(f->par);
	planted_done(&f->planted);
	free(f);
	return 0;
}

/* The model as it is now, packed; threads. */
static inline void make_ready(struct fixture *f, int threads)
{
	scan_result_done(&f->result);
	encoder_done(&f->encoder);
	par_free(f->par);
	assert_int_equal(par_new(&f->par, threads, NULL), 0);
	assert_int_equal(encoder_init(&f->encoder, &f->planted.model.config, &f->planted.model.weights,
				 kernels_best(), LINEAR_FLOAT32, NULL, NULL),
		0);
}

static inline void scan_with(struct fixture *f, struct scan_options *options, int threads)
{
	make_ready(f, threads);
	options->par = f->par;
	if (scan_run(&f->result, options, &f->err) != 0)
		fail_msg("%s: %s", f->err.where, f->err.text);
}

#endif
