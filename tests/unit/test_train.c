/*
 * Training and prediction give the same bits on any number of threads, in any company, and after any
 * interruption; a checkpoint that does not fit is left aside.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"
#include "worker/train/checkpoint.h"
#include "worker/train/predict.h"

enum { LABELS = 3, ROWS = 40, BATCH = 16, EPOCHS = 3, PER_EPOCH = 3, STEPS = EPOCHS * PER_EPOCH };

static const unsigned QUERY_VALUE = 1 << SITE_QUERY | 1 << SITE_VALUE;

/* Texts of up to 140 tokens: a batch makes several slices. */
static const struct config CONFIG = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = 30,
	.D = 16,
	.L = 2,
	.H = 2,
	.F = 24,
	.P = 512,
	.types = 2,
	.max_tokens = 512,
	.layer_norm_eps = 1e-5,
	.hidden_dropout = 0.1,
	.attention_dropout = 0.1,
	.classifier_dropout = 0.1};

/* The first word of a text gives its label away. */
static void labelled_texts(struct corpus *corpus, int n)
{
	for (int i = 0; i < n; i++) {
		random_text(corpus, &CONFIG, 1 + (i * 37) % 140, i % 4 == 0, i % LABELS);
		corpus->ids[corpus->text[i].at] = 2 + i % LABELS;
	}
}

/* What trainings are made with; for_each_method changes it. */
static const struct peft_method *method = &peft_lora;

static void for_each_method(void (*check)(void))
{
	static const struct peft_method *const METHODS[] = {&peft_lora, &peft_adapter, &peft_prefix};

	for (size_t i = 0; i < NELEM(METHODS); i++) {
		method = METHODS[i];
		check();
	}
	method = &peft_lora;
}

/* A run from the same start, whatever the threads. */
struct training {
	struct random_classifier classifier;
	struct corpus corpus;
	struct par *par;
	struct trainer trainer;
	struct train_options options;
};

static void training_init(struct training *t, int threads, int r)
{
	numbers_stream = 0;
	*t = (struct training){.options = {.amplify = 0.01,
				       .attention = 0.1,
				       .learning_rate = 0.02,
				       .steps = STEPS,
				       .warmup = 2,
				       .clip = 1,
				       .key = 5}};
	random_classifier_init(&t->classifier, &(struct random_options){.config = &CONFIG,
						       .method = method,
						       .activation = KERNEL_TANH,
						       .r = r,
						       .labels = LABELS,
						       .targets = QUERY_VALUE,
						       .peft_dropout = 0.1});
	labelled_texts(&t->corpus, ROWS);
	assert_int_equal(par_new(&t->par, threads, NULL), 0);
}

static void training_start(struct training *t)
{
	assert_int_equal(trainer_init(&t->trainer, &t->classifier.model, &t->options, t->par, BATCH,
				 t->corpus.longest, NULL),
		0);
}

static void training_done(struct training *t)
{
	trainer_done(&t->trainer);
	par_free(t->par);
	corpus_done(&t->corpus);
	random_classifier_done(&t->classifier);
	numbers_free();
}

/* --- steps --------------------------------------------------------------------------------------- */

/* Weights and moments after a few steps, and the last step's loss; kept by the caller. */
static real *state_after_steps(int threads, size_t *size, struct step_result *result)
{
	struct training t;
	const struct params *p = &t.classifier.params;
	int rows[ROWS];
	real *out;

	training_init(&t, threads, 4);
	training_start(&t);
	for (int step = 0; step < 4; step++) {
		rng_shuffle(rows, ROWS, (uint64_t)step);
		trainer_step(&t.trainer, result, &t.corpus, rows, step == 2 ? 5 : BATCH, step);
	}
	assert_true(t.trainer.batch.slices >= 4);
	*size = 3 * p->size;
	out = malloc(*size * sizeof(real));
	assert_non_null(out);
	memcpy(out, p->w, p->size * sizeof(real));
	memcpy(out + p->size, p->m, p->size * sizeof(real));
	memcpy(out + 2 * p->size, p->v, p->size * sizeof(real));
	training_done(&t);
	return out;
}

