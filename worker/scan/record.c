#include "worker/scan/record.h"

#include <string.h>

#include "common/io.h"
#include "common/json.h"
#include "common/log.h"

enum { RECORD_BYTES_MAX = 4 << 20 };

int record_write(const char *name, json_t *content, const char *spec_sha256, int dirfd, struct err *err)
{
	struct buf text = {0};
	bool is_whole = json_object_set_new(content, "spec", json_string(spec_sha256)) == 0;
	int rc;

	if (is_whole)
		json_write(&text, content);
	rc = is_whole && !text.failed ? io_write_file(dirfd, name, text.data, text.len, err) : err_nomem(err);
	json_decref(content);
	buf_done(&text);
	return rc;
}

/* The file's own fault, which no second attempt mends, unlike a disk's or memory's. */
static bool is_broken(const struct err *err)
{
	return err->code == ERR_INVALID_JSON || err->code == ERR_TOO_LARGE;
}

void record_left_aside(const char *name)
{
	struct err fault = {0};

	err_set(&fault, ERR_INVALID_DATA, name, "is not what this job has left");
	log_err(LOG_WARN, "what was kept is left aside", &fault);
}

static bool is_of(const json_t *record, const char *spec_sha256)
{
	const char *spec = json_string_value(json_object_get(record, "spec"));

	return spec != NULL && strcmp(spec, spec_sha256) == 0;
}

int record_read(json_t **out, const char *name, const char *spec_sha256, int dirfd, struct err *err)
{
	struct buf text = {0};
	struct err fault = {0};
	int rc = io_read_file(&text, dirfd, name, RECORD_BYTES_MAX, &fault);

	*out = NULL;
	if (rc == 0)
		rc = json_parse(out, text.data != NULL ? text.data : "", text.len, name, &fault);
	buf_done(&text);
	if (rc == 0 && is_of(*out, spec_sha256))
		return 0;
	json_decref(*out);
	*out = NULL;
	if (fault.code == ERR_NOT_FOUND)
		return 0;
	if (rc == 0 || is_broken(&fault)) {
		record_left_aside(name);
		return 0;
	}
	if (err != NULL)
		*err = fault;
	return rc;
}
