#include "server/api_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>

#include "common/io.h"
#include "common/log.h"
#include "server/id.h"
#include "server/list.h"
#include "server/staging.h"
#include "server/store.h"

enum { FILES_LIST_MAX = 10000, FILES_A_TIME = 100, FIELD_MAX = 64, FILENAME_MAX_BYTES = 255 };

/* ---- names ---- */

static const struct {
	const char *extension;
	const char *content_type;
	bool is_data;
} kinds[] = {
	{".jsonl", "application/jsonl", true},
	{".csv", "text/csv; charset=utf-8", true},
	{".tsv", "text/tab-separated-values; charset=utf-8", true},
	{".json", "application/json", false},
	{".zip", "application/zip", false},
	{".txt", "text/plain; charset=utf-8", false},
	{".md", "text/markdown; charset=utf-8", false},
};

static int find_kind(const char *filename)
{
	const char *dot = strrchr(filename, '.');

	for (size_t i = 0; dot != NULL && i < NELEM(kinds); i++) {
		if (strcasecmp(dot, kinds[i].extension) == 0)
			return (int)i;
	}
	return -1;
}

bool file_is_data(const char *filename)
{
	int i = find_kind(filename);

	return i >= 0 && kinds[i].is_data;
}

const char *file_content_type(const char *filename)
{
	int i = find_kind(filename);

	return i >= 0 ? kinds[i].content_type : "application/octet-stream";
}

/* ---- upload ---- */

struct upload {
	struct server *server;
	struct staging staging;
	struct file_row row;
	char purpose[FIELD_MAX];
	size_t purpose_len;
	bool has_file, has_purpose;
	bool is_in_file; /* which of the two parts is coming in */
	bool is_kept;	 /* the row is there; else files/<id> goes again */
};

static void upload_free(void *object)
{
	struct upload *upload = object;

	if (upload->row.id[0] != '\0' && !upload->is_kept)
		unlinkat(upload->server->dir.files, upload->row.id, 0);
	staging_done(&upload->staging);
	free(upload);
}

static int upload_begin(struct request *req, struct err *err)
{
	struct upload *upload = calloc(1, sizeof(*upload));

	if (upload == NULL)
		return err_nomem(err);
	upload->server = request_server(req);
	request_own_blocking(req, upload, upload_free);
	return 0;
}

/* The last part of what the client calls the file: it names the object, never a path. */
static int take_filename(struct upload *upload, const char *filename, struct err *err)
{
	const char *base;

	if (filename == NULL)
		return err_set(err, ERR_INVALID_VALUE, "file", "must be a file, with a filename");
	base = strrchr(filename, '/');
	base = base == NULL ? filename : base + 1;
	if (base[0] == '\0' || strlen(base) > FILENAME_MAX_BYTES || !path_is_safe(base))
		return err_set(err, ERR_INVALID_VALUE, "file", "the filename must be 1 to %d printable bytes",
			FILENAME_MAX_BYTES);
	snprintf(upload->row.filename, sizeof(upload->row.filename), "%s", base);
	return 0;
}

/* fine-tune: what jobs read. user_data: parts of a model, to be linked into one. Asked as soon as both parts have begun. */
static int check_purpose(const struct upload *upload, struct err *err)
{
	bool is_fine_tune = strcmp(upload->purpose, "fine-tune") == 0;

	if (!is_fine_tune && strcmp(upload->purpose, "user_data") != 0)
		return err_set(err, ERR_INVALID_VALUE, "purpose", "'%s' is none of: fine-tune, user_data",
			upload->purpose);
	if (upload->has_file && is_fine_tune && !file_is_data(upload->row.filename))
		return err_set(err, ERR_MEDIA_TYPE, "file", "%s: a data set is .jsonl, .csv or .tsv",
			upload->row.filename);
	return 0;
}

static int begin_file(struct request *req, const char *filename, struct err *err)
{
	struct upload *upload = request_owned(req);
	struct server *server = upload->server;
	int rc = take_filename(upload, filename, err);

	if (rc != 0)
		return rc;
	upload->has_file = upload->is_in_file = true;
	if (upload->has_purpose) {
		rc = check_purpose(upload, err);
		if (rc != 0)
			return rc;
	}
	rc = staging_file(&upload->staging, &server->dir, (uint64_t)server->config->max_upload_bytes, err);
	if (rc == 0)
		request_write_to(req, upload->staging.fd);
	return rc;
}

