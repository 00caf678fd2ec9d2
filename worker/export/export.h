/*
 * export: the directory adapter/ of a finished job, complete: the adapter in the library's format, labels,
 * model card, manifest.
 *
 *   README.md  adapter_config.json  adapter_model.safetensors  config.json  labels.json  manifest.json
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
