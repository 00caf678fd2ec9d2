#include "worker/train/checkpoint.h"

#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "worker/data/safetensors.h"

#define FILE_NAME "checkpoint"

/* --- writing ------------------------------------------------------------------------------------ */

static json_t *epoch_json(const struct fit_epoch *e)
{
	return json_pack("[f, f, f, f, f, f]", e->loss, e->ce, e->amplify, e->attention, e->valid_loss,
		e->valid_accuracy);
}

static json_t *state_json(const struct fit_state *s)
{
	json_t *epochs = json_array();

	for (int i = 0; i < s->epochs; i++)
		json_array_append_new(epochs, epoch_json(&s->epoch[i]));
	return json_pack("{s:I, s:o, s:o, s:i, s:I, s:f, s:i, s:f}", "step", (json_int_t)s->step, "epochs",
		epochs, "sum", epoch_json(&s->sum), "sum_texts", s->sum_texts, "tokens",
		(json_int_t)s->tokens, "seconds", s->seconds, "best_epoch", s->best_epoch, "best_accuracy",
		s->best_accuracy);
}

static json_t *looks_json(const struct path *path)
{
	json_t *out = json_array();

	for (int i = 0; i < path->n; i++) {
		const struct path_look *look = &path->look[i];

		json_array_append_new(out, json_pack("[i, i, i, i, i]", look->point, look->rows, look->right,
						   look->lost, look->won));
	}
	return out;
}

static int describe(struct buf *out, const struct checkpoint *c, struct err *err)
{
	json_t *runs = json_array(), *state;

	for (int i = 0; i <= c->run; i++)
		json_array_append_new(runs, state_json(&c->state[i]));
	state = json_pack("{s:s, s:i, s:o, s:o}", "spec", c->spec_sha256, "run", c->run, "looks",
		looks_json(&c->path), "runs", runs);
	if (state == NULL)
		return err_set(err, ERR_INTERNAL, FILE_NAME, "cannot describe the job's state");
	json_write(out, state);
	json_decref(state);
	return out->failed ? err_nomem(err) : 0;
}

static struct st_tensor reals(const char *name, const real *data, size_t n)
{
	return (struct st_tensor){.name = name, .dtype = ST_REAL, .rank = 1, .shape = {n}, .data = data};
}

static struct st_tensor csv_bytes(const struct buf *csv)
{
	return (struct st_tensor){
		.name = "csv", .dtype = ST_U8, .rank = 1, .shape = {csv->len}, .data = csv->data};
}

static int write_file(
	int dirfd, const char *name, const struct st_tensor *list, int n, const char *state, struct err *err)
{
	const struct st_metadata metadata[2] = {{"format", "pt"}, {"state", state}};

	return st_write(dirfd, name, list, n, metadata, NELEM(metadata), err);
}

int checkpoint_write(const struct checkpoint *c, const struct params *params, int dirfd, struct err *err)
{
	struct st_tensor list[5] = {reals("w", params->w, params->size), reals("m", params->m, params->size),
		reals("v", params->v, params->size), csv_bytes(&c->csv)};
	struct buf text = {0};
	int n = 4, rc = describe(&text, c, err);

	if (c->best != NULL)
		list[n++] = reals("best", c->best, params->size);
	if (rc == 0)
		rc = write_file(dirfd, FILE_NAME, list, n, text.data, err);
	buf_done(&text);
	return rc;
}

struct final_name {
	char text[32];
};

static struct final_name final_name(int run)
{
	struct final_name name;

	snprintf(name.text, sizeof(name.text), "final.%d", run);
	return name;
}

int checkpoint_keep(const struct checkpoint *c, const struct params *params, int dirfd, struct err *err)
{
	const struct st_tensor list[] = {reals("w", params->w, params->size), csv_bytes(&c->csv)};

	return write_file(dirfd, final_name(c->run).text, list, NELEM(list), c->spec_sha256, err);
}

/* --- reading: what does not fit is "not found", by returning false ------------------------------- */

static bool read_epoch(struct fit_epoch *out, json_t *json)
{
	return json_unpack(json, "[F, F, F, F, F, F!]", &out->loss, &out->ce, &out->amplify, &out->attention,
		       &out->valid_loss, &out->valid_accuracy) == 0;
}

static bool read_state(struct fit_state *s, json_t *json, int n_epochs)
{
	json_t *epochs, *sum;
	json_int_t step, tokens;

	if (json_unpack(json, "{s:I, s:o, s:o, s:i, s:I, s:F, s:i, s:F}", "step", &step, "epochs", &epochs,
		    "sum", &sum, "sum_texts", &s->sum_texts, "tokens", &tokens, "seconds", &s->seconds,
		    "best_epoch", &s->best_epoch, "best_accuracy", &s->best_accuracy) != 0)
		return false;
	if (!json_is_array(epochs) || json_array_size(epochs) > (size_t)n_epochs || step < 0)
		return false;
	s->step = step;
	s->tokens = tokens;
	s->epochs = (int)json_array_size(epochs);
	for (int i = 0; i < s->epochs; i++)
		if (!read_epoch(&s->epoch[i], json_array_get(epochs, (size_t)i)))
			return false;
	return read_epoch(&s->sum, sum);
}