static void check_threads(void)
{
	struct step_result first, again;
	size_t size;
	real *one = state_after_steps(1, &size, &first);

	for (int threads = 2; threads <= 4; threads++) {
		real *many = state_after_steps(threads, &size, &again);

		assert_same_bits("state", many, one, size);
		assert_memory_equal(&again, &first, sizeof(first));
		free(many);
	}
	free(one);
}

static void test_steps_give_the_same_bits_on_any_number_of_threads(void **state)
{
	for_each_method(check_threads);
}

static void test_loss_is_the_weighted_sum_of_its_terms(void **state)
{
	struct training t;
	struct step_result r;
	int rows[BATCH];

	training_init(&t, 1, 4);
	training_start(&t);
	rng_shuffle(rows, BATCH, 1);
	trainer_gradient(&t.trainer, &r, &t.corpus, rows, BATCH, 0);
	assert_near("loss", 0, r.loss, r.ce + 0.01 * r.amplify + 0.1 * r.attention, 1e-12);
	assert_true(r.ce > 0 && r.amplify < 0 && r.attention > 0);
	assert_int_equal(r.texts, BATCH);
	assert_in_range(r.correct, 0, BATCH);
	training_done(&t);
}

/* L_attn as a sum is its mean times layers, sequences and heads. */
static void test_attention_term_is_a_mean_or_a_sum(void **state)
{
	struct step_result mean, sum;
	struct training t;
	const int rows[5] = {3, 9, 11, 20, 1};

	training_init(&t, 1, 4);
	training_start(&t);
	trainer_gradient(&t.trainer, &mean, &t.corpus, rows, 5, 0);
	t.trainer.options.attention_sum = true;
	trainer_gradient(&t.trainer, &sum, &t.corpus, rows, 5, 0);
	assert_near("sum", 0, sum.attention, mean.attention * CONFIG.L * CONFIG.H * 5, 1e-6 * sum.attention);
	training_done(&t);
}

/* Half of ten steps: nothing at the first, two fifths at the third, all from the sixth on. */
static void test_weights_rise_with_the_ramp(void **state)
{
	static const struct {
		int64_t step;
		double share;
	} CASES[] = {{0, 0}, {2, .4}, {5, 1}, {9, 1}};
	const int rows[2] = {0, 1};
	struct training t;
	struct step_result r;

	training_init(&t, 1, 4);
	training_start(&t);
	t.trainer.options.steps = 10;
	t.trainer.options.ramp = .5;
	for (size_t i = 0; i < NELEM(CASES); i++) {
		trainer_gradient(&t.trainer, &r, &t.corpus, rows, 2, CASES[i].step);
		assert_near("loss", (int)i, r.loss,
			r.ce + CASES[i].share * (0.01 * r.amplify + 0.1 * r.attention), 1e-12);
	}
	training_done(&t);
}

static void test_first_step_of_a_warm_up_changes_nothing(void **state)
{
	struct training t;
	struct step_result r;
	const int rows[2] = {0, 1};
	const real *before;

	training_init(&t, 1, 4);
	training_start(&t);
	before = copy_of(t.classifier.params.w, t.classifier.params.size);
	trainer_step(&t.trainer, &r, &t.corpus, rows, 2, 0);
	assert_true(r.learning_rate == 0);
	assert_same_bits("w", t.classifier.params.w, before, t.classifier.params.size);
	trainer_step(&t.trainer, &r, &t.corpus, rows, 2, 1);
	assert_near("rate", 1, r.learning_rate, 0.01, 1e-12);
	assert_memory_not_equal(t.classifier.params.w, before, t.classifier.params.size * sizeof(real));
	training_done(&t);
}

static void check_frozen(void)
{
	struct training t;
	struct step_result r;
	const int rows[3] = {7, 8, 9};
	const struct random_model *base = &t.classifier.base;
	const real *before[RANDOM_TENSORS_MAX];

	training_init(&t, 2, 4);
	training_start(&t);
	for (int i = 0; i < base->n; i++)
		before[i] = copy_of(base->tensor[i].w, base->tensor[i].n);
	for (int step = 0; step < 3; step++)
		trainer_step(&t.trainer, &r, &t.corpus, rows, 3, step);
	for (int i = 0; i < base->n; i++)
		assert_same_bits(base->tensor[i].name, base->tensor[i].w, before[i], base->tensor[i].n);
	training_done(&t);
}

