#include "server/api_meta.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/assets.h"
#include "server/range.h"
#include "server/store_job.h"

int meta_health(struct request *req, struct err *err)
{
	(void)err;
	respond_json(req, 200, json_pack("{s:s}", "status", "ok"));
	return 0;
}

int meta_ready(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	bool has_key;
	int rc = store_key_exists(&has_key, server->store, err);

	if (rc != 0)
		return err_set(err, ERR_UNAVAILABLE, "store", "the database does not answer");
	if (access(server->config->worker, X_OK) != 0)
		return err_set(
			err, ERR_UNAVAILABLE, "worker", "%.900s cannot be run", server->config->worker);
	respond_json(req, 200, json_pack("{s:s}", "status", "ready"));
	return 0;
}

int meta_version(struct request *req, struct err *err)
{
	(void)err;
	respond_json(req, 200, json_pack("{s:s, s:s}", "name", "obliviated", "version", OBLIVIATE_VERSION));
	return 0;
}

static void add_metric(
	struct buf *out, const char *name, const char *type, const char *help, unsigned long long value)
{
	buf_printf(out, "# HELP obliviate_%s %s\n# TYPE obliviate_%s %s\nobliviate_%s %llu\n", name, help,
		name, type, name, value);
}

static void add_answers(struct buf *out, const struct http_stats *stats)
{
	buf_str(out, "# HELP obliviate_http_answers_total Answers by class of status.\n"
		     "# TYPE obliviate_http_answers_total counter\n");
	for (size_t i = 2; i < NELEM(stats->answers); i++)
		buf_printf(out, "obliviate_http_answers_total{class=\"%zuxx\"} %llu\n", i,
			(unsigned long long)stats->answers[i]);
}

int meta_metrics(struct request *req, struct err *err)
{
	struct server *server = request_server(req);
	struct http_stats stats;
	struct buf out = {0};
	int64_t queued = 0;
	int rc = store_job_count_queued(&queued, server->store, err);

	if (rc != 0)
		return rc;
	http_stats(&stats, server->http);
	buf_printf(&out,
		"# HELP obliviate_build_info The program.\n# TYPE obliviate_build_info gauge\n"
		"obliviate_build_info{version=\"%s\"} 1\n",
		OBLIVIATE_VERSION);
	add_metric(&out, "start_time_seconds", "gauge", "When the daemon started.",
		(unsigned long long)server->started_at);
	add_answers(&out, &stats);
	add_metric(&out, "http_received_bytes_total", "counter", "Bytes of request bodies.",
		stats.bytes_received);
	add_metric(&out, "http_connections", "gauge", "Open connections.", stats.connections);
	add_metric(&out, "http_streams", "gauge", "Open event streams.", stats.streams);
	add_metric(&out, "jobs_queued", "gauge", "Jobs that wait for a worker.", (unsigned long long)queued);
	if (out.failed) {
		buf_done(&out);
		return err_nomem(err);
	}
	respond_bytes(req, 200, "text/plain; version=0.0.4; charset=utf-8", out.data, out.len);
	buf_done(&out);
	return 0;
}

/* ---- assets ---- */

static const struct {
	const char *extension, *content_type;
} types[] = {
	{".html", "text/html; charset=utf-8"},
	{".css", "text/css; charset=utf-8"},
	{".js", "text/javascript; charset=utf-8"},
	{".svg", "image/svg+xml"},
	{".yaml", "application/yaml"},
};

static const char *type_of(const char *path)
{
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot != NULL && i < NELEM(types); i++) {
		if (strcmp(dot, types[i].extension) == 0)
			return types[i].content_type;
	}
	return "application/octet-stream";
}

static int respond_asset(struct request *req, const char *path, struct err *err)
{
	const char *if_none_match = request_header(req, "If-None-Match");
	char digest[SHA256_HEX_BYTES], etag[SHA256_HEX_BYTES + 2];
	const struct asset *asset = assets;
	int rc;

	while (asset->path != NULL && strcmp(asset->path, path) != 0)
		asset++;
	if (asset->path == NULL)
		return err_set(err, ERR_NOT_FOUND, NULL, "Unknown request URL");
	rc = sha256_of(digest, asset->data, asset->len, err);
	if (rc != 0)
		return rc;
	snprintf(etag, sizeof(etag), "\"%s\"", digest);
	respond_header(req, "ETag", etag);
	if (if_none_match != NULL && etag_matches(if_none_match, etag))
		respond_bytes(req, 304, type_of(path), NULL, 0);
	else
		respond_bytes(req, 200, type_of(path), asset->data, asset->len);
	return 0;
}

int meta_openapi(struct request *req, struct err *err)
{
	return respond_asset(req, "openapi.yaml", err);
}

int meta_page(struct request *req, struct err *err)
{
	const char *name = request_param(req);
	char path[128];

	if (strlen(name) > 64)
		return err_set(err, ERR_NOT_FOUND, NULL, "Unknown request URL");
	snprintf(path, sizeof(path), "server/web/%s", name[0] == '\0' ? "index.html" : name);
	return respond_asset(req, path, err);
}
