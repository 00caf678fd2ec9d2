/*
 * Without memory: what both programs and the server read and write (no_memory.h).
 */
#include "tests/unit/no_memory.h"

#include <stdio.h>

#include "common/progress.h"
#include "server/sink.h"
#include "server/list.h"
#include "server/multipart.h"
#include "server/store_job.h"
#include "tests/unit/scratch.h"
#include "worker/data/dataset.h"
#include "worker/base/par.h"
#include "worker/base/param.h"
#include "worker/train/corpus.h"

/* ---- common ---- */

static int write_rows(void *arg, struct err *err)
{
	struct rows rows = {0};
	struct buf text = {0};
	int rc;

	for (int i = 0; i < 20; i++)
		json_write_string(rows_next(&rows, "id"), "a \"text\" that grows\n");
	rows_finish(&text, &rows);
	rc = text.failed ? err_nomem(err) : 0;
	buf_done(&text);
	return rc;
}

static int parse_json(void *arg, struct err *err)
{
	static const char text[] = "{\"a\": [1, 2.5, \"x\", null, {\"b\": true}], \"c\": \"\\u00fc\"}";
	struct buf out = {0};
	json_t *json = NULL;
	int rc = json_parse(&json, text, sizeof(text) - 1, "text", err);

	if (rc == 0)
		json_write(&out, json);
	if (rc == 0 && out.failed)
		rc = err_nomem(err);
	json_decref(json);
	buf_done(&out);
	return rc;
}

static int read_progress(void *arg, struct err *err)
{
	static const char lines[] = "{\"type\":\"phase\",\"name\":\"train\"}\n{\"type\":\"metric\",\"name\":"
				    "\"x\",\"value\":1.5}\n"
				    "{\"type\":\"done\"}\n";
	struct progress_reader reader = {0};
	struct progress line;
	int rc = progress_reader_add(&reader, lines, sizeof(lines) - 1, err);

	while (rc == 0 && (rc = progress_reader_next(&line, &reader, err)) == 1)
		rc = 0;
	progress_reader_done(&reader);
	return rc;
}

static int read_spec(void *arg, struct err *err)
{
	struct buf text = {0};
	struct spec spec = {0};
	int rc = spec_parse(&spec, arg, SPEC_API, err);

	if (rc == 0)
		rc = spec_write(&text, &spec, SPEC_WORKER, err);
	spec_done(&spec);
	buf_done(&text);
	return rc;
}

static int view_spec(void *arg, struct err *err)
{
	struct buf text = {0};
	int rc = job_view(&text, arg, err);

	buf_done(&text);
	return rc;
}

static json_t *job_request(void)
{
	return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:f}}", "model", "model-a", "training_file", "file-a",
		"metadata", "a", "b", "c", "d", "gate", "min_ca", 0.8);
}

static void test_texts(void **state)
{
	check(write_rows, NULL);
	/* jansson takes a string that it has no memory for as a fault of the text. */
	check_or(parse_json, NULL, ERR_INVALID_JSON);
	check_or(read_progress, NULL, ERR_INVALID_DATA);
}

static void test_specs(void **state)
{
	json_t *request = job_request();
	struct spec spec = {0};
	struct err err;

	check(read_spec, request);
	assert_int_equal(spec_parse(&spec, request, SPEC_API, &err), 0);
	check(view_spec, &spec);
	spec_done(&spec);
	json_decref(request);
}

/* ---- server ---- */

static int on_part(void *arg, const char *name, const char *filename, struct err *err)
{
	return 0;
}

static int on_data(void *arg, const void *data, size_t len, struct err *err)
{
	return 0;
}

static int on_end(void *arg, struct err *err)
{
	return 0;
}

static int parse_multipart(void *arg, struct err *err)
{
	static const struct multipart_ops ops = {on_part, on_data, on_end};
	static const char body[] = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--\r\n";
	struct multipart parser;
	int rc = multipart_init(&parser, "multipart/form-data; boundary=x", &ops, NULL, err);

	if (rc == 0)
		rc = multipart_feed(&parser, body, sizeof(body) - 1, err);
	multipart_done(&parser);
	return rc;
}

static int sink_blocks(void *arg, struct err *err)
{
	static const char bytes[SINK_BLOCK_BYTES];
	char hex[SHA256_HEX_BYTES];
	struct sink *sink = NULL;
	int rc = sink_new(&sink, arg, NULL, err);

	for (int i = 0; i < 3 && rc == 0; i++)
		rc = sink_add(sink, bytes, sizeof(bytes) - 1, err);
	if (rc == 0)
		rc = sink_end(sink, hex, err);
	sink_free(sink);
	countdown = NEVER; /* what libuv allocates below is not ours */
	uv_run(arg, UV_RUN_DEFAULT);
	return rc;
}

static void test_uploads(void **state)
{
	uv_loop_t loop;

	assert_int_equal(uv_loop_init(&loop), 0);
	check(parse_multipart, NULL);
	check(sink_blocks, &loop);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- worker ---- */

static int read_data(void *arg, struct err *err)
{
	static const struct columns columns = {"text", NULL, "label"};
	const struct scratch *scratch = arg;
	struct selection all = {0}, kept = {0}, taken = {0};
	struct dataset data = {0};
	struct labels labels = {0};
	int rc = dataset_read(&data, &labels, scratch->fd, "train.csv", &columns, err);

	if (rc == 0)
		rc = selection_all(&all, &data, err);
	if (rc == 0)
		rc = selection_split(&kept, &taken, &data, &all, 0.2, 1, err);
	selection_done(&all);
	selection_done(&kept);
	selection_done(&taken);
	dataset_done(&data);
	labels_done(&labels);
	return rc;
}

static int fill_corpus(void *arg, struct err *err)
{
	static const int32_t ids[] = {2, 5, 6, 3};
	struct corpus corpus = {0};
	int rc = 0;

	for (int i = 0; i < 40 && rc == 0; i++)
		rc = corpus_add_ids(&corpus, ids, 4, 4, 0, err);
	corpus_done(&corpus);
	return rc;
}

static int make_params(void *arg, struct err *err)
{
	struct params params = {0};
	int number = 0;

	for (int i = 0; i < 20 && number >= 0; i++)
		number = params_add(&params, PARAM_PEFT, 2, 3, err, "tensor.%d", i);
	params_done(&params);
	return number < 0 ? number : 0;
}

static int start_threads(void *arg, struct err *err)
{
	struct par *par = NULL;
	int rc = par_new(&par, 3, err);

	par_free(par);
	return rc;
}

static void test_inputs_of_the_worker(void **state)
{
	struct scratch scratch;
	struct buf text = {0};

	scratch_init(&scratch);
	buf_str(&text, "text,label\n");
	for (int i = 0; i < 30; i++)
		buf_printf(&text, "\"row, %d\",%s\n", i, i % 2 == 0 ? "a" : "b");
	scratch_write(&scratch, "train.csv", text.data, text.len);
	check(read_data, &scratch);
	check(fill_corpus, NULL);
	check(make_params, NULL);
	check(start_threads, NULL);
	buf_done(&text);
	scratch_done(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_specs),
		cmocka_unit_test(test_uploads),
		cmocka_unit_test(test_inputs_of_the_worker),
	};

	json_set_alloc_funcs(__wrap_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
