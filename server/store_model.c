/* store_model: rows of base models and fine-tuned models, and of the files of base models. */
#include <stdio.h>

#include "server/store_internal.h"

enum { MODEL_SEQ_COLUMN = 5 };

static int add_row(int64_t *seq, struct store *store, const struct model_row *model, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_MODEL_ADD, err, "siise", model->id, model->created_at,
		model->bytes, model->sha256, model->job_id);

	if (rc != STORE_ROW)
		return rc == 0 ? err_set(err, ERR_INTERNAL, "models", "no row came back") : rc;
	*seq = sqlite3_column_int64(row, 0);
	rc = store_next(row, err); /* an INSERT ... RETURNING is done only when stepped to its end */
	sqlite3_reset(row);
	return rc;
}

static int add_rows(struct store *store, const struct model_row *model, struct err *err)
{
	int64_t seq = 0;
	int rc = add_row(&seq, store, model, err);

	for (size_t i = 0; rc == 0 && i < model->n_files; i++)
		rc = store_run(store, SQL_MODEL_FILE_ADD, NULL, err, "isis", seq, model->files[i].path,
			model->files[i].bytes, model->files[i].sha256);
	return rc;
}

int store_model_add(struct store *store, const struct model_row *model, struct err *err)
{
	int rc = store_begin(store, err);

	if (rc != 0)
		return rc;
	rc = add_rows(store, model, err);
	if (rc != 0) {
		store_rollback(store);
		return rc;
	}
	return store_commit(store, err);
}

static int get(struct model_row *out, int64_t *seq, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_MODEL_GET, err, "s", id);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, NULL, "no such model: '%s'", id);
	if (rc != STORE_ROW)
		return rc;
	*out = (struct model_row){0};
	store_text(out->id, sizeof(out->id), row, 0);
	out->created_at = sqlite3_column_int64(row, 1);
	out->bytes = sqlite3_column_int64(row, 2);
	store_text(out->sha256, sizeof(out->sha256), row, 3);
	store_text(out->job_id, sizeof(out->job_id), row, 4);
	*seq = sqlite3_column_int64(row, MODEL_SEQ_COLUMN);
	sqlite3_reset(row);
	return 0;
}

int store_model_get(struct model_row *out, struct store *store, const char *id, struct err *err)
{
	int64_t seq;

	return get(out, &seq, store, id, err);
}

int store_model_delete(struct store *store, const char *id, struct err *err)
{
	struct model_row row;
	int changes = 0;
	int rc = store_model_get(&row, store, id, err);

	if (rc == 0)
		rc = store_run(store, SQL_MODEL_DELETE, &changes, err, "s", id);
	if (rc == 0 && changes == 0)
		rc = err_set(
			err, ERR_IN_USE, NULL, "model '%s' is needed by a job that has not finished", id);
	return rc;
}

static int read_files(json_t *files, struct store *store, int64_t seq, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_MODEL_FILES, err, "i", seq);

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW)
		json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "path", sqlite3_column_text(row, 0),
						     "bytes", (json_int_t)sqlite3_column_int64(row, 1),
						     "sha256", sqlite3_column_text(row, 2)));
	sqlite3_reset(row);
	return rc;
}

int store_model_object(json_t **out, struct store *store, const char *id, struct err *err)
{
	struct model_row row;
	int64_t seq = 0;
	json_t *files = json_array();
	int rc = get(&row, &seq, store, id, err);

	if (rc == 0)
		rc = read_files(files, store, seq, err);
	if (rc != 0) {
		json_decref(files);
		return rc;
	}
	*out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:o}", "id", row.id, "object", "model", "created",
		(json_int_t)row.created_at, "owned_by", row.job_id[0] == '\0' ? "user" : row.job_id, "sha256",
		row.sha256, "bytes", (json_int_t)row.bytes, "files", files);
	return *out == NULL ? err_nomem(err) : 0;
}

/* The ids of a page; *n of them in `ids`, which holds limit + 1. */
static int page_ids(
	char (*ids)[STORE_NAME_BYTES], int *n, struct store *store, const struct page *page, struct err *err)
{
	sqlite3_stmt *row;
	int64_t start = 0;
	int rc = store_page_start(&start, store, SQL_MODEL_GET, MODEL_SEQ_COLUMN, page, err);

	*n = 0;
	if (rc == 0)
		rc = store_query(&row, store, page->is_ascending ? SQL_MODEL_OLDEST : SQL_MODEL_NEWEST, err,
			"ii", start, (int64_t)page->limit + 1);
	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW)
		store_text(ids[(*n)++], sizeof(*ids), row, 0);
	sqlite3_reset(row);
	return rc;
}

int store_model_list(
	json_t *data, bool *has_more, struct store *store, const struct page *page, struct err *err)
{
	char ids[101][STORE_NAME_BYTES];
	int n = 0, rc;

	if (page->limit >= (int)NELEM(ids))
		return err_set(err, ERR_INTERNAL, "limit", "%d is more than a page of models", page->limit);
	rc = page_ids(ids, &n, store, page, err);
	*has_more = n > page->limit;
	for (int i = 0; rc == 0 && i < MIN(n, page->limit); i++) {
		json_t *object = NULL;

		rc = store_model_object(&object, store, ids[i], err);
		if (rc == 0)
			json_array_append_new(data, object);
	}
	return rc;
}