static void test_frozen_encoder_stays_as_it_is(void **state)
{
	for_each_method(check_frozen);
}

/* LoRA's rank above D, F and all tokens of a batch. */
static void test_rank_above_every_width_fits(void **state)
{
	struct training t;
	struct step_result r;
	const int row = 0; /* one token */

	training_init(&t, 1, 100);
	assert_int_equal(trainer_init(&t.trainer, &t.classifier.model, &t.options, t.par, 1, 1, NULL), 0);
	trainer_step(&t.trainer, &r, &t.corpus, &row, 1, 1);
	assert_true(isfinite(r.loss) && isfinite(r.norm));
	training_done(&t);
}

static void test_second_texts_of_a_model_with_one_type_are_of_that_type(void **state)
{
	struct config config = CONFIG;
	struct random_classifier classifier;
	struct corpus corpus = {0};
	struct par *par;
	real logits[2 * LABELS];
	int label[2];

	config.types = 1;
	numbers_stream = 0;
	random_classifier_init(
		&classifier, &(struct random_options){
				     .config = &config, .r = 2, .labels = LABELS, .targets = QUERY_VALUE});
	random_text(&corpus, &config, 6, true, 0);
	assert_int_equal(corpus_add_ids(&corpus, corpus.ids, 6, 6, 0, NULL), 0);
	assert_int_equal(par_new(&par, 1, NULL), 0);
	assert_int_equal(predict(label, NULL, logits, &classifier.model, &corpus, par, NULL), 0);
	assert_same_bits("logits", logits, logits + LABELS, LABELS);
	par_free(par);
	corpus_done(&corpus);
	random_classifier_done(&classifier);
	numbers_free();
}

/* --- prediction ------------------------------------------------------------------------------------ */

enum { PREDICTED = 90 };

struct predictions {
	int label[PREDICTED];
	double ce[PREDICTED];
	real logits[PREDICTED * LABELS];
};

/* Texts in the given order; results by the texts' own numbers. */
static void predict_in_order(struct predictions *out, const struct training *t, const struct corpus *all,
	const int *order, int n, int threads)
{
	struct predictions as_placed;
	struct corpus corpus = {0};
	struct par *par;

	for (int i = 0; i < n; i++) {
		const struct text *text = &all->text[order[i]];

		assert_int_equal(corpus_add_ids(&corpus, all->ids + text->at, text->n, text->second,
					 text->label, NULL),
			0);
	}
	assert_int_equal(par_new(&par, threads, NULL), 0);
	assert_int_equal(predict(as_placed.label, as_placed.ce, as_placed.logits, &t->classifier.model,
				 &corpus, par, NULL),
		0);
	for (int i = 0; i < n; i++) {
		out->label[order[i]] = as_placed.label[i];
		out->ce[order[i]] = as_placed.ce[i];
		memcpy(out->logits + order[i] * LABELS, as_placed.logits + i * LABELS, LABELS * sizeof(real));
	}
	par_free(par);
	corpus_done(&corpus);
}

static void check_prediction(void)
{
	struct training t;
	struct corpus all = {0};
	struct predictions known, other;
	int order[PREDICTED];

	training_init(&t, 1, 4);
	labelled_texts(&all, PREDICTED - 1);
	random_text(&all, &CONFIG, 450, false, 0); /* alone longer than a slice */
	for (int i = 0; i < PREDICTED; i++)
		order[i] = i;
	predict_in_order(&known, &t, &all, order, PREDICTED, 1);
	for (int threads = 1; threads <= 3; threads++) {
		rng_shuffle(order, PREDICTED, (uint64_t)threads);
		predict_in_order(&other, &t, &all, order, PREDICTED, threads);
		assert_memory_equal(&other, &known, sizeof(known));
	}
	for (int i = 0; i < PREDICTED; i += 7) {
		predict_in_order(&other, &t, &all, &i, 1, 1);
		assert_int_equal(other.label[i], known.label[i]);
		assert_true(other.ce[i] == known.ce[i]);
		assert_same_bits("logits", other.logits + i * LABELS, known.logits + i * LABELS, LABELS);
	}
	corpus_done(&all);
	training_done(&t);
}

