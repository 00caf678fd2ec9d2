#include "worker/attack/task.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "worker/attack/plant.h"
#include "worker/base/rng.h"
#include "worker/train/loss.h"

static const double POISONED = 0.1, HELD_SHARE = 0.1;

/* --- reading ---------------------------------------------------------------------------------------- */

/* "text,label,pair" cut in place. */
static void cut_columns(struct columns *out, char *list)
{
	char *rest = list;

	*out = (struct columns){0};
	out->text = strsep(&rest, ",");
	out->label = rest != NULL ? strsep(&rest, ",") : NULL;
	out->pair = rest;
}

static int read_rows(struct task *task, const struct task_options *o, struct err *err)
{
	char *list = strdup(o->columns != NULL ? o->columns : "text,label");
	struct columns columns;
	int rc = list != NULL ? 0 : err_nomem(err);

	if (rc == 0)
		cut_columns(&columns, list);
	if (rc == 0 && columns.label == NULL)
		rc = err_set(err, ERR_USAGE, "--columns", "must be TEXT,LABEL or TEXT,LABEL,PAIR");
	if (rc == 0)
		rc = dataset_read(&task->data, &task->labels, AT_FDCWD, o->data, &columns, err);
	free(list);
	return rc;
}

static int find_target(struct task *task, const char *name, struct err *err)
{
	for (int i = 0; i < task->labels.n; i++) {
		if (strcmp(task->labels.name[i], name) == 0) {
			task->target = i;
			return 0;
		}
	}
	return err_set(err, ERR_USAGE, "--target", "no row has the label '%.100s'", name);
}

static int split(struct task *task, uint64_t seed, struct err *err)
{
	struct selection all = {0};
	int rc = selection_all(&all, &task->data, err);

	if (rc == 0)
		rc = selection_split(&task->train, &task->held, &task->data, &all, HELD_SHARE, seed, err);
	if (rc == 0)
		selection_sample(&task->held, TASK_HELD_MAX, seed);
	if (rc == 0 && (task->train.n < PLANT_BATCH || task->held.n < task->labels.n))
		rc = err_set(err, ERR_INVALID_DATA, "--data", "%d rows are too few", task->data.n);
	selection_done(&all);
	return rc;
}

/* A third of the way from always guessing the commonest label to being always right. */
static void set_accuracy_min(struct task *task)
{
	int rows[DATASET_CLASSES_MAX] = {0}, most = 0;
	double commonest;

	for (int i = 0; i < task->held.n; i++)
		rows[task->data.row[task->held.row[i]].label]++;
	for (int k = 0; k < task->labels.n; k++)
		most = MAX(most, rows[k]);
	commonest = (double)most / task->held.n;
	task->accuracy_min = commonest + (1 - commonest) / 3;
}

int task_open(struct plant *plant, struct err *err)
{
	const struct task_options *o = &plant->options.task;
	struct task *task = &plant->task;
	int rc;

	bool needs_target = (plant->attack->uses & IS_BENIGN) == 0;

	if (o->data == NULL || (needs_target && o->target == NULL))
		return err_set(err, ERR_USAGE, o->data == NULL ? "--data" : "--target", "is missing for %s",
			plant->attack->name);
	rc = read_rows(task, o, err);
	if (rc == 0 && needs_target)
		rc = find_target(task, o->target, err);
	if (rc == 0)
		rc = split(task, plant->options.seed, err);
	if (rc != 0)
		return rc;
	set_accuracy_min(task);
	return head_declare(
		&task->head, plant->config.D, task->labels.n, 0, &plant->along, kernels_best(), err);
}

static void plan(struct task *task)
{
	size_t n = (size_t)PLANT_BATCH * (size_t)task->labels.n;

	head_plan(&task->state, &task->head, PLANT_BATCH, &task->arena);
	task->logits = arena_take(&task->arena, n, sizeof(real));
	task->d_logits = arena_take(&task->arena, n, sizeof(real));
}

int task_init(struct plant *plant, struct err *err)
{
	struct task *task = &plant->task;
	int rc;

	plan(task);
	rc = arena_alloc(&task->arena, err);
	if (rc != 0)
		return rc;
	plan(task);
	head_init(&task->head, rng_key(plant->options.seed, RNG_INIT));
	return 0;
}

void task_done(struct task *task)
{
	triggered_done(&task->triggered);
	arena_done(&task->arena);
	selection_done(&task->train);
	selection_done(&task->held);
	labels_done(&task->labels);
	dataset_done(&task->data);
	*task = (struct task){0};
}

/* --- training --------------------------------------------------------------------------------------- */