static int upload_part(struct request *req, const struct upload_part *part, struct err *err)
{
	struct upload *upload = request_owned(req);
	bool is_file = strcmp(part->name, "file") == 0;

	if (!is_file && strcmp(part->name, "purpose") != 0)
		return err_set(err, ERR_UNKNOWN_FIELD, part->name, "Unknown parameter: '%s'", part->name);
	if (is_file ? upload->has_file : upload->has_purpose)
		return err_set(err, ERR_INVALID_VALUE, part->name, "is there twice");
	if (is_file)
		return begin_file(req, part->filename, err);
	upload->is_in_file = false;
	upload->has_purpose = true;
	return 0;
}

static int upload_data(struct request *req, const void *data, size_t len, struct err *err)
{
	struct upload *upload = request_owned(req);

	if (upload->is_in_file)
		return staging_grow(&upload->staging, len, err);
	if (len >= sizeof(upload->purpose) - upload->purpose_len)
		return err_set(err, ERR_INVALID_VALUE, "purpose", "is too long");
	memcpy(upload->purpose + upload->purpose_len, data, len);
	upload->purpose_len += len;
	return 0;
}

static int upload_end(struct request *req, const char *sha256, struct err *err)
{
	struct upload *upload = request_owned(req);

	if (!upload->is_in_file)
		return check_purpose(upload, err);
	snprintf(upload->row.sha256, sizeof(upload->row.sha256), "%s", sha256);
	staging_end(&upload->staging);
	return 0;
}

const struct upload_ops files_upload = {upload_begin, upload_part, upload_data, upload_end};

static int publish(void *arg, struct err *err)
{
	struct upload *upload = arg;
	int files = upload->server->dir.files;
	int rc = staging_sync(&upload->staging, err);

	if (rc == 0)
		rc = staging_move(&upload->staging, files, upload->row.id, err);
	if (rc == 0 && fsync(files) != 0)
		rc = err_errno(err, errno, "files", "fsync");
	return rc;
}

static void respond_row(struct request *req, const struct file_row *row)
{
	struct buf text = {0};

	file_write(&text, row);
	respond_text(req, 200, "application/json", &text);
}

static int published(struct request *req, void *arg, struct err *err)
{
	struct upload *upload = arg;
	int rc = store_file_add(upload->server->store, &upload->row, err);

	if (rc != 0)
		return rc;
	upload->is_kept = true;
	respond_row(req, &upload->row);
	return 0;
}

int files_create(struct request *req, struct err *err)
{
	struct upload *upload = request_owned(req);

	if (upload == NULL || !upload->has_file)
		return err_set(err, ERR_MISSING_FIELD, "file", "Missing required parameter: 'file'");
	if (!upload->has_purpose)
		return err_set(err, ERR_MISSING_FIELD, "purpose", "Missing required parameter: 'purpose'");
	if (check_purpose(upload, err) != 0)
		return -(int)err->code;
	id_new(upload->row.id, sizeof(upload->row.id), "file-");
	snprintf(upload->row.purpose, sizeof(upload->row.purpose), "%.31s", upload->purpose);
	upload->row.bytes = (int64_t)upload->staging.bytes;
	upload->row.created_at = time(NULL);
	request_work(req, publish, published, upload);
	return 0;
}

/* ---- the other verbs ---- */

/*
 * A list of files may have 10,000 objects, and nobody else is served while they are put together: so it goes out in parts
 * of FILES_A_TIME. What is added or deleted meanwhile may be missing or not, as between the pages of any list.
 */
struct listing {
	struct server *server;
	struct page page;    /* of the next part */
	const char *purpose; /* the request's; NULL: all */
	int left;	     /* objects that the client still wants */
	struct rows rows;
	struct buf pending; /* text on its way out */
	size_t used;
	bool is_over;
};

static void listing_free(void *object)
{
	struct listing *listing = object;

	rows_done(&listing->rows);
	buf_done(&listing->pending);
	free(listing);
}

static int read_part(struct listing *listing, struct err *err)
{
	size_t before = listing->rows.n;
	int rc;

	listing->page.limit = MIN(listing->left, FILES_A_TIME);
	listing->page.after_seq = listing->rows.last_seq;
	rc = store_file_list(&listing->rows, listing->server->store, &listing->page, listing->purpose, err);
	listing->left -= (int)(listing->rows.n - before);
	listing->is_over = !listing->rows.has_more || listing->left == 0;
	return rc;
}