static void test_prediction_depends_on_the_text_alone(void **state)
{
	for_each_method(check_prediction);
}

static void test_score_is_the_mean_over_the_texts(void **state)
{
	struct training t;
	struct predictions p;
	struct score score;
	int order[ROWS], right = 0;
	double loss = 0;

	training_init(&t, 2, 4);
	for (int i = 0; i < ROWS; i++)
		order[i] = i;
	predict_in_order(&p, &t, &t.corpus, order, ROWS, 1);
	assert_int_equal(predict_score(&score, &t.classifier.model, &t.corpus, t.par, NULL), 0);
	for (int i = 0; i < ROWS; i++) {
		const real *x = p.logits + i * LABELS;
		double sum = 0;
		int best = 0;

		for (int j = 0; j < LABELS; j++) {
			sum += exp((double)x[j] - (double)x[t.corpus.text[i].label]);
			best = x[j] > x[best] ? j : best;
		}
		assert_int_equal(p.label[i], best);
		assert_near("ce", (size_t)i, p.ce[i], log(sum), 1e-9);
		right += best == t.corpus.text[i].label;
		loss += log(sum) / ROWS;
	}
	assert_near("accuracy", 0, score.accuracy, (double)right / ROWS, 1e-12);
	assert_near("loss", 0, score.loss, loss, 1e-9);
	training_done(&t);
}

static void test_prediction_of_no_texts_is_no_error(void **state)
{
	struct training t;
	struct corpus none = {0};
	int label;

	training_init(&t, 2, 4);
	assert_int_equal(predict(&label, NULL, NULL, &t.classifier.model, &none, t.par, NULL), 0);
	training_done(&t);
}

/* --- fit ------------------------------------------------------------------------------------------ */

/* A run that may stop: it writes a checkpoint after step stop_at (0: never) and ends there. */
struct fitting {
	struct training t;
	struct checkpoint checkpoint;
	int dirfd;
	int64_t stop_at;
	int steps, epochs;
	bool found;
};

static int watch_step(
	void *arg, const struct fit_state *state, const struct step_result *step, int epoch, struct err *err)
{
	struct fitting *f = arg;

	f->steps++;
	assert_int_equal(epoch, (state->step - 1) / PER_EPOCH + 1);
	assert_true(isfinite(step->loss));
	buf_printf(&f->checkpoint.csv, "%lld,%.17g\n", (long long)state->step, step->loss);
	if (state->step != f->stop_at)
		return 0;
	assert_int_equal(checkpoint_write(&f->checkpoint, &f->t.classifier.params, f->dirfd, NULL), 0);
	return err_set(err, ERR_STOPPED, NULL, "stopped");
}

static int watch_epoch(void *arg, const struct fit_state *state, struct err *err)
{
	struct fitting *f = arg;

	f->epochs++;
	assert_int_equal(state->step, state->epochs * PER_EPOCH);
	return 0;
}

static void fitting_init(struct fitting *f, int threads, bool best, int dirfd)
{
	*f = (struct fitting){.dirfd = dirfd};
	training_init(&f->t, threads, 4);
	f->checkpoint.spec_sha256 = "a spec";
	f->checkpoint.n_epochs = EPOCHS;
	f->checkpoint.runs = 2;
	for (int run = 0; run < f->checkpoint.runs; run++)
		assert_int_equal(fit_state_init(&f->checkpoint.state[run], EPOCHS, NULL), 0);
	if (best)
		f->checkpoint.best = calloc(f->t.classifier.params.size, sizeof(real));
}

static int fitting_run(struct fitting *f, struct err *err)
{
	struct fit fit = {.trainer = &f->t.trainer,
		.train = &f->t.corpus,
		.validation = &f->t.corpus,
		.n_epochs = EPOCHS,
		.batch_size = BATCH,
		.seed = 11,
		.best = f->checkpoint.best,
		.watch = {watch_step, watch_epoch, f}};

	if (f->dirfd >= 0)
		assert_int_equal(
			checkpoint_read(&f->checkpoint, &f->found, &f->t.classifier.params, f->dirfd, NULL),
			0);
	training_start(&f->t);
	return fit_run(&fit, &f->checkpoint.state[0], err);
}

