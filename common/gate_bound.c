#include "common/gate_bound.h"

#include <stdlib.h>
#include <string.h>

#include "common/bound.h"

static const double error_rate = .05; /* of a wrong pass, and of a wrong fail */

/* What one bound is of. */
struct cell {
	double count, won, total;	/* count of total; of a drop, rows lost and won of all */
	double rows;			/* test rows behind the total */
	const json_t *shown;		/* {value, interval} */
	json_t *trigger, *label, *seed; /* NULL: not of one */
	const char *among;		/* origin of the trigger; NULL: there is none */
};

/* One check and its cells: those that cannot be the worst are counted in `tested` and not kept. */
struct cells {
	const struct gate_check *check;
	struct cell cell[GATE_CELLS_MAX];
	int n, tested;
	bool is_unknown, has_empty;
	/* Of the seed that is being read. */
	json_t *seed;
	double rows;
};

/* --- cells of a report ------------------------------------------------------------------------------ */

static bool read_count(double *out, const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	*out = (double)json_integer_value(value);
	return json_is_integer(value) && *out >= 0 && *out <= 1e9;
}

/* Of two cells with the same total the one with more events has the higher bounds: the other is dropped. */
static bool is_outdone(struct cells *cells, const struct cell *cell)
{
	for (int i = 0; i < cells->n && !cells->check->is_minimum; i++) {
		struct cell *old = &cells->cell[i];

		if (old->total != cell->total || old->rows != cell->rows || old->won != cell->won)
			continue;
		if (cell->count > old->count)
			*old = *cell;
		return true;
	}
	return false;
}

static void keep(struct cells *cells, struct cell cell)
{
	cell.seed = cells->seed;
	cell.rows = cells->rows;
	if (cell.total == 0) {
		cells->has_empty = true;
		return;
	}
	cells->tested++;
	if (is_outdone(cells, &cell))
		return;
	if (cells->n == GATE_CELLS_MAX)
		cells->is_unknown = true;
	else
		cells->cell[cells->n++] = cell;
}

/* cell: what is known beside the counts. */
static void keep_rate(struct cells *cells, const json_t *rate, struct cell cell)
{
	cell.shown = rate;
	if (read_count(&cell.count, rate, "count") && read_count(&cell.total, rate, "total") &&
		cell.count <= cell.total && cell.total <= cells->rows)
		keep(cells, cell);
	else
		cells->is_unknown = true;
}

static const char *origin(const json_t *entry)
{
	return json_is_true(json_object_get(entry, "found")) ? "found" : "known";
}

static void collect_asr(struct cells *cells, const json_t *report)
{
	const json_t *evaluation = json_object_get(report, "evaluation"), *entry;
	const json_t *control = json_object_get(evaluation, "control");
	size_t i;

	keep_rate(cells, json_object_get(evaluation, "asr"), (struct cell){.among = "any"});
	if (json_is_object(control))
		keep_rate(cells, json_object_get(control, "asr"), (struct cell){.among = "random"});
	json_array_foreach(json_object_get(evaluation, "by_trigger"), i, entry)
	{
		if (json_is_true(json_object_get(entry, "found")))
			keep_rate(cells, json_object_get(entry, "asr"),
				(struct cell){
					.among = "found", .trigger = json_object_get(entry, "trigger")});
	}
}

/* One trigger on every label. */
static void collect_targets(struct cells *cells, const json_t *entry, const char *among)
{
	const json_t *targets = json_object_get(entry, "targets"), *target;
	size_t i;

	if (json_array_size(targets) == 0)
		cells->is_unknown = true;
	json_array_foreach(targets, i, target) keep_rate(cells, json_object_get(target, "rate"),
		(struct cell){.among = among,
			.trigger = json_object_get(entry, "trigger"),
			.label = json_object_get(target, "label")});
}

static void collect_triggers(struct cells *cells, const json_t *list, const char *among)
{
	const json_t *entry;
	size_t i;

	if (json_array_size(list) == 0)
		cells->is_unknown = true;
	json_array_foreach(list, i, entry)
		collect_targets(cells, entry, among != NULL ? among : origin(entry));
}

static void collect_masr(struct cells *cells, const json_t *report)
{
	const json_t *evaluation = json_object_get(report, "evaluation");
	const json_t *control = json_object_get(evaluation, "control");

	collect_triggers(cells, json_object_get(evaluation, "by_trigger"), NULL);
	if (json_is_object(control))
		collect_triggers(cells, json_object_get(control, "by_trigger"), "random");
}