/* Move what was read, and the end after the last part, to what goes out. */
static void show_part(struct listing *listing)
{
	if (listing->used > 0)
		buf_reset(&listing->pending);
	listing->used = 0;
	if (listing->rows.text.failed)
		listing->pending.failed = true;
	else
		buf_add(&listing->pending, listing->rows.text.data, listing->rows.text.len);
	buf_reset(&listing->rows.text);
	if (listing->is_over)
		rows_tail(&listing->pending, &listing->rows);
}

static ssize_t pull_listing(void *arg, char *out, size_t max)
{
	struct listing *listing = arg;
	struct err err;
	size_t n;

	if (listing->used == listing->pending.len) {
		if (listing->is_over)
			return PULL_END;
		if (read_part(listing, &err) != 0) {
			log_err(LOG_ERROR, "files", &err);
			return PULL_FAULT;
		}
		show_part(listing);
	}
	if (listing->pending.failed)
		return PULL_FAULT;
	n = MIN(max, listing->pending.len - listing->used);
	memcpy(out, listing->pending.data + listing->used, n);
	listing->used += n;
	return (ssize_t)n;
}

int files_list(struct request *req, struct err *err)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	int rc;

	if (listing == NULL)
		return err_nomem(err);
	request_own(req, listing, listing_free);
	listing->server = request_server(req);
	listing->purpose = request_query(req, "purpose");
	rc = page_parse(&listing->page, req, FILES_LIST_MAX, FILES_LIST_MAX, err);
	listing->left = listing->page.limit;
	if (rc == 0)
		rc = read_part(listing, err);
	if (rc != 0)
		return rc;
	if (listing->is_over) {
		respond_rows(req, &listing->rows);
		return 0;
	}
	rows_head(&listing->pending);
	show_part(listing);
	respond_pieces(req, "application/json", pull_listing, listing);
	return 0;
}

int files_get(struct request *req, struct err *err)
{
	struct file_row row;
	int rc = store_file_get(&row, request_server(req)->store, request_param(req), err);

	if (rc == 0)
		respond_row(req, &row);
	return rc;
}

struct removal {
	struct server *server;
	char id[STORE_ID_BYTES];
};

/* Not quick for a large file. */
static int unlink_file(void *arg, struct err *err)
{
	struct removal *removal = arg;

	return datadir_remove(removal->server->dir.files, removal->id, err);
}

static int unlinked(struct request *req, void *arg, struct err *err)
{
	struct removal *removal = arg;

	(void)err;
	respond_json(
		req, 200, json_pack("{s:s, s:s, s:b}", "id", removal->id, "object", "file", "deleted", 1));
	return 0;
}

int files_delete(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	struct removal *removal;
	int rc = store_file_delete(server->store, request_param(req), err);

	if (rc != 0)
		return rc;
	removal = calloc(1, sizeof(*removal));
	if (removal == NULL)
		return err_nomem(err); /* the row is gone; the bytes go at the next start */
	removal->server = server;
	snprintf(removal->id, sizeof(removal->id), "%.63s", request_param(req));
	request_own(req, removal, free);
	request_work(req, unlink_file, unlinked, removal);
	return 0;
}

int files_content(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	struct file_row row;
	struct file_answer file;
	int rc = store_file_get(&row, server->store, request_param(req), err);

	if (rc == 0)
		rc = io_open_file(&file.fd, &file.bytes, server->dir.files, row.id, err);
	if (rc != 0)
		return rc;
	file.sha256 = row.sha256;
	file.content_type = file_content_type(row.filename);
	file.filename = row.filename;
	respond_file(req, &file);
	return 0;
}

/* ---- start ---- */

static int sweep_one(void *arg, const char *name, struct err *err)
{
	struct server *server = arg;
	struct file_row row;
	int rc = store_file_get(&row, server->store, name, err);

	if (rc != -ERR_NOT_FOUND)
		return rc;
	log_write(LOG_WARN, "sweep", "file %s has no row: removed", name);
	return datadir_remove(server->dir.files, name, err);
}

int files_sweep(struct server *server, struct err *err)
{
	return datadir_each(server->dir.files, sweep_one, server, err);
}
