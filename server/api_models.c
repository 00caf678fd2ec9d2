#include "server/api_models.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "server/list.h"
#include "server/staging.h"
#include "server/store.h"

enum { MODEL_FILES_MAX = 1000, MODEL_ID_DIGITS = 24, MODELS_LIST_MAX = 100, MODELS_LIST_DEFAULT = 20 };

/* A model on its way in: by parts, or by links to files. */
struct upload {
	struct server *server;
	struct staging staging;
	struct model_row row;
	struct model_file *files;
	size_t n_files, cap;
};

static void upload_free(void *object)
{
	struct upload *upload = object;

	staging_done(&upload->staging);
	free(upload->files);
	free(upload);
}

static int upload_begin(struct request *req, struct err *err)
{
	struct upload *upload = calloc(1, sizeof(*upload));
	struct server *server = request_server(req);

	if (upload == NULL)
		return err_nomem(err);
	upload->server = server;
	request_own_blocking(req, upload, upload_free);
	return staging_tree(&upload->staging, &server->dir, (uint64_t)server->config->max_upload_bytes, err);
}

/* Room for one more file, its path set; *out is valid until the next call. */
static int add_file(struct model_file **out, struct upload *upload, const char *path, struct err *err)
{
	if (upload->n_files == MODEL_FILES_MAX)
		return err_set(err, ERR_TOO_LARGE, "files", "more than %d files", MODEL_FILES_MAX);
	if (!path_is_safe(path))
		return err_set(err, ERR_INVALID_VALUE, "files",
			"'%s' is no relative path without '..', '.', empty parts, backslashes or control "
			"bytes",
			path);
	if (upload->n_files == upload->cap) {
		size_t cap = upload->cap == 0 ? 16 : 2 * upload->cap;
		struct model_file *files = realloc(upload->files, cap * sizeof(*files));

		if (files == NULL)
			return err_nomem(err);
		upload->files = files;
		upload->cap = cap;
	}
	*out = &upload->files[upload->n_files++];
	**out = (struct model_file){0};
	snprintf((*out)->path, sizeof((*out)->path), "%s", path);
	return 0;
}

static int upload_part(struct request *req, const struct upload_part *part, struct err *err)
{
	struct upload *upload = request_owned(req);
	struct model_file *file;
	int rc;

	if (strcmp(part->name, "files") != 0)
		return err_set(err, ERR_UNKNOWN_FIELD, part->name, "Unknown parameter: '%s'", part->name);
	if (part->filename == NULL)
		return err_set(
			err, ERR_INVALID_VALUE, "files", "must be files, each with its path as filename");
	rc = add_file(&file, upload, part->filename, err);
	if (rc == 0)
		rc = staging_add(&upload->staging, part->filename, err);
	if (rc == 0)
		request_write_to(req, upload->staging.fd);
	return rc;
}

static int upload_data(struct request *req, const void *data, size_t len, struct err *err)
{
	struct upload *upload = request_owned(req);

	(void)data;
	upload->files[upload->n_files - 1].bytes += (int64_t)len;
	return staging_grow(&upload->staging, len, err);
}

static int upload_end(struct request *req, const char *sha256, struct err *err)
{
	struct upload *upload = request_owned(req);
	struct model_file *file = &upload->files[upload->n_files - 1];

	(void)err;
	snprintf(file->sha256, sizeof(file->sha256), "%s", sha256);
	staging_end(&upload->staging);
	return 0;
}

const struct upload_ops models_upload = {upload_begin, upload_part, upload_data, upload_end};

/* ---- from files that are here already ---- */

