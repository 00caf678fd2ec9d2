/*
 * api_models: /v1/models. A base model is the directory models/<id>, read-only to workers; what is in it is never parsed
 * here. Its digest is the SHA-256 over the lines "<sha256>  <bytes>  <path>\n" sorted by path bytes, its id "model-" and
 * the first 24 digits. A fine-tuned model is a row without a directory; its bytes are its job's artifacts.
 */
#ifndef OBLIVIATE_API_MODELS_H
#define OBLIVIATE_API_MODELS_H

#include "server/routes.h"

extern const struct upload_ops models_upload;

int models_create(struct request *req, struct err *err);
int models_list(struct request *req, struct err *err);
int models_get(struct request *req, struct err *err);
int models_delete(struct request *req, struct err *err);

/* Remove directories that have no row. At start. */
int models_sweep(struct server *server, struct err *err) MUST_USE;

#endif
