#include "server/result.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "server/id.h"
#include "server/report.h"
#include "server/zip.h"

enum { REPORT_BYTES_MAX = 16 << 20 };

static const char *const result_names[RESULT_FILES] = {"metrics.csv", "report.json", "adapter.zip"};
static const char adapter_prefix[] = "adapter/";

/* --- the worker's word ------------------------------------------------------------------------------ */

/* The directories on the way must be directories: a link would lead out of out/. */
static int check_parents(int outfd, const char *path, struct err *err)
{
	char parent[STORE_NAME_BYTES + 1];
	struct stat st;

	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		if (fstatat(outfd, parent, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
			return err_set(
				err, ERR_INTERNAL, path, "the worker's artifact is not in a directory");
	}
	return 0;
}

static int check_artifact(int outfd, const struct artifact *said, struct err *err)
{
	char sha256[SHA256_HEX_BYTES];
	size_t bytes;
	int rc = check_parents(outfd, said->path, err);

	if (rc == 0)
		rc = sha256_of_file(sha256, &bytes, outfd, said->path, err);
	if (rc == -ERR_NOT_FOUND)
		return err_set(
			err, ERR_INTERNAL, said->path, "the worker announced a file that it did not write");
	if (rc == 0 && ((int64_t)bytes != said->bytes || strcmp(sha256, said->sha256) != 0))
		return err_set(err, ERR_INTERNAL, said->path,
			"the worker's artifact has another size or SHA-256 than it said");
	return rc;
}

static bool is_said(const struct result *result, const char *path)
{
	for (size_t i = 0; i < result->n_said; i++)
		if (strcmp(result->said[i].path, path) == 0)
			return true;
	return false;
}

static bool is_of_adapter(const struct artifact *artifact)
{
	return strncmp(artifact->path, adapter_prefix, sizeof(adapter_prefix) - 1) == 0;
}

static int check_said(const struct result *result, int outfd, struct err *err)
{
	static const char *const required[] = {"report.json", "metrics.csv", "adapter/adapter_config.json"};
	int rc = 0;

	for (size_t i = 0; i < NELEM(required); i++)
		if (!is_said(result, required[i]))
			return err_set(
				err, ERR_INTERNAL, required[i], "the worker ended without this artifact");
	for (size_t i = 0; rc == 0 && i < result->n_said; i++)
		rc = check_artifact(outfd, &result->said[i], err);
	return rc;
}

static int read_report(json_t **out, int outfd, struct err *err)
{
	struct buf text = {0};
	int rc = io_read_file(&text, outfd, "report.json", REPORT_BYTES_MAX, err);

	if (rc == 0 && json_parse(out, text.data, text.len, "report.json", err) != 0)
		rc = err_set(err, ERR_INTERNAL, "report.json", "the worker's report is no valid JSON");
	buf_done(&text);
	if (rc == 0 && !json_is_object(*out)) {
		json_decref(*out);
		rc = err_set(err, ERR_INTERNAL, "report.json", "the worker's report is no JSON object");
	}
	return rc;
}

/* --- adapter.zip ------------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

static int write_zip(struct result *result, int outfd, struct err *err)
{
	struct zip_entry *entries = calloc(result->n_said, sizeof(*entries));
	size_t n = 0, bytes = 0;
	int rc;

	if (entries == NULL)
		return err_nomem(err);
	for (size_t i = 0; i < result->n_said; i++)
		if (is_of_adapter(&result->said[i]))
			entries[n++] = (struct zip_entry){
				result->said[i].path + sizeof(adapter_prefix) - 1, result->said[i].path};
	qsort(entries, n, sizeof(*entries), by_name);
	rc = zip_write(result->dirfd, "adapter.zip", outfd, entries, n, err);
	free(entries);
	if (rc == 0)
		rc = sha256_of_file(result->zip.sha256, &bytes, result->dirfd, "adapter.zip", err);
	result->zip.bytes = (int64_t)bytes;
	snprintf(result->zip.path, sizeof(result->zip.path), "adapter.zip");
	return rc;
}

/* --- report and files ------------------------------------------------------------------------------- */

static json_t *artifact_json(const struct artifact *artifact)
{
	return json_pack("{s:s, s:I, s:s}", "path", artifact->path, "bytes", (json_int_t)artifact->bytes,
		"sha256", artifact->sha256);
}

/* All but the worker's report.json, which is not what a client gets to see. */
static json_t *artifacts_json(const struct result *result)
{
	json_t *list = json_array();

	for (size_t i = 0; i < result->n_said; i++)
		if (strcmp(result->said[i].path, "report.json") != 0)
			json_array_append_new(list, artifact_json(&result->said[i]));
	json_array_append_new(list, artifact_json(&result->zip));
	return list;
}

static int make_report(struct result *result, int outfd, struct err *err)
{
	json_t *worker = NULL, *artifacts, *tokens;
	int rc = read_report(&worker, outfd, err);

	if (rc != 0)
		return rc;
	artifacts = artifacts_json(result);
	rc = report_compose(&result->report, result->job, JOB_SUCCEEDED, worker, NULL, artifacts, err);
	tokens = json_object_get(json_object_get(worker, "training"), "tokens");
	result->trained_tokens = json_integer_value(tokens);
	json_decref(artifacts);
	json_decref(worker);
	return rc;
}

static int write_report(struct result *result, struct err *err)
{
	struct buf text = {0};
	int rc;

	json_write_pretty(&text, result->report);
	rc = text.failed ? err_nomem(err)
			 : io_write_file(result->dirfd, "report.json", text.data, text.len, err);
	buf_done(&text);
	return rc;
}

/* Give sourcefd/name a second name in files/, on disk for good. */
static int link_file(
	struct file_row *row, int sourcefd, const char *name, const struct result *result, struct err *err)
{
	size_t bytes;
	int fd, rc = io_open_file(&fd, &bytes, sourcefd, name, err);

	if (rc != 0)
		return rc;
	id_new(row->id, sizeof(row->id), "file-");
	snprintf(row->filename, sizeof(row->filename), "%s", name);
	snprintf(row->purpose, sizeof(row->purpose), "fine-tune-results");
	snprintf(row->job_id, sizeof(row->job_id), "%s", result->job->id);
	if (fsync(fd) != 0 || linkat(sourcefd, name, result->filesfd, row->id, 0) != 0)
		rc = err_errno(err, errno, name, "keep as a result file");
	close(fd);
	if (rc == 0)
		rc = sha256_of_file(row->sha256, &bytes, result->filesfd, row->id, err);
	row->bytes = (int64_t)bytes;
	return rc;
}

static int link_files(struct result *result, int outfd, struct err *err)
{
	int sources[RESULT_FILES] = {outfd, result->dirfd, result->dirfd}, rc = 0;

	for (size_t i = 0; rc == 0 && i < RESULT_FILES; i++)
		rc = link_file(&result->files[i], sources[i], result_names[i], result, err);
	if (rc == 0 && fsync(result->filesfd) != 0)
		rc = err_errno(err, errno, "files", "fsync");
	return rc;
}

static int make_within(struct result *result, int outfd, struct err *err)
{
	int rc = check_said(result, outfd, err);

	if (rc == 0)
		rc = write_zip(result, outfd, err);
	if (rc == 0)
		rc = make_report(result, outfd, err);
	if (rc == 0)
		rc = write_report(result, err);
	if (rc == 0)
		rc = link_files(result, outfd, err);
	if (rc != 0)
		result_undo(result);
	return rc;
}

int result_make(struct result *result, struct err *err)
{
	int outfd = openat(result->dirfd, "out", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), rc;

	if (outfd < 0)
		return err_errno(err, errno, "out", "open");
	rc = make_within(result, outfd, err);
	close(outfd);
	return rc;
}

void result_undo(struct result *result)
{
	for (size_t i = 0; i < RESULT_FILES; i++)
		if (result->files[i].id[0] != '\0')
			unlinkat(result->filesfd, result->files[i].id, 0);
}

void result_done(struct result *result)
{
	json_decref(result->report);
	memset(result, 0, sizeof(*result));
}