static int link_file(struct upload *upload, const char *path, const json_t *id, struct err *err)
{
	struct model_file *file;
	struct file_row row;
	int rc = add_file(&file, upload, path, err);

	if (rc != 0)
		return rc;
	if (!json_is_string(id))
		return err_set(err, ERR_INVALID_VALUE, "files", "'%s' must be a file id", path);
	rc = store_file_get(&row, upload->server->store, json_string_value(id), err);
	if (rc == -ERR_NOT_FOUND)
		return err_set(err, ERR_INVALID_VALUE, "files", "'%s': no such file: '%s'", path,
			json_string_value(id));
	if (rc != 0)
		return rc;
	memcpy(file->sha256, row.sha256, sizeof(file->sha256));
	file->bytes = row.bytes;
	return staging_link(&upload->staging, path, row.id, (uint64_t)row.bytes, err);
}

static int link_files(struct request *req, const json_t *body, struct err *err)
{
	json_t *files = json_object_get(body, "files"), *value;
	const char *key;
	int rc;

	if (!json_is_object(body))
		return err_set(err, ERR_INVALID_VALUE, NULL, "the body must be an object");
	json_object_foreach((json_t *)(uintptr_t)body, key, value)
	{
		if (strcmp(key, "files") != 0)
			return err_set(err, ERR_UNKNOWN_FIELD, key, "Unknown parameter: '%s'", key);
	}
	if (files == NULL)
		return err_set(err, ERR_MISSING_FIELD, "files", "Missing required parameter: 'files'");
	if (!json_is_object(files))
		return err_set(err, ERR_INVALID_VALUE, "files", "must be an object: path to file id");
	rc = upload_begin(req, err);
	json_object_foreach(files, key, value)
	{
		if (rc == 0)
			rc = link_file(request_owned(req), key, value, err);
	}
	return rc;
}

/* ---- identity ---- */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct model_file *)a)->path, ((const struct model_file *)b)->path);
}

static int identify(struct upload *upload, struct err *err)
{
	struct model_row *row = &upload->row;
	struct sha256 sha;
	int rc = sha256_init(&sha, err);

	if (rc != 0)
		return rc;
	qsort(upload->files, upload->n_files, sizeof(*upload->files), by_path);
	for (size_t i = 0; i < upload->n_files; i++) {
		const struct model_file *file = &upload->files[i];
		char line[STORE_NAME_BYTES + SHA256_HEX_BYTES + 32];
		int n = snprintf(line, sizeof(line), "%s  %lld  %s\n", file->sha256, (long long)file->bytes,
			file->path);

		sha256_add(&sha, line, (size_t)n);
		row->bytes += file->bytes;
	}
	sha256_hex(&sha, row->sha256);
	snprintf(row->id, sizeof(row->id), "model-%.*s", MODEL_ID_DIGITS, row->sha256);
	row->created_at = time(NULL);
	row->files = upload->files;
	row->n_files = upload->n_files;
	return 0;
}

/* ---- publication: sync, rename, sync of the directory, row ---- */

static int respond_model(struct request *req, const char *id, struct err *err)
{
	json_t *object = NULL;
	int rc = store_model_object(&object, request_server(req)->store, id, err);

	if (rc == 0)
		respond_json(req, 200, object);
	return rc;
}

static int sync_upload(void *arg, struct err *err)
{
	struct upload *upload = arg;

	return staging_sync(&upload->staging, err);
}

static int sync_models(void *arg, struct err *err)
{
	struct upload *upload = arg;

	if (fsync(upload->server->dir.models) != 0)
		return err_errno(err, errno, "models", "fsync");
	return 0;
}

/* The same bytes may have come in by another request while this one slept. */
static int is_here(bool *out, struct upload *upload, struct err *err)
{
	struct model_row row;
	int rc = store_model_get(&row, upload->server->store, upload->row.id, err);

	*out = rc == 0;
	return rc == -ERR_NOT_FOUND ? 0 : rc;
}

static int models_synced(struct request *req, void *arg, struct err *err)
{
	struct upload *upload = arg;
	bool here = false;
	int rc = is_here(&here, upload, err);

	if (rc == 0 && !here)
		rc = store_model_add(upload->server->store, &upload->row, err);
	return rc == 0 ? respond_model(req, upload->row.id, err) : rc;
}

