/* api_meta: health, version, metrics, the page and openapi.yaml (assets.h): what needs no key. */
#ifndef OBLIVIATE_API_META_H
#define OBLIVIATE_API_META_H

#include "server/routes.h"

/* 200 as long as the loop turns. */
int meta_health(struct request *req, struct err *err);
/* 200 when jobs can be taken: the store answers, the worker program is there, nobody is stopping. */
int meta_ready(struct request *req, struct err *err);
int meta_version(struct request *req, struct err *err);
/* Prometheus text format 0.0.4. */
int meta_metrics(struct request *req, struct err *err);
int meta_openapi(struct request *req, struct err *err);
/* "/" is server/web/index.html, "/NAME" is server/web/NAME. */
int meta_page(struct request *req, struct err *err);

#endif
