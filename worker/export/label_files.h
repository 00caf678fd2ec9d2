/*
 * label_files: which class id means which label, as transformers' configs have it.
 *
 *   labels.json  {"id2label", "label2id"}
 *   config.json  a fragment {"model_type", "num_labels", "id2label", "label2id"}: no adapter's format keeps them all
 */
#ifndef OBLIVIATE_LABEL_FILES_H
#define OBLIVIATE_LABEL_FILES_H

#include <jansson.h>

#include "worker/data/dataset.h"
#include "worker/export/trained.h"

/* {"0": name, ...} and {name: 0, ...}. New references; NULL when out of memory. */
json_t *label_files_names(const struct labels *labels);
json_t *label_files_ids(const struct labels *labels);

/* Write labels.json and config.json into the directory. */
int label_files_write(int dirfd, enum family family, const struct labels *labels, struct err *err) MUST_USE;

#endif
