/*
 * api_scans: /v1/scans, jobs of type scan. Reading one, its events and its cancelling are api_jobs's; here is what differs.
 */
#ifndef OBLIVIATE_API_SCANS_H
#define OBLIVIATE_API_SCANS_H

#include "server/routes.h"

int scans_create(struct request *req, struct err *err);
int scans_list(struct request *req, struct err *err);
/* Of an unfinished or failed scan: what is known, verdict undecided. */
int scans_report(struct request *req, struct err *err);

#endif
