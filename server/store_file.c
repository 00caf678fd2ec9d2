/* store_file: rows of uploaded and resulting files. */
#include <string.h>

#include "server/store_internal.h"

enum { FILE_SEQ_COLUMN = 7 };

int store_file_add(struct store *store, const struct file_row *row, struct err *err)
{
	return store_run(store, SQL_FILE_ADD, NULL, err, "sissise", row->id, row->created_at, row->filename,
		row->purpose, row->bytes, row->sha256, row->job_id);
}

static void read_row(struct file_row *out, sqlite3_stmt *row)
{
	*out = (struct file_row){0};
	store_text(out->id, sizeof(out->id), row, 0);
	out->created_at = sqlite3_column_int64(row, 1);
	store_text(out->filename, sizeof(out->filename), row, 2);
	store_text(out->purpose, sizeof(out->purpose), row, 3);
	out->bytes = sqlite3_column_int64(row, 4);
	store_text(out->sha256, sizeof(out->sha256), row, 5);
	store_text(out->job_id, sizeof(out->job_id), row, 6);
}

int store_file_get(struct file_row *out, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_FILE_GET, err, "s", id);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, NULL, "no such file: '%s'", id);
	if (rc != STORE_ROW)
		return rc;
	read_row(out, row);
	sqlite3_reset(row);
	return 0;
}

int store_file_delete(struct store *store, const char *id, struct err *err)
{
	struct file_row row;
	int changes = 0;
	int rc = store_file_get(&row, store, id, err);

	if (rc == 0)
		rc = store_run(store, SQL_FILE_DELETE, &changes, err, "s", id);
	if (rc == 0 && changes == 0)
		rc = err_set(err, ERR_IN_USE, NULL, "file '%s' is needed by a job that has not finished", id);
	return rc;
}

json_t *file_object(const struct file_row *row)
{
	json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s}", "id", row->id, "object",
		"file", "bytes", (json_int_t)row->bytes, "created_at", (json_int_t)row->created_at,
		"filename", row->filename, "purpose", row->purpose, "status", "processed", "sha256",
		row->sha256);

	return object;
}

int store_file_list(json_t *data, bool *has_more, struct store *store, const struct page *page,
	const char *purpose, struct err *err)
{
	sqlite3_stmt *row;
	struct file_row file;
	int64_t start = 0;
	int rc = store_page_start(&start, store, SQL_FILE_GET, FILE_SEQ_COLUMN, page, err);

	*has_more = false;
	if (rc == 0)
		rc = store_query(&row, store, page->is_ascending ? SQL_FILE_OLDEST : SQL_FILE_NEWEST, err,
			"iis", start, (int64_t)page->limit + 1, purpose);
	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW) {
		if (json_array_size(data) == (size_t)page->limit) {
			*has_more = true;
			rc = 0;
			break;
		}
		read_row(&file, row);
		if (json_array_append_new(data, file_object(&file)) != 0) {
			rc = err_nomem(err);
			break;
		}
	}
	sqlite3_reset(row);
	return rc;
}

int store_file_ids_of_job(json_t *ids, struct store *store, const char *job_id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_FILE_OF_JOB, err, "s", job_id);

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW)
		json_array_append_new(ids, json_string((const char *)sqlite3_column_text(row, 0)));
	sqlite3_reset(row);
	return rc;
}
