#include "worker/export/merged.h"

#include <stdio.h>
#include <unistd.h>

#include "common/io.h"
#include "worker/export/json_file.h"
#include "worker/export/label_files.h"
#include "worker/export/tensor_list.h"
#include "worker/model/fold.h"

/* Sorted. What the base does not have is left out. */
static const struct {
	const char *name;
	bool is_tokenizer;
} files_of_merged[] = {
	{"README.md", false},
	{"added_tokens.json", true},
	{"config.json", false},
	{"merges.txt", true},
	{"model.safetensors", false},
	{"special_tokens_map.json", true},
	{"tokenizer.json", true},
	{"tokenizer_config.json", true},
	{"vocab.json", true},
	{"vocab.txt", true},
};

/* --- config.json ------------------------------------------------------------------------------------ */

static json_t *merged_config(const struct merged *merged)
{
	const struct labels *labels = merged->card->report->labels;
	const char *class = family_names[merged->config->family].classifier_class;
	json_t *out = config_json(merged->config);

	json_map_add(&out, "architectures", json_pack("[s]", class));
	json_map_add(&out, "problem_type", json_string("single_label_classification"));
	json_map_add(&out, "num_labels", json_integer(labels->n));
	json_map_add(&out, "id2label", label_files_names(labels));
	json_map_add(&out, "label2id", label_files_ids(labels));
	json_map_add(&out, "torch_dtype", json_string("float32"));
	return out;
}

/* --- model.safetensors ------------------------------------------------------------------------------ */

static void add_site(struct tensor_list *list, const struct merged *merged, struct weights *weights,
	const struct tensor_site *site, int layer)
{
	char name[TENSOR_NAME_BYTES / 2];
	int shape[2];

	weights_name(name, sizeof(name), site, layer);
	weights_site_shape(shape, site, merged->config);
	tensor_list_add(list, shape[0], shape[1], *weights_slot(weights, site, layer), "%s.%s",
		merged->config->model_type, name);
}

static void add_encoder(struct tensor_list *list, const struct merged *merged, struct weights *weights)
{
	for (int i = 0; i < weights_embedding_site_count; i++)
		add_site(list, merged, weights, &weights_embedding_sites[i], -1);
	for (int layer = 0; layer < merged->config->L; layer++)
		for (int i = 0; i < weights_layer_site_count; i++)
			add_site(list, merged, weights, &weights_layer_sites[i], layer);
}

static void add_head(struct tensor_list *list, const struct trained *trained)
{
	const struct family_names *names = &family_names[trained->family];
	int D = trained->D;

	tensor_list_add_linear(list, D, D, trained->dense_w, trained->dense_b, names->dense);
	tensor_list_add_linear(list, trained->K, D, trained->out_w, trained->out_b, names->out);
}

static int write_weights(int dirfd, const struct merged *merged, struct err *err)
{
	const struct trained *trained = merged->card->trained;
	int n = weights_embedding_site_count + merged->config->L * weights_layer_site_count + 4;
	struct fold fold = {0};
	struct tensor_list list;
	int rc = tensor_list_init(&list, n, err);

	if (rc == 0)
		rc = fold_init(&fold, merged->weights, merged->config, &trained->lora, merged->kernels, err);
	if (rc == 0) {
		add_encoder(&list, merged, &fold.weights);
		add_head(&list, trained);
		rc = tensor_list_write(&list, dirfd, "model.safetensors", err);
	}
	fold_done(&fold);
	tensor_list_done(&list);
	return rc;
}

/* --- the directory ---------------------------------------------------------------------------------- */

static int copy_if_there(int to, int from, const char *name, struct err *err)
{
	struct io_map map;
	int rc = io_map_open(&map, from, name, err);

	if (rc == -ERR_NOT_FOUND)
		return 0;
	if (rc != 0)
		return rc;
	rc = io_write_file(to, name, map.data, map.len, err);
	io_map_done(&map);
	return rc;
}

static int copy_tokenizer(int to, int from, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < NELEM(files_of_merged) && rc == 0; i++)
		if (files_of_merged[i].is_tokenizer)
			rc = copy_if_there(to, from, files_of_merged[i].name, err);
	return rc;
}

static int list_files(struct manifest *files, int dirfd, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < NELEM(files_of_merged) && rc == 0; i++) {
		rc = manifest_add(files, dirfd, files_of_merged[i].name, err);
		if (rc == -ERR_NOT_FOUND && files_of_merged[i].is_tokenizer)
			rc = 0;
	}
	return rc;
}

static int write_files(struct manifest *files, int dirfd, const struct merged *merged, struct err *err)
{
	int rc = json_file_write(dirfd, "config.json", merged_config(merged), err);

	if (rc == 0)
		rc = copy_tokenizer(dirfd, merged->model_fd, err);
	if (rc == 0)
		rc = write_weights(dirfd, merged, err);
	if (rc == 0)
		rc = model_card_save(dirfd, merged->card, err);
	if (rc == 0)
		rc = list_files(files, dirfd, err);
	return rc == 0 ? manifest_write(files, dirfd, merged->card->report, err) : rc;
}

int merged_write(struct manifest *files, int out_dirfd, const struct merged *merged, struct err *err)
{
	int dirfd = -1, rc;

	*files = (struct manifest){0};
	rc = io_make_directory(&dirfd, out_dirfd, "merged", err);
	if (rc != 0)
		return rc;
	rc = write_files(files, dirfd, merged, err);
	close(dirfd);
	return rc;
}
