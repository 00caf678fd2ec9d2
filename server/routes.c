#include "server/routes.h"

#include <stdio.h>
#include <string.h>

#include "server/api_files.h"
#include "server/api_jobs.h"
#include "server/api_meta.h"
#include "server/api_models.h"
#include "server/api_scans.h"

static const struct route routes[] = {
	{"GET", "/healthz", 0, meta_health, NULL},
	{"GET", "/readyz", 0, meta_ready, NULL},
	{"GET", "/version", 0, meta_version, NULL},
	{"GET", "/metrics", 0, meta_metrics, NULL},
	{"GET", "/openapi.yaml", ROUTE_STATIC, meta_openapi, NULL},
	{"GET", "/", ROUTE_STATIC, meta_page, NULL},

	{"POST", "/v1/files", ROUTE_KEY | ROUTE_MULTIPART, files_create, &files_upload},
	{"GET", "/v1/files", ROUTE_KEY, files_list, NULL},
	{"GET", "/v1/files/{id}", ROUTE_KEY, files_get, NULL},
	{"DELETE", "/v1/files/{id}", ROUTE_KEY, files_delete, NULL},
	{"GET", "/v1/files/{id}/content", ROUTE_KEY, files_content, NULL},

	{"POST", "/v1/models", ROUTE_KEY | ROUTE_JSON | ROUTE_MULTIPART, models_create, &models_upload},
	{"GET", "/v1/models", ROUTE_KEY, models_list, NULL},
	{"GET", "/v1/models/{id}", ROUTE_KEY, models_get, NULL},
	{"DELETE", "/v1/models/{id}", ROUTE_KEY, models_delete, NULL},

	{"POST", "/v1/fine_tuning/jobs", ROUTE_KEY | ROUTE_JSON, jobs_create, NULL},
	{"GET", "/v1/fine_tuning/jobs", ROUTE_KEY, jobs_list, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}", ROUTE_KEY, jobs_get, NULL},
	{"POST", "/v1/fine_tuning/jobs/{id}/cancel", ROUTE_KEY | ROUTE_JSON | ROUTE_EMPTY_OK, jobs_cancel,
		NULL},
	{"POST", "/v1/fine_tuning/jobs/{id}/pause", ROUTE_KEY | ROUTE_JSON | ROUTE_EMPTY_OK, jobs_pause,
		NULL},
	{"POST", "/v1/fine_tuning/jobs/{id}/resume", ROUTE_KEY | ROUTE_JSON | ROUTE_EMPTY_OK, jobs_resume,
		NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/events", ROUTE_KEY, jobs_events, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/checkpoints", ROUTE_KEY, jobs_checkpoints, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/report", ROUTE_KEY, jobs_report, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/gate", ROUTE_KEY, jobs_gate, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/log", ROUTE_KEY, jobs_log, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/adapter", ROUTE_KEY, jobs_adapter, NULL},
	{"GET", "/v1/fine_tuning/jobs/{id}/merged", ROUTE_KEY, jobs_merged, NULL},

	{"POST", "/v1/scans", ROUTE_KEY | ROUTE_JSON, scans_create, NULL},
	{"GET", "/v1/scans", ROUTE_KEY, scans_list, NULL},
	{"GET", "/v1/scans/{id}", ROUTE_KEY, jobs_get, NULL},
	{"GET", "/v1/scans/{id}/report", ROUTE_KEY, scans_report, NULL},
	{"GET", "/v1/scans/{id}/events", ROUTE_KEY, jobs_events, NULL},
	{"POST", "/v1/scans/{id}/cancel", ROUTE_KEY | ROUTE_JSON | ROUTE_EMPTY_OK, jobs_cancel, NULL},

	/* Last: what stands here is a file of the page. */
	{"GET", "/{id}", ROUTE_STATIC, meta_page, NULL},
};

/* Does path fit pattern? *start and *len are where {id} stood. */
static bool fits(const char *pattern, const char *path, size_t *start, size_t *len)
{
	static const char hole[] = "{id}";
	const char *begin = path;

	*start = *len = 0;
	while (*pattern != '\0') {
		if (strncmp(pattern, hole, sizeof(hole) - 1) == 0) {
			*start = (size_t)(path - begin);
			*len = strcspn(path, "/");
			if (*len == 0)
				return false;
			pattern += sizeof(hole) - 1;
			path += *len;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

static bool method_fits(const char *route, const char *method)
{
	return strcmp(route, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route, "GET") == 0);
}

static void allow_add(char *allow, size_t len, const char *method)
{
	size_t n = strlen(allow);

	snprintf(allow + n, len - n, "%s%s%s", n > 0 ? ", " : "", method,
		strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct route *route_find(const char *method, const char *path, size_t *param_start, size_t *param_len,
	char *allow, size_t allow_len, struct err *err)
{
	const struct route *page = &routes[NELEM(routes) - 1];

	allow[0] = '\0';
	for (const struct route *route = routes; route <= page; route++) {
		if (!fits(route->pattern, path, param_start, param_len))
			continue;
		if (method_fits(route->method, method))
			return route;
		if (route != page)
			allow_add(allow, allow_len, route->method);
	}
	if (allow[0] == '\0')
		err_set(err, ERR_NOT_FOUND, NULL, "Unknown request URL: %.16s %.512s", method, path);
	else
		err_set(err, ERR_METHOD, NULL, "%.16s is not allowed here; allowed: %s", method, allow);
	return NULL;
}
