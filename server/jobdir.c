#include "server/jobdir.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "server/store_job.h"

int jobdir_open(int *out, const struct server *server, const char *job_id, bool make, struct err *err)
{
	if (make && mkdirat(server->dir.jobs, job_id, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, job_id, "make the job's directory");
	*out = openat(server->dir.jobs, job_id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return *out < 0 ? err_errno(err, errno, job_id, "open the job's directory") : 0;
}

/* --- filling ---------------------------------------------------------------------------------------- */

static int make_subdir(int dirfd, const char *name, struct err *err)
{
	if (mkdirat(dirfd, name, 0700) != 0 && errno != EEXIST)
		return err_errno(err, errno, name, "make a directory");
	return 0;
}

/* The upload under its role and its own extension, in lower case. */
static int link_data(
	const struct server *server, int dirfd, const char *role, const struct spec_ref *ref, struct err *err)
{
	const char *dot = strrchr(ref->name, '.');
	char name[64];

	if (ref->id[0] == '\0')
		return 0;
	snprintf(name, sizeof(name), "data/%s%.16s", role, dot != NULL ? dot : "");
	for (char *c = name; *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	if (linkat(server->dir.files, ref->id, dirfd, name, 0) != 0)
		return err_errno(err, errno, ref->id, "link the data file");
	return 0;
}

/* --- the adapter to start from -------------------------------------------------------------------------- */

static const struct {
	const char *kept, *linked;
} adapter_parts[] = {{"adapter.json", "data/init.json"}, {"adapter.safetensors", "data/init.safetensors"}};

static int link_adapter(const struct server *server, int dirfd, const struct spec_ref *ref, struct err *err)
{
	int from, rc;

	if (ref->id[0] == '\0')
		return 0;
	rc = jobdir_open(&from, server, ref->id, false, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < NELEM(adapter_parts) && rc == 0; i++)
		if (linkat(from, adapter_parts[i].kept, dirfd, adapter_parts[i].linked, 0) != 0)
			rc = err_errno(err, errno, ref->id, "link the adapter to start from");
	close(from);
	return rc;
}

bool jobdir_has_adapter(const struct server *server, const char *job_id)
{
	int dirfd;
	bool has = true;

	if (jobdir_open(&dirfd, server, job_id, false, NULL) != 0)
		return false;
	for (size_t i = 0; i < NELEM(adapter_parts); i++)
		has = has && faccessat(dirfd, adapter_parts[i].kept, R_OK, AT_SYMLINK_NOFOLLOW) == 0;
	close(dirfd);
	return has;
}

/* --- the whole ------------------------------------------------------------------------------------------ */

/* Written anew at each start, so it needs no fsync. */
static int write_spec(int dirfd, const struct spec *spec, struct err *err)
{
	struct buf text = {0};
	int fd = openat(dirfd, "spec.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = fd < 0 ? err_errno(err, errno, "spec.json", "create") : 0;

	if (rc == 0)
		rc = spec_write(&text, spec, SPEC_WORKER, err);
	if (rc == 0)
		rc = io_write_all(fd, text.data, text.len, err);
	if (fd >= 0)
		close(fd);
	buf_done(&text);
	return rc;
}

int jobdir_fill(const struct server *server, int dirfd, const struct spec *spec, struct err *err)
{
	int rc = datadir_remove(dirfd, "data", err);

	if (rc == 0)
		rc = make_subdir(dirfd, "data", err);
	if (rc == 0)
		rc = make_subdir(dirfd, "out", err);
	if (rc == 0)
		rc = link_data(server, dirfd, "train", &spec->training_file, err);
	if (rc == 0)
		rc = link_data(server, dirfd, "validation", &spec->validation_file, err);
	if (rc == 0)
		rc = link_data(server, dirfd, "test", &spec->test_file, err);
	if (rc == 0)
		rc = link_adapter(server, dirfd, &spec->peft.init_from, err);
	if (rc == 0)
		rc = write_spec(dirfd, spec, err);
	return rc;
}

/* --- cleaning --------------------------------------------------------------------------------------- */

struct cleaning {
	uv_work_t work;
	int dirfd;
};

static int remove_parts(int dirfd, struct err *err)
{
	int rc = datadir_remove(dirfd, "data", err);

	return rc != 0 ? rc : datadir_remove(dirfd, "out", err);
}

static void clean(uv_work_t *work)
{
	struct cleaning *cleaning = work->data;
	struct err err;

	if (remove_parts(cleaning->dirfd, &err) != 0)
		log_err(LOG_WARN, "job_clean", &err);
}

static void cleaned(uv_work_t *work, int status)
{
	struct cleaning *cleaning = work->data;

	(void)status;
	close(cleaning->dirfd);
	free(cleaning);
}

void jobdir_clean(const struct server *server, const char *job_id)
{
	struct cleaning *cleaning = calloc(1, sizeof(*cleaning));
	struct err err;

	if (cleaning == NULL || jobdir_open(&cleaning->dirfd, server, job_id, false, &err) != 0) {
		free(cleaning); /* never started, or to be swept at the next start */
		return;
	}
	cleaning->work.data = cleaning;
	if (uv_queue_work(server->loop, &cleaning->work, clean, cleaned) != 0)
		cleaned(&cleaning->work, 0);
}

/* --- sweeping --------------------------------------------------------------------------------------- */

static int sweep_parts(const struct server *server, const char *name, struct err *err)
{
	int dirfd, rc = jobdir_open(&dirfd, server, name, false, err);

	if (rc != 0)
		return rc;
	rc = remove_parts(dirfd, err);
	close(dirfd);
	return rc;
}

static int sweep_one(void *arg, const char *name, struct err *err)
{
	struct server *server = arg;
	struct job_row job = {0};
	int rc = store_job_get(&job, server->store, name, err);

	if (rc == -ERR_NOT_FOUND) {
		log_write(LOG_WARN, "sweep", "job directory %s has no row: removed", name);
		rc = datadir_remove(server->dir.jobs, name, err);
	} else if (rc == 0 && job_is_finished(job.status) && !job.is_stopping) {
		rc = sweep_parts(server, name, err);
	}
	job_row_done(&job);
	return rc;
}

int jobdir_sweep(struct server *server, struct err *err)
{
	return datadir_each(server->dir.jobs, sweep_one, server, err);
}
