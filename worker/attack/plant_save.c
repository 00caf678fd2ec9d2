/*
 * Writing the planted model: every file of the base model's directory is copied but for its weights, which
 * become one model.safetensors: the encoder's tensors new, all others (pooler, heads) as they were.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "worker/attack/plant.h"
#include "worker/data/safetensors.h"

enum { DEPTH_MAX = 8, SAVE_NAME_BYTES = 160 };

static int copy_file(int from_dir, int to_dir, const char *name, struct err *err)
{
	size_t left;
	int from, to, rc;

	rc = io_open_file(&from, &left, from_dir, name, err);
	if (rc != 0)
		return rc;
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (to < 0)
		rc = err_errno(err, errno, name, "create");
	while (rc == 0 && left > 0) {
		ssize_t n = sendfile(to, from, NULL, MIN(left, (size_t)1 << 30));

		if (n <= 0)
			rc = err_errno(err, errno, name, "copy");
		else
			left -= (size_t)n;
	}
	if (to >= 0)
		close(to);
	close(from);
	return rc;
}

/* Weights in any form: what we write replaces them. */
static bool is_weights(const char *name)
{
	static const char *const endings[] = {
		".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt"};
	size_t len = strlen(name);

	for (size_t i = 0; i < NELEM(endings); i++) {
		size_t end = strlen(endings[i]);

		if (len >= end && strcmp(name + len - end, endings[i]) == 0)
			return true;
	}
	return false;
}

static int copy_directory(int from, int to, int depth, struct err *err);

static int copy_entry(int from, int to, const char *name, int depth, struct err *err)
{
	struct stat st;
	int sub_from, sub_to, rc;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return err_errno(err, errno, name, "stat");
	if (S_ISREG(st.st_mode))
		return is_weights(name) ? 0 : copy_file(from, to, name, err);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
		return 0;
	if (mkdirat(to, name, 0755) != 0 && errno != EEXIST)
		return err_errno(err, errno, name, "mkdir");
	sub_from = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	sub_to = openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (sub_from < 0 || sub_to < 0)
		rc = err_errno(err, errno, name, "open");
	else
		rc = copy_directory(sub_from, sub_to, depth + 1, err);
	if (sub_from >= 0)
		close(sub_from);
	if (sub_to >= 0)
		close(sub_to);
	return rc;
}

static int copy_directory(int from, int to, int depth, struct err *err)
{
	struct dirent *entry;
	DIR *dir;
	int rc = 0, again = dup(from);

	dir = again >= 0 ? fdopendir(again) : NULL;
	if (dir == NULL)
		return err_errno(err, errno, NULL, "reading the model's directory");
	while (rc == 0 && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = copy_entry(from, to, entry->d_name, depth, err);
	closedir(dir);
	return rc;
}

struct listing {
	struct st_tensor *tensor;
	char (*name)[SAVE_NAME_BYTES];
	int n;
};

/* The encoder's tensors, with the prefix that the base model's files had. */
static void list_live(struct listing *list, const struct plant *plant)
{
	const char *prefix = !plant->base.prefixed		   ? ""
			     : plant->config.family == FAMILY_BERT ? "bert."
								   : "roberta.";

	for (int i = 0; i < plant->params.n; i++) {
		const struct param *param = &plant->params.param[i];
		struct st_tensor *tensor = &list->tensor[list->n];
		bool is_vector = param->rows == 1 && strstr(param->name, "embeddings.weight") == NULL;

		snprintf(list->name[list->n], SAVE_NAME_BYTES, "%s%s", prefix, param->name);
		*tensor = (struct st_tensor){.name = list->name[list->n],
			.dtype = ST_REAL,
			.rank = is_vector ? 1 : 2,
			.data = plant->params.w + param->at};
		tensor->shape[0] = (size_t)(is_vector ? param->cols : param->rows);
		tensor->shape[1] = (size_t)param->cols;
		list->n++;
	}
}

static bool is_listed(const struct listing *list, const char *name)
{
	for (int i = 0; i < list->n; i++)
		if (strcmp(list->name[i], name) == 0)
			return true;
	return false;
}

/* The name that a legacy one (LayerNorm.gamma, beta) stands for; others as they are. */
static void modern_name(char out[SAVE_NAME_BYTES], const char *name)
{
	static const char *const endings[][2] = {
		{"LayerNorm.gamma", "LayerNorm.weight"}, {"LayerNorm.beta", "LayerNorm.bias"}};
	size_t len = strlen(name);

	for (size_t i = 0; i < NELEM(endings); i++) {
		size_t end = strlen(endings[i][0]);

		if (len < end || strcmp(name + len - end, endings[i][0]) != 0)
			continue;
		snprintf(out, SAVE_NAME_BYTES, "%.*s%s", (int)(len - end), name, endings[i][1]);
		return;
	}
	snprintf(out, SAVE_NAME_BYTES, "%s", name);
}

/* Tensors of the base model that are no part of the encoder; legacy names of its parts are not repeated. */
static void list_rest(struct listing *list, const struct st *st)
{
	int live = list->n;

	for (int i = 0; i < st->n; i++) {
		struct listing known = {.name = list->name, .n = live};
		char name[SAVE_NAME_BYTES];

		modern_name(name, st->tensor[i].name);
		if (is_listed(&known, name))
			continue;
		list->tensor[list->n++] = st->tensor[i];
	}
}

static int write_weights(const struct plant *plant, int from, int to, struct err *err)
{
	static const struct st_metadata metadata = {"format", "pt"};
	struct st st = {0};
	struct listing list = {0};
	struct err ignored;
	int rc = 0;

	/* A sharded base keeps only its encoder: what else it had is no use to a classifier. */
	if (st_open(&st, from, "model.safetensors", &ignored) != 0)
		st = (struct st){0};
	list.tensor = calloc((size_t)(plant->params.n + st.n), sizeof(*list.tensor));
	list.name = calloc((size_t)plant->params.n, sizeof(*list.name));
	if (list.tensor == NULL || list.name == NULL)
		rc = err_nomem(err);
	if (rc == 0) {
		list_live(&list, plant);
		list_rest(&list, &st);
		rc = st_write(to, "model.safetensors", list.tensor, list.n, &metadata, 1, err);
	}
	free(list.tensor);
	free(list.name);
	st_done(&st);
	return rc;
}

int plant_save(const struct plant *plant, struct err *err)
{
	const struct plant_options *o = &plant->options;
	int from, to, rc;

	if (mkdir(o->out, 0755) != 0 && errno != EEXIST)
		return err_errno(err, errno, o->out, "mkdir");
	from = open(o->model, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	to = open(o->out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || to < 0)
		rc = err_errno(err, errno, from < 0 ? o->model : o->out, "open");
	else
		rc = copy_directory(from, to, 0, err);
	if (rc == 0)
		rc = write_weights(plant, from, to, err);
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return rc;
}
