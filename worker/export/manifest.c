#include "worker/export/manifest.h"

#include <stdio.h>

#include "worker/export/json_file.h"

int manifest_add(struct manifest *manifest, int dirfd, const char *name, struct err *err)
{
	struct manifest_file *file = &manifest->file[manifest->n];
	int rc;

	if (manifest->n == MANIFEST_FILES_MAX)
		return err_set(err, ERR_INTERNAL, name, "more files than a manifest holds");
	snprintf(file->path, sizeof(file->path), "%s", name);
	rc = sha256_of_file(file->sha256, &file->bytes, dirfd, name, err);
	if (rc == 0)
		manifest->n++;
	return rc;
}

static json_t *digest(const char *sha256)
{
	return sha256 != NULL ? json_string(sha256) : json_null();
}

static json_t *inputs_json(const struct report *report)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "model", digest(report->model.sha256),
		"training_file", digest(report->training_file.sha256), "validation_file",
		digest(report->validation_file.sha256), "test_file", digest(report->test_file.sha256),
		"init_from", digest(report->init_from_sha256), "spec", digest(report->spec_sha256));
}

static json_t *outputs_json(const struct manifest *manifest)
{
	json_t *out = json_array();

	for (int i = 0; i < manifest->n; i++) {
		const struct manifest_file *file = &manifest->file[i];
		json_t *entry = json_pack("{s:s, s:I, s:s}", "path", file->path, "bytes",
			(json_int_t)file->bytes, "sha256", file->sha256);

		if (json_array_append_new(out, entry) != 0) {
			json_decref(out);
			return NULL;
		}
	}
	return out;
}

int manifest_write(struct manifest *manifest, int dirfd, const struct report *report, struct err *err)
{
	json_t *object =
		json_pack("{s:o, s:o}", "inputs", inputs_json(report), "outputs", outputs_json(manifest));
	int rc = json_file_write(dirfd, "manifest.json", object, err);

	return rc == 0 ? manifest_add(manifest, dirfd, "manifest.json", err) : rc;
}
