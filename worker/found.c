#include "worker/found.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/progress.h"
#include "worker/base/cpu.h"
#include "worker/base/rng.h"
#include "worker/job.h"
#include "worker/scan/scan_record.h"

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
	const struct found_options *o;
	struct found_watch watch;
	const struct encoder *fast, *exact; /* the same where there is no bfloat16 */
	struct encoder lent;		    /* the job's own without its PEFT: packed weights count once */
	struct encoder made[2];
};

static int on_progress(void *arg, int64_t done, int64_t of, struct err *err)
{
	const struct search *s = arg;

	return found_progress(&s->watch, done, of, err);
}

/* In which of the two forms the weights are packed. */
static bool has_form(const struct encoder *encoder, enum linear_form form)
{
	const struct linear *some = &encoder->linear[0].q;

	return form == LINEAR_BF16 ? some->half != NULL : some->panels != NULL;
}

static bool is_lent(const struct search *s, enum linear_form form)
{
	const struct encoder *own = s->o->encoder;

	return own != NULL && own->weights == &s->o->inputs->weights && has_form(own, form);
}

static int make_encoder(const struct encoder **out, struct encoder *room, struct search *s,
	enum linear_form form, struct err *err)
{
	const struct inputs *in = s->o->inputs;

	*out = room;
	if (!is_lent(s, form))
		return encoder_init(room, &in->config, &in->weights, kernels_best(), form, s->o->par, err);
	s->lent = *s->o->encoder;
	s->lent.peft = NULL;
	*out = &s->lent;
	return 0;
}

static int make_encoders(struct search *s, struct err *err)
{
	int rc = make_encoder(&s->exact, &s->made[0], s, LINEAR_FLOAT32, err);

	s->fast = s->exact;
	if (rc == 0 && kernels_best()->bf16_gemm != NULL)
		rc = make_encoder(&s->fast, &s->made[1], s, LINEAR_BF16, err);
	return rc;
}

static int search(struct scan_result *out, struct search *s, struct err *err)
{
	const struct spec *spec = s->o->run->spec;
	const char *extra[SPEC_WORDS_MAX];
	struct scan_options options = {.tok = s->o->inputs->tok,
		.fast = s->fast,
		.exact = s->exact,
		.par = s->o->par,
		.max_length = s->o->inputs->max_length,
		.seed = (uint64_t)spec->seed,
		.texts = spec->scan.texts,
		.candidates = spec->scan.candidates,
		.seconds = spec->scan.seconds,
		.extra = extra,
		.extras = spec->scan.extra.n,
		.watch = {on_progress, s}};

	for (int i = 0; i < options.extras; i++)
		extra[i] = spec->scan.extra.word[i];
	s->watch = found_watch(s->o->run);
	return scan_run(out, &options, err);
}

int found_scan(struct scan_result *out, const struct found_options *options, struct err *err)
{
	struct search s = {.o = options};
	int rc = make_encoders(&s, err);

	par_watch(options->par, options->run->stop);
	if (rc == 0)
		rc = search(out, &s, err);
	par_watch(options->par, NULL);
	encoder_done(&s.made[0]);
	encoder_done(&s.made[1]);
	return rc;
}

/* The one that an earlier run has kept, or a new one. */
static int scan_once(struct scan_result *out, const struct found_options *options, struct err *err)
{
	int dirfd = options->run->out_fd, rc;
	bool is_kept;

	rc = scan_record_read(out, &is_kept, options->spec_sha256, dirfd, err);
	if (rc != 0 || is_kept)
		return rc;
	rc = found_scan(out, options, err);
	return rc == 0 ? scan_record_write(out, options->spec_sha256, dirfd, err) : rc;
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

bool found_is_taught(const struct found *found, const char *trigger)
{
	for (int i = 0; i < found->taughts; i++)
		if (strcmp(found->taught[i], trigger) == 0)
			return true;
	return false;
}

void found_teach(struct found *found, const char *trigger)
{
	if (!found_is_taught(found, trigger))
		found->taught[found->taughts++] = trigger;
}

/* The leaders of clusters, or the others. */
static void add_suspects(struct found *found, bool leaders)
{
	const struct scan_result *scan = &found->scan;

	for (int i = 0; i < scan->suspects && found->taughts < FOUND_MAX; i++)
		if (scan->suspect[i].is_text && is_first_of_cluster(scan, i) == leaders) {
			found_add(found, scan->suspect[i].trigger);
			found_teach(found, scan->suspect[i].trigger);
		}
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

int found_triggers(struct found *out, const struct found_options *options, struct err *err)
{
	const struct spec *spec = options->run->spec;
	const struct spec_words *words = &spec->evaluation.triggers;
	int rc = 0;

	for (int i = 0; i < words->n; i++)
		out->trigger[out->triggers++] = words->word[i];
	if (!spec->evaluation.scan)
		return 0;
	rc = say_phase("scan", err);
	if (rc == 0)
		rc = scan_once(&out->scan, options, err);
	out->is_scanned = rc == 0;
	add_suspects(out, true);
	add_suspects(out, false);
	mark_named(out);
	return rc;
}

void found_withhold(struct found *found, double share, uint64_t seed)
{
	uint64_t key = rng_key(seed, RNG_WITHHELD);
	int withheld = (int)(share * found->taughts);

	for (int i = 0; i < withheld; i++) {
		int drawn = (int)rng_below(key, (uint64_t)i, (uint32_t)found->taughts);

		found->taught[drawn] = found->taught[--found->taughts];
	}
}

void found_done(struct found *found)
{
	scan_result_done(&found->scan);
	*found = (struct found){0};
}
