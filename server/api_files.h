/*
 * api_files: /v1/files. The bytes of file <id> are files/<id>, of uploads and of results alike; they are never parsed here.
 */
#ifndef OBLIVIATE_API_FILES_H
#define OBLIVIATE_API_FILES_H

#include "server/routes.h"

extern const struct upload_ops files_upload;

int files_create(struct request *req, struct err *err);
int files_list(struct request *req, struct err *err);
int files_get(struct request *req, struct err *err);
int files_delete(struct request *req, struct err *err);
int files_content(struct request *req, struct err *err);

/* May a job read it? By extension: .jsonl, .csv, .tsv. */
bool file_is_data(const char *filename);
/* By extension; application/octet-stream for what is unknown. */
const char *file_content_type(const char *filename);

/* Remove what has no row: uploads that a crash cut off between rename and row. At start. */
int files_sweep(struct server *server, struct err *err) MUST_USE;

#endif
