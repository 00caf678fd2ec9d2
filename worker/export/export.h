/*
 * export: the directory adapter/ of a finished job, complete: the adapter in its library's format, labels,
 * model card, manifest.
 *
 *   LoRA, for peft                       adapter and prefix, for adapters
 *   adapter_config.json                  adapter_config.json  head_config.json
 *   adapter_model.safetensors            adapter.safetensors  model_head.safetensors
 *                                        pytorch_adapter.bin  pytorch_model_head.bin
 *   README.md  config.json  labels.json  manifest.json
 */
#ifndef OBLIVIATE_EXPORT_H
#define OBLIVIATE_EXPORT_H

#include "worker/export/manifest.h"
#include "worker/export/model_card.h"

/*
 * Make adapter/ below out_dirfd and write its files. *files gets their digests, paths relative to adapter/,
 * sorted but for the manifest, which comes last.
 */
int export_adapter(
	struct manifest *files, int out_dirfd, const struct model_card *card, struct err *err) MUST_USE;

#endif