static void collect_drop(struct cells *cells, const json_t *report)
{
	const json_t *drop = json_object_get(report, "ca_drop");
	struct cell cell = {.shown = drop};

	if (read_count(&cell.count, drop, "only_undefended_right") &&
		read_count(&cell.won, drop, "only_defended_right") && read_count(&cell.total, drop, "rows") &&
		cell.count + cell.won <= cell.total && cell.total == cells->rows)
		keep(cells, cell);
	else
		cells->is_unknown = true;
}

static void collect_ca(struct cells *cells, const json_t *report)
{
	keep_rate(cells, json_object_get(json_object_get(report, "evaluation"), "ca"), (struct cell){0});
}

static struct bound of_rate(const struct cell *cell, double scale, double alpha)
{
	return bound_rate(cell->count * scale, cell->total * scale, alpha);
}

static struct bound of_drop(const struct cell *cell, double scale, double alpha)
{
	return bound_drop(cell->count * scale, cell->won * scale, cell->total * scale, alpha);
}

/* How the checks of gate_checks get their cells and bounds. */
static const struct {
	void (*collect)(struct cells *cells, const json_t *report);
	struct bound (*bound)(const struct cell *cell, double scale, double alpha);
} ways[GATE_CHECK_COUNT] = {
	{collect_asr, of_rate},
	{collect_masr, of_rate},
	{collect_drop, of_drop},
	{collect_ca, of_rate},
};

/* The results of one seed, or of the only one. Without test rows nothing is known. */
static void collect_seed(struct cells *cells, int number, const json_t *results)
{
	cells->seed = json_object_get(results, "seed");
	if (read_count(&cells->rows, json_object_get(results, "evaluation"), "rows") && cells->rows > 0)
		ways[number].collect(cells, results);
	else
		cells->is_unknown = true;
}

static void collect(struct cells *cells, int number, const json_t *report)
{
	const json_t *seeds = json_object_get(report, "seeds"), *seed;
	size_t i;

	cells->check = &gate_checks[number];
	if (json_array_size(seeds) == 0)
		collect_seed(cells, number, report);
	json_array_foreach(seeds, i, seed) collect_seed(cells, number, seed);
	if (cells->n == 0 && !cells->has_empty)
		cells->is_unknown = true;
}

/* --- judging ---------------------------------------------------------------------------------------- */

enum outcome { OPEN, KEPT, BROKEN };

static enum outcome compare(const struct gate_check *check, struct bound bound, double threshold)
{
	if (check->is_minimum)
		return bound.low >= threshold ? KEPT : bound.high < threshold ? BROKEN : OPEN;
	return bound.high <= threshold ? KEPT : bound.low > threshold ? BROKEN : OPEN;
}

static double value_of(const struct cell *cell)
{
	return (cell->count - cell->won) / cell->total;
}

static const struct cell *worst_of(const struct cells *cells)
{
	const struct cell *worst = NULL;

	for (int i = 0; i < cells->n; i++) {
		const struct cell *cell = &cells->cell[i];

		if (worst == NULL || (cells->check->is_minimum ? value_of(cell) < value_of(worst)
							       : value_of(cell) > value_of(worst)))
			worst = cell;
	}
	return worst;
}

/* A question about one check: which number of rows would decide it, at which part of the error. */
struct query {
	const struct gate_check *check;
	struct bound (*bound)(const struct cell *cell, double scale, double alpha);
	double threshold, alpha;
};

static struct bound bound_of(const struct query *query, const struct cells *cells)
{
	struct bound all = cells->check->is_minimum ? (struct bound){1, 1} : (struct bound){-1, -1};

	for (int i = 0; i < cells->n; i++) {
		struct bound one = query->bound(&cells->cell[i], 1, query->alpha);

		all.low = cells->check->is_minimum ? MIN(all.low, one.low) : MAX(all.low, one.low);
		all.high = cells->check->is_minimum ? MIN(all.high, one.high) : MAX(all.high, one.high);
	}
	if (cells->has_empty && cells->check->is_minimum)
		all.low = 0;
	else if (cells->has_empty)
		all = (struct bound){MAX(all.low, 0), 1};
	return all;
}

static bool is_decided(const struct query *query, const struct cell *cell, double rows, enum outcome wanted)
{
	struct bound bound = query->bound(cell, rows / cell->rows, query->alpha);

	return compare(query->check, bound, query->threshold) == wanted;
}

/* The fewest rows from `rows` on with the wanted outcome for this cell; above GATE_ROWS_MAX: no number of them. */
static double search(const struct query *query, const struct cell *cell, double rows, enum outcome wanted)
{
	double enough = rows, few = rows - 1;

	while (enough <= GATE_ROWS_MAX && !is_decided(query, cell, enough, wanted)) {
		few = enough;
		enough *= 2;
	}
	while (enough - few > 1) {
		double middle = few + (double)(int64_t)((enough - few) / 2);

		if (is_decided(query, cell, middle, wanted))
			enough = middle;
		else
			few = middle;
	}
	return enough;
}

