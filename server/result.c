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

/* The directories in out/ that become archives. */
static const struct {
	const char *prefix, *name;
	bool is_required;
} archives[RESULT_ARCHIVES] = {
	[RESULT_ADAPTER] = {"adapter/", "adapter.zip", true},
	[RESULT_MERGED] = {"merged/", "merged.zip", false},
};

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

static bool is_below(const struct artifact *artifact, const char *prefix)
{
	return strncmp(artifact->path, prefix, strlen(prefix)) == 0;
}

static int require(const struct result *result, const char *path, struct err *err)
{
	if (is_said(result, path))
		return 0;
	return err_set(err, ERR_INTERNAL, path, "the worker ended without this artifact");
}

/* Of a scan only the first. */
static int check_required(const struct result *result, struct err *err)
{
	static const char *const required[] = {"report.json", "metrics.csv", "adapter/adapter_config.json"};
	size_t n = result->job->spec.type == SPEC_SCAN ? 1 : NELEM(required);
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = require(result, required[i], err);
	return rc;
}

static int check_said(const struct result *result, int outfd, struct err *err)
{
	int rc = check_required(result, err);

	if (rc == 0 && result->job->spec.export_merged)
		rc = require(result, "merged/config.json", err);
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

/* --- archives --------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct zip_entry *)a)->name, ((const struct zip_entry *)b)->name);
}

/* The announced files below the prefix, sorted; entries has room for all that were announced. */
static size_t list_entries(struct zip_entry *entries, const struct result *result, const char *prefix)
{
	size_t n = 0;

	for (size_t i = 0; i < result->n_said; i++)
		if (is_below(&result->said[i], prefix))
			entries[n++] = (struct zip_entry){
				result->said[i].path + strlen(prefix), result->said[i].path};
	qsort(entries, n, sizeof(*entries), by_name);
	return n;
}

static int measure_zip(struct artifact *zip, int dirfd, const char *name, struct err *err)
{
	size_t bytes = 0;
	int rc = sha256_of_file(zip->sha256, &bytes, dirfd, name, err);

	zip->bytes = (int64_t)bytes;
	snprintf(zip->path, sizeof(zip->path), "%s", name);
	return rc;
}

static int write_zip(struct result *result, int outfd, int which, struct err *err)
{
	struct zip_entry *entries = calloc(result->n_said, sizeof(*entries));
	const char *name = archives[which].name;
	size_t n;
	int rc = 0;

	if (entries == NULL)
		return err_nomem(err);
	n = list_entries(entries, result, archives[which].prefix);
	if (n > 0 || archives[which].is_required) {
		rc = zip_write(result->dirfd, name, outfd, entries, n, err);
		if (rc == 0)
			rc = measure_zip(&result->zip[which], result->dirfd, name, err);
	}
	free(entries);
	return rc;
}

static int write_zips(struct result *result, int outfd, struct err *err)
{
	int rc = 0;

	for (int which = 0; which < RESULT_ARCHIVES && rc == 0; which++)
		rc = write_zip(result, outfd, which, err);
	return rc;
}

/* --- what a later job may start from ------------------------------------------------------------------ */

/* The adapter's parts by the names that jobdir links them by; of the tensors, the one that is there. */
static const struct {
	const char *path, *name;
} kept[] = {
	{"adapter/adapter_config.json", "adapter.json"},
	{"adapter/adapter_model.safetensors", "adapter.safetensors"},
	{"adapter/adapter.safetensors", "adapter.safetensors"},
};

/* On disk for good with the archives, whose directory is synced after this. */
static int keep_adapter(const struct result *result, int outfd, struct err *err)
{
	for (size_t i = 0; i < NELEM(kept); i++) {
		if (!is_said(result, kept[i].path))
			continue;
		(void)unlinkat(result->dirfd, kept[i].name, 0); /* of an attempt that was undone */
		if (linkat(outfd, kept[i].path, result->dirfd, kept[i].name, 0) != 0)
			return err_errno(err, errno, kept[i].path, "keep the adapter");
	}
	return 0;
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
	for (int which = 0; which < RESULT_ARCHIVES; which++)
		if (result->zip[which].path[0] != '\0')
			json_array_append_new(list, artifact_json(&result->zip[which]));
	return list;
}

static int make_scan_report(struct result *result, int outfd, struct err *err)
{
	json_t *worker = NULL;
	int rc = read_report(&worker, outfd, err);

	if (rc != 0)
		return rc;
	rc = report_compose_scan(&result->report, result->job, JOB_SUCCEEDED, worker, err);
	json_decref(worker);
	return rc;
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

/* A scan leaves a report and nothing else. */
static int make_scan(struct result *result, int outfd, struct err *err)
{
	int rc = check_said(result, outfd, err);

	if (rc == 0)
		rc = make_scan_report(result, outfd, err);
	return rc == 0 ? write_report(result, err) : rc;
}

static int make_job(struct result *result, int outfd, struct err *err)
{
	int rc = check_said(result, outfd, err);

	if (rc == 0)
		rc = keep_adapter(result, outfd, err);
	if (rc == 0)
		rc = write_zips(result, outfd, err);
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
	rc = result->job->spec.type == SPEC_SCAN ? make_scan(result, outfd, err)
						 : make_job(result, outfd, err);
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