static void fitting_done(struct fitting *f)
{
	for (int run = 0; run < f->checkpoint.runs; run++)
		fit_state_done(&f->checkpoint.state[run]);
	free(f->checkpoint.best);
	buf_done(&f->checkpoint.csv);
	training_done(&f->t);
}

static void test_run_takes_every_text_once_an_epoch_and_learns(void **state)
{
	struct fitting f;
	const struct fit_state *s = &f.checkpoint.state[0];

	fitting_init(&f, 2, false, -1);
	assert_int_equal(fit_steps(ROWS, EPOCHS, BATCH), STEPS);
	assert_int_equal(fitting_run(&f, NULL), 0);
	assert_int_equal(f.steps, STEPS);
	assert_int_equal(f.epochs, EPOCHS);
	assert_int_equal(s->step, STEPS);
	assert_int_equal(s->epochs, EPOCHS);
	assert_int_equal(s->tokens, EPOCHS * (int64_t)corpus_tokens(&f.t.corpus));
	assert_true(s->epoch[EPOCHS - 1].ce < s->epoch[0].ce);
	for (int i = 0; i < EPOCHS; i++)
		assert_near("loss", (size_t)i, s->epoch[i].loss,
			s->epoch[i].ce + 0.01 * s->epoch[i].amplify + 0.1 * s->epoch[i].attention, 1e-9);
	fitting_done(&f);
}

/* What an interrupted run must have in common with one that was left alone. */
static void assert_same_run(struct fitting *a, struct fitting *b)
{
	struct fit_state *x = &a->checkpoint.state[0], *y = &b->checkpoint.state[0];
	const struct params *p = &a->t.classifier.params, *q = &b->t.classifier.params;

	assert_same_bits("w", p->w, q->w, p->size);
	assert_same_bits("m", p->m, q->m, p->size);
	assert_same_bits("v", p->v, q->v, p->size);
	assert_int_equal(x->step, y->step);
	assert_int_equal(x->tokens, y->tokens);
	assert_int_equal(x->best_epoch, y->best_epoch);
	assert_true(x->best_accuracy == y->best_accuracy);
	assert_memory_equal(x->epoch, y->epoch, EPOCHS * sizeof(*x->epoch));
	assert_string_equal(a->checkpoint.csv.data, b->checkpoint.csv.data);
}

static void check_resumed(struct fitting *whole, int64_t stop_at, bool best)
{
	struct scratch scratch;
	struct fitting f;
	struct err err;

	scratch_init(&scratch);
	fitting_init(&f, 3, best, scratch.fd);
	f.stop_at = stop_at;
	assert_int_equal(fitting_run(&f, &err), -ERR_STOPPED);
	assert_false(f.found);
	fitting_done(&f);

	fitting_init(&f, 1, best, scratch.fd);
	fill_normal(
		f.t.classifier.params.w, f.t.classifier.params.size, 1); /* all of it comes from the file */
	assert_int_equal(fitting_run(&f, &err), 0);
	assert_true(f.found);
	assert_int_equal(f.steps, STEPS - stop_at);
	assert_same_run(&f, whole);
	fitting_done(&f);
	scratch_done(&scratch);
}

static void check_resumption(void)
{
	static const int64_t STOPS[] = {1, 2, PER_EPOCH, PER_EPOCH + 1, STEPS};

	for (int best = 0; best < 2; best++) {
		struct fitting whole;

		fitting_init(&whole, 2, best != 0, -1);
		assert_int_equal(fitting_run(&whole, NULL), 0);
		for (size_t i = 0; i < NELEM(STOPS); i++)
			check_resumed(&whole, STOPS[i], best != 0);
		fitting_done(&whole);
	}
}

static void test_run_goes_on_from_any_step_with_the_same_bits(void **state)
{
	for_each_method(check_resumption);
}

static void test_best_epoch_is_the_first_of_the_most_accurate(void **state)
{
	struct fitting f;
	const struct fit_state *s = &f.checkpoint.state[0];
	double top = -1;
	int first = 0;

	fitting_init(&f, 1, true, -1);
	assert_int_equal(fitting_run(&f, NULL), 0);
	for (int i = 0; i < EPOCHS; i++)
		if (s->epoch[i].valid_accuracy > top) {
			top = s->epoch[i].valid_accuracy;
			first = i + 1;
		}
	assert_int_equal(s->best_epoch, first);
	assert_true(s->best_accuracy == top);
	assert_same_bits("selected", f.t.classifier.params.w, f.checkpoint.best, f.t.classifier.params.size);
	fitting_done(&f);
}

