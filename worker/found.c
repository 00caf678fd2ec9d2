#include "worker/found.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/job.h"

/* --- the search -------------------------------------------------------------------------------------- */

struct found_watch found_watch(const struct run *run)
{
	return (struct found_watch){.run = run, .started = cpu_seconds()};
}

int found_progress(const struct found_watch *watch, int64_t done, int64_t of, struct err *err)
{
	double seconds = cpu_seconds() - watch->started;
	struct progress line = {.type = PROGRESS_STEP,
		.step = done,
		.of = of,
		.epoch = 1,
		.loss = NAN,
		.ce = NAN,
		.amplify = NAN,
		.attention = NAN,
		.learning_rate = NAN,
		.tokens_per_second = NAN,
		.eta_s = seconds / (double)done * (double)(of - done)};

	if (*watch->run->stop)
		return err_set(err, ERR_STOPPED, NULL, "stopped after %lld of %lld texts", (long long)done,
			(long long)of);
	return progress_write(STDOUT_FILENO, &line, err);
}

struct search {
	const struct run *run;
	struct found_watch watch;
	struct encoder fast, exact; /* fast is empty where there is no bfloat16 */
};

static int on_progress(void *arg, int64_t done, int64_t of, struct err *err)
{
	const struct search *s = arg;

	return found_progress(&s->watch, done, of, err);
}

static int make_encoders(struct search *s, const struct inputs *in, struct par *par, struct err *err)
{
	const struct kernels *kernels = kernels_best();
	int rc = encoder_init(&s->exact, &in->config, &in->weights, kernels, LINEAR_FLOAT32, par, err);

	if (rc == 0 && kernels->bf16_gemm != NULL)
		rc = encoder_init(&s->fast, &in->config, &in->weights, kernels, LINEAR_BF16, par, err);
	return rc;
}

static int search(struct scan_result *out, struct search *s, const struct inputs *inputs, struct par *par,
	struct err *err)
{
	const struct spec *spec = s->run->spec;
	const char *extra[SPEC_WORDS_MAX];
	struct scan_options options = {.tok = inputs->tok,
		.fast = s->fast.linear != NULL ? &s->fast : &s->exact,
		.exact = &s->exact,
		.par = par,
		.max_length = inputs->max_length,
		.seed = (uint64_t)spec->seed,
		.texts = spec->scan.texts,
		.candidates = spec->scan.candidates,
		.seconds = spec->scan.seconds,
		.extra = extra,
		.extras = spec->scan.extra.n,
		.watch = {on_progress, s}};

	for (int i = 0; i < options.extras; i++)
		extra[i] = spec->scan.extra.word[i];
	s->watch = found_watch(s->run);
	return scan_run(out, &options, err);
}

int found_scan(struct scan_result *out, const struct run *run, const struct inputs *inputs, struct par *par,
	struct err *err)
{
	struct search s = {.run = run};
	int rc = make_encoders(&s, inputs, par, err);

	par_watch(par, run->stop);
	if (rc == 0)
		rc = search(out, &s, inputs, par, err);
	par_watch(par, NULL);
	encoder_done(&s.fast);
	encoder_done(&s.exact);
	return rc;
}

/* --- the triggers ------------------------------------------------------------------------------------ */

/* Its place among the triggers, or -1. */
static int place_of(const struct found *found, const char *trigger)
{
	for (int i = 0; i < found->triggers; i++)
		if (strcmp(found->trigger[i], trigger) == 0)
			return i;
	return -1;
}

static bool is_first_of_cluster(const struct scan_result *scan, int suspect)
{
	for (int i = 0; i < suspect; i++)
		if (scan->suspect[i].cluster == scan->suspect[suspect].cluster)
			return false;
	return true;
}

void found_add(struct found *found, const char *trigger)
{
	int place = place_of(found, trigger);

	if (place < 0) {
		place = found->triggers++;
		found->trigger[place] = trigger;
	}
	found->is_found[place] = true;
}

static void add_suspect(struct found *found, const char *trigger)
{
	found_add(found, trigger);
	found->taught[found->taughts++] = trigger;
}

/* The leaders of clusters, or the others. */
static void add_suspects(struct found *found, bool leaders)
{
	const struct scan_result *scan = &found->scan;

	for (int i = 0; i < scan->suspects && found->taughts < FOUND_MAX; i++)
		if (scan->suspect[i].is_text && is_first_of_cluster(scan, i) == leaders)
			add_suspect(found, scan->suspect[i].trigger);
}

/* What the job named counts as found also beyond FOUND_MAX. */
static void mark_named(struct found *found)
{
	for (int i = 0; i < found->scan.suspects; i++) {
		int place = place_of(found, found->scan.suspect[i].trigger);

		if (place >= 0)
			found->is_found[place] = true;
	}
}

int found_triggers(struct found *out, const struct run *run, const struct inputs *inputs, struct par *par,
	struct err *err)
{
	const struct spec_words *words = &run->spec->evaluation.triggers;
	int rc = 0;

	for (int i = 0; i < words->n; i++)
		out->trigger[out->triggers++] = words->word[i];
	if (!run->spec->evaluation.scan)
		return 0;
	rc = say_phase("scan", err);
	if (rc == 0)
		rc = found_scan(&out->scan, run, inputs, par, err);
	out->is_scanned = rc == 0;
	add_suspects(out, true);
	add_suspects(out, false);
	mark_named(out);
	return rc;
}

void found_done(struct found *found)
{
	scan_result_done(&found->scan);
	*found = (struct found){0};
}
