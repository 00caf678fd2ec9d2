/* store_job_text: jobs as the interface shows them, put together from their rows' text. */
#include "server/store_internal.h"
#include "server/store_job.h"

/* Columns in the order of SQL_JOB_TEXT_COLUMNS. */
enum {
	COL_SEQ,
	COL_ID,
	COL_STATUS,
	COL_CREATED,
	COL_FINISHED,
	COL_MODEL,
	COL_TOKENS,
	COL_ESTIMATE,
	COL_ERROR_CODE,
	COL_ERROR_MESSAGE,
	COL_ERROR_PARAM,
	COL_VIEW,
	COL_SPEC,
	COL_IS_SCAN
};

static void write_integer(struct buf *out, const char *name, sqlite3_stmt *row, int column)
{
	buf_str(out, name);
	if (sqlite3_column_type(row, column) == SQLITE_NULL)
		buf_str(out, "null");
	else
		store_write_integer(out, sqlite3_column_int64(row, column));
}

static void write_text(struct buf *out, const char *name, sqlite3_stmt *row, int column)
{
	buf_str(out, name);
	store_write_text(out, row, column);
}

static void write_error(struct buf *out, sqlite3_stmt *row)
{
	if (sqlite3_column_type(row, COL_ERROR_CODE) == SQLITE_NULL) {
		buf_str(out, ",\"error\":null");
		return;
	}
	write_text(out, ",\"error\":{\"code\":", row, COL_ERROR_CODE);
	write_text(out, ",\"message\":", row, COL_ERROR_MESSAGE);
	write_text(out, ",\"param\":", row, COL_ERROR_PARAM);
	buf_str(out, "}");
}

/* Only a job that has succeeded has files. */
static int write_files(struct buf *out, struct store *store, sqlite3_stmt *row, struct err *err)
{
	buf_str(out, ",\"result_files\":");
	if (sqlite3_column_type(row, COL_MODEL) != SQLITE_NULL)
		return store_file_ids_of_job(out, store, (const char *)sqlite3_column_text(row, COL_ID), err);
	buf_str(out, "[]");
	return 0;
}

/* The members that OpenAI's objects have, and the object's begin. */
static int write_head(struct buf *out, struct store *store, sqlite3_stmt *row, struct err *err)
{
	int rc;

	write_text(out, "{\"id\":", row, COL_ID);
	write_integer(out, ",\"object\":\"fine_tuning.job\",\"created_at\":", row, COL_CREATED);
	write_integer(out, ",\"finished_at\":", row, COL_FINISHED);
	write_text(out, ",\"fine_tuned_model\":", row, COL_MODEL);
	write_text(out, ",\"organization_id\":\"org-obliviate\",\"status\":", row, COL_STATUS);
	rc = write_files(out, store, row, err);
	write_integer(out, ",\"trained_tokens\":", row, COL_TOKENS);
	write_integer(out, ",\"estimated_finish\":", row, COL_ESTIMATE);
	write_error(out, row);
	buf_str(out, ",\"integrations\":[],");
	return rc;
}

/* The same of a scan. */
static void write_scan_head(struct buf *out, sqlite3_stmt *row)
{
	write_text(out, "{\"id\":", row, COL_ID);
	write_integer(out, ",\"object\":\"scan\",\"created_at\":", row, COL_CREATED);
	write_integer(out, ",\"finished_at\":", row, COL_FINISHED);
	write_text(out, ",\"status\":", row, COL_STATUS);
	write_integer(out, ",\"estimated_finish\":", row, COL_ESTIMATE);
	write_error(out, row);
	buf_str(out, ",");
}

/* Rows of older versions have none. */
static int make_view(struct buf *out, sqlite3_stmt *row, struct err *err)
{
	struct spec spec = {0};
	int rc = store_job_spec(&spec, row, COL_SPEC, err);

	if (rc == 0)
		rc = job_view(out, &spec, err);
	spec_done(&spec);
	return rc;
}

/* The rest of the object: the view without its opening brace. */
static int write_view(struct buf *out, sqlite3_stmt *row, struct err *err)
{
	const char *text = (const char *)sqlite3_column_text(row, COL_VIEW);
	struct buf view = {0};
	int rc = 0;

	if (text != NULL) {
		buf_add(out, text + 1, (size_t)sqlite3_column_bytes(row, COL_VIEW) - 1);
		return 0;
	}
	rc = make_view(&view, row, err);
	if (rc == 0)
		buf_add(out, view.data + 1, view.len - 1);
	buf_done(&view);
	return rc;
}