static int upload_synced(struct request *req, void *arg, struct err *err)
{
	struct upload *upload = arg;
	bool here = false;
	int rc = is_here(&here, upload, err);

	if (rc == 0 && here)
		return respond_model(req, upload->row.id, err);
	if (rc == 0)
		rc = staging_move(&upload->staging, upload->server->dir.models, upload->row.id, err);
	if (rc != 0 &&
		rc != -ERR_IN_USE) /* a directory without a row yet has the same bytes: its name is their digest */
		return rc;
	request_work(req, sync_models, models_synced, upload);
	return 0;
}

int models_create(struct request *req, struct err *err)
{
	struct upload *upload;
	bool here = false;
	int rc = 0;

	if (request_json(req) != NULL)
		rc = link_files(req, request_json(req), err);
	if (rc != 0)
		return rc;
	upload = request_owned(req);
	if (upload == NULL || upload->n_files == 0)
		return err_set(err, ERR_MISSING_FIELD, "files", "Missing required parameter: 'files'");
	rc = identify(upload, err);
	if (rc == 0)
		rc = is_here(&here, upload, err);
	if (rc != 0)
		return rc;
	if (here)
		return respond_model(req, upload->row.id, err);
	request_work(req, sync_upload, upload_synced, upload);
	return 0;
}

/* ---- the other verbs ---- */

int models_list(struct request *req, struct err *err)
{
	struct page page;
	bool has_more = false;
	json_t *data;
	int rc = page_parse(&page, req, MODELS_LIST_MAX, MODELS_LIST_DEFAULT, err);

	if (rc != 0)
		return rc;
	data = json_array();
	rc = store_model_list(data, &has_more, request_server(req)->store, &page, err);
	if (rc != 0) {
		json_decref(data);
		return rc;
	}
	respond_list(req, data, has_more);
	return 0;
}

int models_get(struct request *req, struct err *err)
{
	return respond_model(req, request_param(req), err);
}

struct removal {
	struct staging staging;
	char id[STORE_NAME_BYTES];
};

static void removal_free(void *object)
{
	struct removal *removal = object;

	staging_done(&removal->staging);
	free(removal);
}

static int remove_tree(void *arg, struct err *err)
{
	struct removal *removal = arg;

	(void)err;
	staging_done(&removal->staging);
	return 0;
}

static int removed(struct request *req, void *arg, struct err *err)
{
	struct removal *removal = arg;

	(void)err;
	respond_json(
		req, 200, json_pack("{s:s, s:s, s:b}", "id", removal->id, "object", "model", "deleted", 1));
	return 0;
}

int models_delete(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	struct removal *removal = calloc(1, sizeof(*removal));
	int rc;

	if (removal == NULL)
		return err_nomem(err);
	request_own_blocking(req, removal, removal_free);
	rc = store_model_delete(server->store, request_param(req), err);
	if (rc != 0)
		return rc;
	snprintf(removal->id, sizeof(removal->id), "%.511s", request_param(req));
	/* Away at once, so that the same bytes may come again while these are being removed. */
	if (path_is_safe(removal->id))
		rc = staging_take(&removal->staging, &server->dir, server->dir.models, removal->id, err);
	if (rc != 0)
		return rc;
	request_work(req, remove_tree, removed, removal);
	return 0;
}

/* ---- start ---- */

static int sweep_one(void *arg, const char *name, struct err *err)
{
	struct server *server = arg;
	struct model_row row;
	int rc = store_model_get(&row, server->store, name, err);

	if (rc != -ERR_NOT_FOUND)
		return rc;
	log_write(LOG_WARN, "sweep", "model %s has no row: removed", name);
	return datadir_remove(server->dir.models, name, err);
}

int models_sweep(struct server *server, struct err *err)
{
	return datadir_each(server->dir.models, sweep_one, server, err);
}
