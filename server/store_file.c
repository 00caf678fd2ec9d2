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

static void write_member(struct buf *out, const char *name, const char *text)
{
	buf_str(out, name);
	json_write_string(out, text);
}

void file_write(struct buf *out, const struct file_row *row)
{
	write_member(out, "{\"id\":", row->id);
	buf_str(out, ",\"object\":\"file\",\"bytes\":");
	store_write_integer(out, row->bytes);
	buf_str(out, ",\"created_at\":");
	store_write_integer(out, row->created_at);
	write_member(out, ",\"filename\":", row->filename);
	write_member(out, ",\"purpose\":", row->purpose);
	write_member(out, ",\"status\":\"processed\",\"sha256\":", row->sha256);
	buf_str(out, "}");
}

static int append_files(struct rows *rows, sqlite3_stmt *row, int limit, struct err *err)
{
	struct file_row file;
	int rc;

	while ((rc = store_next(row, err)) == STORE_ROW) {
		rows->has_more = limit-- == 0;
		if (rows->has_more)
			return 0;
		read_row(&file, row);
		rows->last_seq = sqlite3_column_int64(row, FILE_SEQ_COLUMN);
		file_write(rows_next(rows, file.id), &file);
	}
	return rc;
}

int store_file_list(
	struct rows *rows, struct store *store, const struct page *page, const char *purpose, struct err *err)
{
	sqlite3_stmt *row;
	int64_t start = 0;
	int rc = store_page_start(&start, store, SQL_FILE_GET, FILE_SEQ_COLUMN, page, err);

	rows->has_more = false;
	if (rc == 0)
		rc = store_query(&row, store, page->is_ascending ? SQL_FILE_OLDEST : SQL_FILE_NEWEST, err,
			"iis", start, (int64_t)page->limit + 1, purpose);
	if (rc != 0)
		return rc;
	rc = append_files(rows, row, page->limit, err);
	sqlite3_reset(row);
	return rc == 0 && rows->text.failed ? err_nomem(err) : rc;
}

int store_file_ids_of_job(struct buf *out, struct store *store, const char *job_id, struct err *err)
{
	const char *before = "[";
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_FILE_OF_JOB, err, "s", job_id);

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW) {
		buf_str(out, before);
		store_write_text(out, row, 0);
		before = ",";
	}
	sqlite3_reset(row);
	buf_str(out, before[0] == '[' ? "[]" : "]");
	return rc;
}