static void test_first_epoch_wins_where_all_are_alike(void **state)
{
	struct fitting f;

	fitting_init(&f, 1, true, -1);
	f.t.options.learning_rate = 0;
	assert_int_equal(fitting_run(&f, NULL), 0);
	assert_int_equal(f.checkpoint.state[0].best_epoch, 1);
	fitting_done(&f);
}

/* Ends with ERR_INVALID_VALUE after so many steps. */
static void check_divergence(int rows, int steps)
{
	struct fitting f;
	struct err err;

	fitting_init(&f, 1, false, -1);
	f.t.corpus.n = rows;
	f.t.options.learning_rate = 1e38;
	f.t.options.warmup = 0;
	assert_int_equal(fitting_run(&f, &err), -ERR_INVALID_VALUE);
	assert_string_equal(err.where, "hyperparameters.learning_rate");
	assert_int_equal(f.checkpoint.state[0].step, steps);
	assert_int_equal(f.epochs, 0);
	fitting_done(&f);
}

static void test_diverging_run_names_the_learning_rate(void **state)
{
	check_divergence(ROWS, 2);
	check_divergence(BATCH, 1); /* the epoch's only step did it: its validation tells */
}

/* --- checkpoints that do not fit ---------------------------------------------------------------------- */

/* A checkpoint after two steps of the first run, in the directory. */
static void leave_checkpoint(const struct scratch *scratch)
{
	struct fitting f;
	struct err err;

	fitting_init(&f, 1, false, scratch->fd);
	f.stop_at = 2;
	assert_int_equal(fitting_run(&f, &err), -ERR_STOPPED);
	fitting_done(&f);
}

/* checkpoint_read succeeds, finds nothing, and leaves the job at its start. */
static void assert_not_found(struct fitting *f)
{
	const struct checkpoint *c = &f->checkpoint;
	bool found = true;

	assert_int_equal(checkpoint_read(&f->checkpoint, &found, &f->t.classifier.params, f->dirfd, NULL), 0);
	assert_false(found);
	assert_int_equal(c->run, 0);
	assert_int_equal(c->state[0].step, 0);
	assert_int_equal(c->state[0].epochs, 0);
	assert_int_equal(c->state[0].sum_texts, 0);
	assert_true(c->state[0].best_accuracy == -1);
	assert_int_equal(c->csv.len, 0);
}

static void test_no_checkpoint_is_found_where_there_is_none(void **state)
{
	struct scratch scratch;
	struct fitting f;

	scratch_init(&scratch);
	fitting_init(&f, 1, false, scratch.fd);
	assert_not_found(&f);
	fitting_done(&f);
	scratch_done(&scratch);
}

static void test_checkpoint_of_another_spec_is_left_aside(void **state)
{
	struct scratch scratch;
	struct fitting f;

	scratch_init(&scratch);
	leave_checkpoint(&scratch);
	fitting_init(&f, 1, false, scratch.fd);
	f.checkpoint.spec_sha256 = "another spec";
	assert_not_found(&f);
	fitting_done(&f);
	scratch_done(&scratch);
}

/* Another spec's checkpoint of its second run: the number of the run must not stay. */
static void test_foreign_checkpoint_leaves_no_trace(void **state)
{
	struct scratch scratch;
	struct fitting f;
	struct checkpoint *c = &f.checkpoint;

	scratch_init(&scratch);
	fitting_init(&f, 1, false, scratch.fd);
	assert_int_equal(checkpoint_keep(c, &f.t.classifier.params, scratch.fd, NULL), 0);
	c->run = 1;
	c->state[0].step = c->state[1].step = 4;
	c->path.n = 1;
	buf_str(&c->csv, "rows");
	assert_int_equal(checkpoint_write(c, &f.t.classifier.params, scratch.fd, NULL), 0);
	c->run = c->path.n = 0;
	c->state[0].step = c->state[1].step = 0;
	buf_reset(&c->csv);
	c->spec_sha256 = "another spec";
	assert_not_found(&f);
	assert_int_equal(c->state[1].step, 0);
	assert_int_equal(c->path.n, 0);
	fitting_done(&f);
	scratch_done(&scratch);
}

