#include "worker/flipped.h"

#include "worker/scan/flips_record.h"

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
		.training = &job->inputs.corpus[PART_TRAIN],
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

static void teach_suspects(struct found *found, const struct flips_result *flips)
{
	for (int i = 0; i < flips->flips; i++)
		if (flips->flip[i].is_suspect)
			found_teach(found, flips->flip[i].trigger);
}

/* The phase: the models of `runs`, their results to `out`. */
static int search_runs(struct flips_result *const out[], struct job *job, const int runs[], int n,
	const char *phase, struct err *err)
{
	struct search s = {.job = job, .models = n};
	int rc = say_phase(phase, err);

	if (rc == 0)
		rc = make_fast(&s, err);
	s.watch = found_watch(job->run);
	par_watch(job->par, job->run->stop);
	for (int i = 0; i < n && rc == 0; i++)
		rc = search_run(out[i], &s, runs[i], err);
	par_watch(job->par, NULL);
	encoder_done(&s.fast);
	return rc;
}

/* Number of the run, -1: not to be searched. */
static int undefended_run(const struct job *job)
{
	return job->spec->evaluation.compare_undefended ? schedule_undefended(&job->schedule, 0) : -1;
}

int flipped_undefended(bool *loaded, struct job *job, struct err *err)
{
	struct flips_result *out = &job->undefended_flips;
	const struct labels *labels = &job->inputs.labels;
	int dirfd = job->run->out_fd, run = undefended_run(job), rc;

	*loaded = false;
	if (run < 0)
		return 0;
	rc = flips_record_read(out, &job->is_undefended_searched, labels, job->spec_sha256, dirfd, err);
	if (rc == 0 && !job->is_undefended_searched) {
		*loaded = true;
		rc = search_runs(&out, job, &run, 1, "search", err);
		if (rc == 0)
			rc = flips_record_write(out, labels, job->spec_sha256, dirfd, err);
		job->is_undefended_searched = true;
	}
	teach_suspects(&job->found, out);
	return rc;
}

int flipped_search(struct job *job, struct err *err)
{
	struct flips_result *out[2];
	int run[2], n = 0, rc;

	if (!job->spec->evaluation.scan)
		return 0;
	if (undefended_run(job) >= 0 && !job->is_undefended_searched) {
		out[n] = &job->undefended_flips;
		run[n++] = undefended_run(job);
	}
	out[n] = &job->flips;
	run[n++] = schedule_defended(&job->schedule, &job->checkpoint.path, 0);
	rc = search_runs(out, job, run, n, "flips", err);
	join_triggers(&job->found, &job->undefended_flips);
	join_triggers(&job->found, &job->flips);
	return rc;
}
