#include "server/api_scans.h"

#include "server/api_jobs.h"
#include "server/id.h"
#include "server/list.h"
#include "server/pool.h"
#include "server/report.h"

enum { LIST_MAX = 100, LIST_DEFAULT = 20 };

static int parse_scan(struct spec *out, struct request *req, struct err *err)
{
	json_t *body = request_json(req);

	if (body == NULL)
		return err_set(err, ERR_MISSING_FIELD, "model", "is required");
	return spec_parse_scan(out, body, err);
}

int scans_create(struct request *req, struct err *err)
{
	struct job_row scan = {0};
	int rc = parse_scan(&scan.spec, req, err);

	if (rc == 0)
		rc = job_resolve_model(&scan.spec.model, request_server(req)->store, err);
	if (rc == 0)
		rc = job_submit(req, &scan, SCAN_ID_PREFIX, err);
	job_row_done(&scan);
	return rc;
}

int scans_list(struct request *req, struct err *err)
{
	struct rows rows = {0};
	struct page page;
	int rc = page_parse(&page, req, LIST_MAX, LIST_DEFAULT, err);

	if (rc == 0)
		rc = store_scan_list(&rows, request_server(req)->store, &page, err);
	if (rc == 0)
		respond_rows(req, &rows);
	rows_done(&rows);
	return rc;
}

int scans_report(struct request *req, struct err *err)
{
	struct job_row scan = {0};
	json_t *report;
	int rc = job_of_request(&scan, req, err);

	if (rc == 0 && scan.status == JOB_SUCCEEDED)
		rc = store_job_report(&report, request_server(req)->store, scan.id, err);
	else if (rc == 0)
		rc = report_compose_scan(&report, &scan, scan.status, NULL, err);
	if (rc == 0)
		respond_json(req, 200, report);
	job_row_done(&scan);
	return rc;
}