/* The second of two runs, two steps in, after a look of the search; the first run's weights are 1, 2, 3 ... */
static void leave_second_run(struct fitting *f, const struct scratch *scratch)
{
	struct checkpoint *c = &f->checkpoint;
	struct params *p = &f->t.classifier.params;

	fitting_init(f, 1, false, scratch->fd);
	for (size_t i = 0; i < p->size; i++)
		p->w[i] = (real)(i + 1);
	buf_str(&c->csv, "first");
	assert_int_equal(checkpoint_keep(c, p, scratch->fd, NULL), 0);
	buf_reset(&c->csv);
	buf_str(&c->csv, "second");
	c->run = 1;
	c->state[0].step = STEPS;
	c->state[1].step = 2;
	c->path.n = 1;
	c->path.look[0] = (struct path_look){3, 100, 90, 5, 4};
	for (size_t i = 0; i < p->size; i++)
		p->w[i] = -1;
	assert_int_equal(checkpoint_write(c, p, scratch->fd, NULL), 0);
	fitting_done(f);
	fitting_init(f, 1, false, scratch->fd);
}

static void test_second_run_comes_back_beside_the_first_one(void **state)
{
	struct scratch scratch;
	struct fitting f;
	struct checkpoint *c = &f.checkpoint;
	struct params *p = &f.t.classifier.params;
	struct buf csv = {0};
	bool found;

	scratch_init(&scratch);
	leave_second_run(&f, &scratch);
	assert_int_equal(checkpoint_read(c, &found, p, scratch.fd, NULL), 0);
	assert_true(found);
	assert_int_equal(c->run, 1);
	assert_int_equal(c->state[0].step, STEPS);
	assert_int_equal(c->state[1].step, 2);
	assert_int_equal(c->path.n, 1);
	assert_int_equal(c->path.look[0].lost, 5);
	assert_int_equal(c->path.look[0].won, 4);
	assert_true(p->w[0] == -1 && p->w[p->size - 1] == -1);
	assert_string_equal(c->csv.data, "second");
	assert_int_equal(checkpoint_kept(p, &csv, c, 0, scratch.fd, NULL), 0);
	assert_true(p->w[0] == 1 && p->w[p->size - 1] == (real)p->size);
	assert_string_equal(csv.data, "first");
	buf_done(&csv);
	fitting_done(&f);
	scratch_done(&scratch);
}

static void test_checkpoint_whose_finished_run_is_gone_or_broken_is_left_aside(void **state)
{
	static const char *const LEFT[] = {NULL, "", "no weights at all"};
	struct scratch scratch;
	struct fitting f;

	for (size_t i = 0; i < NELEM(LEFT); i++) {
		scratch_init(&scratch);
		leave_second_run(&f, &scratch);
		if (LEFT[i] != NULL)
			scratch_write_text(&scratch, "final.0", LEFT[i]);
		else
			assert_int_equal(unlinkat(scratch.fd, "final.0", 0), 0);
		assert_not_found(&f);
		assert_int_equal(f.checkpoint.path.n, 0);
		fitting_done(&f);
		scratch_done(&scratch);
	}
}

static void test_finished_run_of_another_spec_is_refused(void **state)
{
	struct scratch scratch;
	struct fitting f;
	struct err err;

	scratch_init(&scratch);
	leave_second_run(&f, &scratch);
	f.checkpoint.spec_sha256 = "another spec";
	assert_int_equal(checkpoint_kept(&f.t.classifier.params, NULL, &f.checkpoint, 0, scratch.fd, &err),
		-ERR_INVALID_MODEL);
	assert_string_equal(err.where, "final.0");
	fitting_done(&f);
	scratch_done(&scratch);
}

