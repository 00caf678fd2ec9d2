/*
 * merged: the directory merged/ of a job that asked for it: a whole model that plain transformers loads, the
 * LoRA added into the base's weights.
 *
 *   config.json         what config.h reads of the base's, and the labels; nothing else of the base's file travels
 *   model.safetensors   ...ForSequenceClassification, float32; BERT's pooler is the head's dense layer
 *   tokenizer.json  tokenizer_config.json  vocab.txt ...   copies of the base's, those that it has
 *   README.md  manifest.json
 *
 * Only for LoRA: an adapter is no linear map and a prefix has no place in the weights.
 */
#ifndef OBLIVIATE_MERGED_H
#define OBLIVIATE_MERGED_H

#include "worker/export/manifest.h"
#include "worker/export/model_card.h"
#include "worker/model/config.h"
#include "worker/model/weights.h"

/* Everything is borrowed. */
struct merged {
	const struct model_card *card; /* is_merged */
	const struct config *config;
	const struct weights *weights; /* the base's */
	const struct kernels *kernels;
	int model_fd; /* the base's directory, for its tokenizer */
};

/* Make merged/ below out_dirfd and write its files; *files gets their digests as of export_adapter. */
int merged_write(
	struct manifest *files, int out_dirfd, const struct merged *merged, struct err *err) MUST_USE;

#endif