static int write_job(struct buf *out, struct store *store, sqlite3_stmt *row, struct err *err)
{
	int rc = 0;

	if (sqlite3_column_int(row, COL_IS_SCAN) != 0)
		write_scan_head(out, row);
	else
		rc = write_head(out, store, row, err);
	if (rc == 0)
		rc = write_view(out, row, err);
	return rc == 0 && out->failed ? err_nomem(err) : rc;
}

int store_job_text(struct buf *out, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_TEXT, err, "s", id);

	if (rc == 0)
		return store_job_missing(id, err);
	if (rc != STORE_ROW)
		return rc;
	rc = write_job(out, store, row, err);
	sqlite3_reset(row);
	return rc;
}

/* ---- lists ---- */

static int append_jobs(struct rows *rows, struct store *store, sqlite3_stmt *row, int limit, struct err *err)
{
	int rc;

	while ((rc = store_next(row, err)) == STORE_ROW) {
		rows->has_more = limit-- == 0;
		if (rows->has_more)
			return 0;
		rc = write_job(
			rows_next(rows, (const char *)sqlite3_column_text(row, COL_ID)), store, row, err);
		if (rc != 0)
			return rc;
	}
	return rc;
}

/* How many jobs have the pair; beyond `many` it is only known that they are many. */
static int count_pair(int64_t *out, struct store *store, const char *key, const char *value, struct err *err)
{
	static const int64_t many = 1000;
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_JOB_METADATA_COUNT, err, "ssi", key, value, many);

	if (rc != STORE_ROW)
		return rc;
	*out = sqlite3_column_int64(row, 0);
	sqlite3_reset(row);
	return 0;
}

/* The pair that the fewest jobs have: the index leads to these, and the others are looked up for each of them. */
static int choose_pair(
	const char **key, const char **value, struct store *store, const json_t *metadata, struct err *err)
{
	json_t *pairs = (json_t *)(uintptr_t)metadata, *text;
	int64_t fewest = INT64_MAX, n = 0;
	const char *name;
	int rc = 0;

	json_object_foreach(pairs, name, text)
	{
		if (rc == 0)
			rc = count_pair(&n, store, name, json_string_value(text), err);
		if (rc != 0 || n >= fewest)
			continue;
		fewest = n;
		*key = name;
		*value = json_string_value(text);
	}
	return rc;
}

static int query_with(sqlite3_stmt **out, struct store *store, const struct page *page, int64_t start,
	const json_t *metadata, struct err *err)
{
	const json_t *all = json_object_size(metadata) > 1 ? metadata : NULL;
	const char *key = "", *value = "";
	int rc = choose_pair(&key, &value, store, metadata, err);

	if (rc != 0)
		return rc;
	return store_query(out, store, page->is_ascending ? SQL_JOB_OLDEST_WITH : SQL_JOB_NEWEST_WITH, err,
		"iissj", start, (int64_t)page->limit + 1, key, value, all);
}

int store_scan_list(struct rows *rows, struct store *store, const struct page *page, struct err *err)
{
	sqlite3_stmt *row;
	int64_t start = 0;
	int rc = store_page_start(&start, store, SQL_JOB_FIND, 0, page, err);

	rows->has_more = false;
	if (rc == 0)
		rc = store_query(&row, store, page->is_ascending ? SQL_SCAN_OLDEST : SQL_SCAN_NEWEST, err,
			"ii", start, (int64_t)page->limit + 1);
	if (rc != 0)
		return rc;
	rc = append_jobs(rows, store, row, page->limit, err);
	sqlite3_reset(row);
	return rc;
}

int store_job_list(struct rows *rows, struct store *store, const struct page *page, const json_t *metadata,
	struct err *err)
{
	sqlite3_stmt *row;
	int64_t start = 0;
	int rc = store_page_start(&start, store, SQL_JOB_FIND, 0, page, err);

	rows->has_more = false;
	if (rc != 0)
		return rc;
	if (json_object_size(metadata) > 0)
		rc = query_with(&row, store, page, start, metadata, err);
	else
		rc = store_query(&row, store, page->is_ascending ? SQL_JOB_OLDEST : SQL_JOB_NEWEST, err, "ii",
			start, (int64_t)page->limit + 1);
	if (rc != 0)
		return rc;
	rc = append_jobs(rows, store, row, page->limit, err);
	sqlite3_reset(row);
	return rc;
}