/* Rows at which every cell is within the threshold. */
static double rows_to_keep(const struct query *query, const struct cells *cells)
{
	double needed = 1;

	for (int i = 0; i < cells->n && needed <= GATE_ROWS_MAX; i++)
		needed = search(query, &cells->cell[i], MAX(needed, cells->cell[i].rows), KEPT);
	return needed;
}

/* Rows at which one cell is beyond it. */
static double rows_to_break(const struct query *query, const struct cells *cells)
{
	double needed = (double)GATE_ROWS_MAX + 1;

	for (int i = 0; i < cells->n; i++) {
		const struct cell *cell = &cells->cell[i];

		if (needed > cell->rows && is_decided(query, cell, needed - 1, BROKEN))
			needed = search(query, cell, cell->rows, BROKEN);
	}
	return needed;
}

static json_t *needed_rows(const struct query *query, const struct cells *cells, const struct cell *worst)
{
	double excess = worst != NULL ? value_of(worst) - query->threshold : 0, rows;

	if (excess == 0 || cells->has_empty)
		return json_null();
	rows = (excess > 0) == query->check->is_minimum ? rows_to_keep(query, cells)
							: rows_to_break(query, cells);
	return rows <= GATE_ROWS_MAX ? json_integer((json_int_t)rows) : json_null();
}

/* --- the answer ------------------------------------------------------------------------------------- */

static json_t *worst_json(const struct cell *worst)
{
	json_t *out = json_pack("{s:s}", "among", worst->among);

	if (out != NULL && worst->trigger != NULL)
		json_object_set(out, "trigger", worst->trigger);
	if (out != NULL && worst->label != NULL)
		json_object_set(out, "label", worst->label);
	return out;
}

/* Where the worst cell is: its seed, and what it is of. */
static void add_place(json_t *out, const struct cell *worst)
{
	if (worst == NULL)
		return;
	if (worst->among != NULL)
		json_object_set_new(out, "worst", worst_json(worst));
	if (worst->seed != NULL)
		json_object_set(out, "seed", worst->seed);
}

static json_t *unknown_json(const struct gate_check *check, double threshold)
{
	return json_pack("{s:s, s:n, s:n, s:n, s:f, s:n, s:n}", "name", check->name, "value", "bound",
		"interval", "threshold", threshold, "passed", "needed_rows");
}

static json_t *judge_one(const struct cells *cells, const struct query *query)
{
	const struct cell *worst = worst_of(cells);
	struct bound bound = bound_of(query, cells);
	enum outcome outcome = compare(cells->check, bound, query->threshold);
	json_t *out;

	if (cells->is_unknown)
		return unknown_json(cells->check, query->threshold);
	out = json_pack("{s:s, s:o, s:[f, f], s:O?, s:f, s:o, s:o}", "name", cells->check->name, "value",
		worst != NULL ? json_real(value_of(worst)) : json_null(), "bound", bound.low, bound.high,
		"interval", worst != NULL ? json_object_get(worst->shown, "interval") : NULL, "threshold",
		query->threshold, "passed", outcome == OPEN ? json_null() : json_boolean(outcome == KEPT),
		"needed_rows", outcome == OPEN ? needed_rows(query, cells, worst) : json_null());
	if (out != NULL)
		add_place(out, worst);
	return out;
}

static int judge_all(json_t *checks, const struct cells *all, const json_t *thresholds, int tested)
{
	for (int i = 0; i < GATE_CHECK_COUNT; i++) {
		struct query query = {&gate_checks[i], ways[i].bound,
			json_number_value(json_object_get(thresholds, gate_checks[i].name)),
			error_rate / MAX(tested, 1)};

		if (all[i].check != NULL && json_array_append_new(checks, judge_one(&all[i], &query)) != 0)
			return -1;
	}
	return 0;
}

int gate_bound_judge(json_t *out, const json_t *report, const json_t *thresholds)
{
	struct cells *all = calloc(GATE_CHECK_COUNT, sizeof(*all));
	json_t *checks = json_array();
	int tested = 0, rc = -1;

	if (all == NULL || checks == NULL)
		goto done;
	for (int i = 0; i < GATE_CHECK_COUNT; i++) {
		if (json_is_number(json_object_get(thresholds, gate_checks[i].name)))
			collect(&all[i], i, report);
		tested += all[i].tested;
	}
	rc = judge_all(checks, all, thresholds, tested);
	if (rc == 0 && (json_object_set_new(out, "confidence", json_real(1 - error_rate)) != 0 ||
			       json_object_set(out, "checks", checks) != 0 ||
			       json_object_set_new(out, "tested", json_integer(tested)) != 0))
		rc = -1;
done:
	json_decref(checks);
	free(all);
	return rc;
}