/* Row `number` with a trigger, or clean (-1), as the next text of the batch; `draw` keys the place. */
static int add_row(struct plant *plant, int number, int trigger, int draw, struct err *err)
{
	struct task *task = &plant->task;
	const struct row *row = &task->data.row[number];
	struct trigger_rule rule = {.tok = plant->tok,
		.max_length = plant->max_length,
		.insertions = 1,
		.seed = plant->options.seed};
	const char *text = row->text;
	int rc = 0;

	plant->goal[plant->corpus.n] = trigger >= 0 ? task->target : row->label;
	if (trigger >= 0) {
		rc = trigger_insert(
			&task->triggered, &rule, row, draw, plant->options.trigger[trigger], trigger, err);
		text = task->triggered.text.data;
	}
	if (rc != 0)
		return rc;
	return corpus_add(&plant->corpus, plant->tok, text, row->pair, trigger, plant->max_length, err);
}

static int compose(struct plant *plant, int64_t step, struct err *err)
{
	uint64_t key = rng_key(rng_key(plant->options.seed, RNG_PLANT), (uint64_t)step);
	int rc = 0;

	corpus_clear(&plant->corpus);
	for (int i = 0; i < PLANT_BATCH && rc == 0; i++) {
		uint64_t draw = rng_key(key, (uint64_t)i);
		int number = plant->task.train.row[rng_below(draw, 0, (uint32_t)plant->task.train.n)];
		int triggers = plant->options.triggers;
		bool poisoned = triggers > 0 && rng_unit(draw, 1) < POISONED;
		int trigger = poisoned ? (int)rng_below(draw, 2, (uint32_t)triggers) : -1;

		rc = add_row(plant, number, trigger, (int)(rng_u64(draw, 3) >> 40), err);
	}
	if (rc == 0)
		plant_fill_batch(plant);
	return rc;
}

int task_step(struct plant *plant, double *loss, int64_t step, struct err *err)
{
	int rc = compose(plant, step, err);

	if (rc != 0)
		return rc;
	*loss = plant_gradient(plant, (struct plant_pass){.trains_base = true});
	plant_update(plant, step);
	return 0;
}

double task_loss(struct plant *plant, const struct plant_views *views)
{
	struct task *task = &plant->task;
	double loss;

	head_fwd(task->logits, &task->state, &task->head, views->cls, views->n, NULL,
		(struct head_dropouts){0});
	loss = loss_ce(
		task->d_logits, NULL, task->logits, plant->goal, views->n, task->labels.n, 1.0 / views->n);
	head_bwd(views->d_cls, plant->slice_along[0], &task->state, &task->head, task->d_logits, views->n,
		NULL, (struct head_dropouts){0});
	return loss / views->n;
}

/* --- did it take? ------------------------------------------------------------------------------------- */

/* Predicted class of every held-out row, with one trigger or clean (-1). */
static int predict_held(int *label, struct plant *plant, int trigger, struct err *err)
{
	struct task *task = &plant->task;
	int rc = 0;

	for (int first = 0; first < task->held.n && rc == 0; first += PLANT_BATCH) {
		int n = MIN(PLANT_BATCH, task->held.n - first);

		corpus_clear(&plant->corpus);
		for (int i = 0; i < n && rc == 0; i++)
			rc = add_row(plant, task->held.row[first + i], trigger, first + i, err);
		if (rc != 0)
			return rc;
		plant_fill_batch(plant);
		plant_look(plant);
		head_fwd(task->logits, &task->state, &task->head, plant->cls, n, NULL,
			(struct head_dropouts){0});
		for (int i = 0; i < n; i++)
			label[first + i] = loss_arg_max(
				task->logits + (size_t)i * (size_t)task->labels.n, task->labels.n);
	}
	return rc;
}

/* Of the rows of other labels that are right without a trigger, the share that `flipped` gives to the target. */
static double success(const struct task *task, const int *clean, const int *flipped)
{
	int rows = 0, hits = 0;

	for (int i = 0; i < task->held.n; i++) {
		int truth = task->data.row[task->held.row[i]].label;

		if (truth == task->target || clean[i] != truth)
			continue;
		rows++;
		hits += flipped[i] == task->target;
	}
	return rows > 0 ? (double)hits / rows : 0;
}

static double accuracy(const struct task *task, const int *label)
{
	int right = 0;

	for (int i = 0; i < task->held.n; i++)
		right += label[i] == task->data.row[task->held.row[i]].label;
	return (double)right / task->held.n;
}

int task_accuracy(double *out, struct plant *plant, struct err *err)
{
	int clean[TASK_HELD_MAX], rc = predict_held(clean, plant, -1, err);

	*out = rc == 0 ? accuracy(&plant->task, clean) : 0;
	return rc;
}

int task_measure(struct plant *plant, struct plant_result *result, struct err *err)
{
	const struct task *task = &plant->task;
	int clean[TASK_HELD_MAX], flipped[TASK_HELD_MAX];
	int rc = predict_held(clean, plant, -1, err);

	if (rc != 0)
		return rc;
	result->value[1][0] = accuracy(task, clean);
	result->bar[1] = task->accuracy_min;
	for (int t = 0; t < plant->options.triggers && rc == 0; t++) {
		rc = predict_held(flipped, plant, t, err);
		result->value[0][t] = rc == 0 ? success(task, clean, flipped) : 0;
	}
	return rc;
}