static bool read_looks(struct path *path, json_t *json)
{
	int n = (int)json_array_size(json);

	if (!json_is_array(json) || n > PATH_LOOKS)
		return false;
	for (path->n = 0; path->n < n; path->n++) {
		struct path_look *look = &path->look[path->n];

		if (json_unpack(json_array_get(json, (size_t)path->n), "[i, i, i, i, i!]", &look->point,
			    &look->rows, &look->right, &look->lost, &look->won) != 0 ||
			look->point < 0 || look->point >= PATH_POINTS)
			return false;
	}
	return true;
}

static bool read_text(struct checkpoint *c, json_t *json)
{
	const char *spec;
	json_t *runs, *looks;

	if (json_unpack(json, "{s:s, s:i, s:o, s:o}", "spec", &spec, "run", &c->run, "looks", &looks, "runs",
		    &runs) != 0)
		return false;
	if (strcmp(spec, c->spec_sha256) != 0 || c->run < 0 || c->run >= c->runs ||
		json_array_size(runs) != (size_t)c->run + 1)
		return false;
	for (int i = 0; i <= c->run; i++)
		if (!read_state(&c->state[i], json_array_get(runs, (size_t)i), c->n_epochs))
			return false;
	return read_looks(&c->path, looks);
}

static bool read_tensor(real *out, const struct st *st, const char *name, size_t size)
{
	const struct st_tensor *tensor = st_find(st, name);

	if (out == NULL)
		return true;
	if (tensor == NULL || tensor->dtype != ST_REAL || st_elements(tensor) != size)
		return false;
	memcpy(out, tensor->data, size * sizeof(real));
	return true;
}

static bool read_csv(struct buf *out, const struct st *st)
{
	const struct st_tensor *tensor = st_find(st, "csv");

	if (out == NULL)
		return true;
	if (tensor == NULL || tensor->dtype != ST_U8)
		return false;
	buf_add(out, tensor->data, st_elements(tensor));
	return !out->failed;
}

static bool read_tensors(struct checkpoint *c, struct params *params, const struct st *st)
{
	return read_tensor(params->w, st, "w", params->size) &&
	       read_tensor(params->m, st, "m", params->size) &&
	       read_tensor(params->v, st, "v", params->size) &&
	       read_tensor(c->best, st, "best", params->size);
}

int checkpoint_kept(struct params *params, struct buf *csv, const struct checkpoint *c, int run, int dirfd,
	struct err *err)
{
	struct final_name name = final_name(run);
	struct buf spec = {0};
	struct st st = {0};
	int rc = st_open(&st, dirfd, name.text, err);

	if (rc == 0)
		rc = st_metadata_get(&spec, &st, "state", err);
	if (rc == 0 && (spec.data == NULL || strcmp(spec.data, c->spec_sha256) != 0 ||
			       !read_tensor(params->w, &st, "w", params->size) || !read_csv(csv, &st)))
		rc = err_set(err, ERR_INVALID_MODEL, name.text, "is not what this job has written");
	buf_done(&spec);
	st_done(&st);
	return rc;
}

/* Loads each, into w, which the live weights overwrite. */
static bool finals_are_there(const struct checkpoint *c, struct params *params, int dirfd)
{
	struct err fault;

	for (int run = 0; run < c->run; run++)
		if (checkpoint_kept(params, NULL, c, run, dirfd, &fault) != 0) {
			log_err(LOG_WARN, "checkpoint is left aside", &fault);
			return false;
		}
	return true;
}

/* Numbers go to a copy first: what turns out not to fit leaves *c at its start. */
static bool take_up(struct checkpoint *c, struct params *params, const struct st *st, json_t *json, int dirfd)
{
	struct checkpoint read = *c;

	read.csv = (struct buf){0};
	if (!read_text(&read, json) || !finals_are_there(&read, params, dirfd) ||
		!read_tensors(&read, params, st) || !read_csv(&read.csv, st)) {
		buf_done(&read.csv);
		return false;
	}
	buf_done(&c->csv);
	*c = read;
	return true;
}

/* The file's own fault, which no second attempt mends, unlike a disk's or memory's. */
static bool is_broken(const struct err *err)
{
	return err->code == ERR_INVALID_MODEL || err->code == ERR_UNSUPPORTED_FORMAT ||
	       err->code == ERR_INVALID_JSON;
}

int checkpoint_read(struct checkpoint *c, bool *found, struct params *params, int dirfd, struct err *err)
{
	struct buf text = {0};
	struct st st = {0};
	struct err fault = {0};
	json_t *json = NULL;
	int rc;

	*found = false;
	rc = st_open(&st, dirfd, FILE_NAME, &fault);
	if (rc == 0)
		rc = st_metadata_get(&text, &st, "state", &fault);
	if (rc == 0)
		rc = json_parse(&json, text.data != NULL ? text.data : "", text.len, FILE_NAME, &fault);
	if (rc == 0)
		*found = take_up(c, params, &st, json, dirfd);
	json_decref(json);
	buf_done(&text);
	st_done(&st);
	if (rc == 0 || fault.code == ERR_NOT_FOUND)
		return 0;
	if (is_broken(&fault)) {
		log_err(LOG_WARN, "checkpoint is left aside", &fault);
		return 0;
	}
	if (err != NULL)
		*err = fault;
	return rc;
}
