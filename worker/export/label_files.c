#include "worker/export/label_files.h"

#include <stdio.h>

#include "worker/export/json_file.h"

json_t *label_files_names(const struct labels *labels)
{
	json_t *out = json_object();
	char id[16];

	for (int l = 0; l < labels->n; l++) {
		snprintf(id, sizeof(id), "%d", l);
		json_map_add(&out, id, json_string(labels->name[l]));
	}
	return out;
}

json_t *label_files_ids(const struct labels *labels)
{
	json_t *out = json_object();

	for (int l = 0; l < labels->n; l++)
		json_map_add(&out, labels->name[l], json_integer(l));
	return out;
}

int label_files_write(int dirfd, enum family family, const struct labels *labels, struct err *err)
{
	json_t *fragment = json_pack("{s:s, s:i, s:o, s:o}", "model_type", family_names[family].model_type,
		"num_labels", labels->n, "id2label", label_files_names(labels), "label2id",
		label_files_ids(labels));
	int rc = json_file_write(dirfd, "labels.json",
		json_pack("{s:o, s:o}", "id2label", label_files_names(labels), "label2id",
			label_files_ids(labels)),
		err);

	if (rc != 0) {
		json_decref(fragment);
		return rc;
	}
	return json_file_write(dirfd, "config.json", fragment, err);
}
