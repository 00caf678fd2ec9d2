#include "worker/flipped.h"

#include "worker/scan/flips.h"

/* One job's search: progress counts the texts of all its models. */
struct search {
	struct job *job;
	struct encoder fast; /* in bfloat16; empty where the job's own is as fast */
	struct found_watch watch;
	int place, models;
};

static int on_progress(void *arg, int64_t done, int64_t of, struct err *err)
{
	struct search *s = arg;

	return found_progress(&s->watch, s->place * of + done, s->models * of, err);
}

static int make_fast(struct search *s, struct err *err)
{
	const struct job *job = s->job;
	const struct encoder *own = &job->encoder;
	int rc;

	if (own->kernels->bf16_gemm == NULL || job->spec->precision == SPEC_BF16)
		return 0;
	rc = encoder_init(&s->fast, own->config, own->weights, own->kernels, LINEAR_BF16, job->par, err);
	s->fast.peft = own->peft;
	return rc;
}

static void fill_options(struct flips_options *out, struct search *s)
{
	const struct job *job = s->job;
	const struct scan_result *scan = &job->found.scan;

	*out = (struct flips_options){.tok = job->inputs.tok,
		.par = job->par,
		.data = job->inputs.source[PART_VALIDATION],
		.rows = &job->inputs.rows[PART_VALIDATION],
		.corpus = &job->inputs.corpus[PART_VALIDATION],
		.max_length = job->inputs.max_length,
		.insertions = job->spec->evaluation.insertions,
		.seed = (uint64_t)job->spec->seed,
		.seconds = job->spec->scan.seconds / s->models,
		.first = (const char *const *)scan->shortlist,
		.firsts = scan->shortlisted,
		.watch = {on_progress, s}};
}

static int search_run(struct flips_result *out, struct search *s, int run, struct err *err)
{
	struct job *job = s->job;
	struct classifier model = {.encoder = s->fast.linear != NULL ? &s->fast : &job->encoder,
		.head = &job->head,
		.params = &job->params};
	struct flips_options options;
	int rc = checkpoint_kept(&job->params, NULL, &job->checkpoint, run, job->run->out_fd, err);

	fill_options(&options, s);
	options.model = &model;
	if (rc == 0)
		rc = flips_run(out, &options, err);
	s->place++;
	return rc;
}

static void join_triggers(struct found *found, const struct flips_result *flips)
{
	for (int i = 0; i < flips->flips; i++)
		if (flips->flip[i].is_found)
			found_add(found, flips->flip[i].trigger);
}

static int search_all(struct search *s, struct err *err)
{
	struct job *job = s->job;
	int undefended = schedule_undefended(&job->schedule, 0), rc = 0;
	bool is_compared = job->spec->evaluation.compare_undefended && undefended >= 0;

	s->watch = found_watch(job->run);
	s->models = 1 + is_compared;
	if (is_compared)
		rc = search_run(&job->undefended_flips, s, undefended, err);
	if (rc == 0)
		rc = search_run(
			&job->flips, s, schedule_defended(&job->schedule, &job->checkpoint.path, 0), err);
	join_triggers(&job->found, &job->undefended_flips);
	join_triggers(&job->found, &job->flips);
	return rc;
}

int flipped_search(struct job *job, struct err *err)
{
	struct search s = {.job = job};
	int rc;

	if (!job->spec->evaluation.scan)
		return 0;
	rc = say_phase("flips", err);
	if (rc == 0)
		rc = make_fast(&s, err);
	par_watch(job->par, job->run->stop);
	if (rc == 0)
		rc = search_all(&s, err);
	par_watch(job->par, NULL);
	encoder_done(&s.fast);
	return rc;
}