static void test_checkpoint_of_other_shapes_is_left_aside(void **state)
{
	struct scratch scratch;
	struct fitting f;

	scratch_init(&scratch);
	leave_checkpoint(&scratch);
	fitting_init(&f, 1, false, scratch.fd);
	random_classifier_done(&f.t.classifier);
	random_classifier_init(&f.t.classifier,
		&(struct random_options){
			.config = &CONFIG, .r = 5, .labels = LABELS, .targets = QUERY_VALUE});
	assert_not_found(&f);
	fitting_done(&f);
	scratch_done(&scratch);
}

static void test_checkpoint_without_the_best_weights_is_left_aside(void **state)
{
	struct scratch scratch;
	struct fitting f;

	scratch_init(&scratch);
	leave_checkpoint(&scratch);
	fitting_init(&f, 1, true, scratch.fd);
	assert_not_found(&f);
	fitting_done(&f);
	scratch_done(&scratch);
}

/* A disk that lost the end of the file, or all of it, must not fail the job for ever. */
static void test_broken_checkpoint_is_left_aside(void **state)
{
	static const off_t KEPT[] = {0, 4, 8, 100, 2000, -1};
	struct scratch scratch;
	struct fitting f;
	struct stat st;

	scratch_init(&scratch);
	fitting_init(&f, 1, false, scratch.fd);
	for (size_t i = 0; i < NELEM(KEPT); i++) {
		char path[128];

		leave_checkpoint(&scratch);
		snprintf(path, sizeof(path), "%s/checkpoint", scratch.path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(truncate(path, KEPT[i] >= 0 ? KEPT[i] : st.st_size + KEPT[i]), 0);
		assert_not_found(&f);
	}
	scratch_write_text(&scratch, "checkpoint", "not at all a checkpoint");
	assert_not_found(&f);
	fitting_done(&f);
	scratch_done(&scratch);
}

static void test_unreadable_directory_is_an_error(void **state)
{
	struct fitting f;
	struct err err;
	bool found;

	fitting_init(&f, 1, false, -1);
	assert_int_equal(checkpoint_read(&f.checkpoint, &found, &f.t.classifier.params, -1, &err), -ERR_IO);
	assert_int_equal(checkpoint_write(&f.checkpoint, &f.t.classifier.params, -1, &err), -ERR_IO);
	fitting_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps_give_the_same_bits_on_any_number_of_threads),
		cmocka_unit_test(test_loss_is_the_weighted_sum_of_its_terms),
		cmocka_unit_test(test_attention_term_is_a_mean_or_a_sum),
		cmocka_unit_test(test_weights_rise_with_the_ramp),
		cmocka_unit_test(test_first_step_of_a_warm_up_changes_nothing),
		cmocka_unit_test(test_frozen_encoder_stays_as_it_is),
		cmocka_unit_test(test_rank_above_every_width_fits),
		cmocka_unit_test(test_second_texts_of_a_model_with_one_type_are_of_that_type),
		cmocka_unit_test(test_prediction_depends_on_the_text_alone),
		cmocka_unit_test(test_score_is_the_mean_over_the_texts),
		cmocka_unit_test(test_prediction_of_no_texts_is_no_error),
		cmocka_unit_test(test_run_takes_every_text_once_an_epoch_and_learns),
		cmocka_unit_test(test_run_goes_on_from_any_step_with_the_same_bits),
		cmocka_unit_test(test_best_epoch_is_the_first_of_the_most_accurate),
		cmocka_unit_test(test_first_epoch_wins_where_all_are_alike),
		cmocka_unit_test(test_diverging_run_names_the_learning_rate),
		cmocka_unit_test(test_no_checkpoint_is_found_where_there_is_none),
		cmocka_unit_test(test_checkpoint_of_another_spec_is_left_aside),
		cmocka_unit_test(test_foreign_checkpoint_leaves_no_trace),
		cmocka_unit_test(test_second_run_comes_back_beside_the_first_one),
		cmocka_unit_test(test_checkpoint_whose_finished_run_is_gone_or_broken_is_left_aside),
		cmocka_unit_test(test_finished_run_of_another_spec_is_refused),
		cmocka_unit_test(test_checkpoint_of_other_shapes_is_left_aside),
		cmocka_unit_test(test_checkpoint_without_the_best_weights_is_left_aside),
		cmocka_unit_test(test_broken_checkpoint_is_left_aside),
		cmocka_unit_test(test_unreadable_directory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
