#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/json.h"
#include "worker/data/safetensors.h"
#include "worker/export/export.h"

enum { L = 2, D = 4, K = 3, R = 2, TARGETS = 2 };

/* --- a small job ------------------------------------------------------------------------------------ */

static real a[L * TARGETS][R * D], b[L * TARGETS][D * R], dense_w[D * D], dense_b[D], out_w[K * D], out_b[K];
static const real *a_list[L * TARGETS], *b_list[L * TARGETS];

static void number(real *out, int n, int first)
{
	for (int i = 0; i < n; i++)
		out[i] = (real)(first + i);
}

static struct trained lora_of(enum family family)
{
	for (int i = 0; i < L * TARGETS; i++) {
		number(a[i], R * D, 100 * i);
		number(b[i], D * R, 100 * i + 50);
		a_list[i] = a[i];
		b_list[i] = b[i];
	}
	number(dense_w, D * D, 1000);
	number(dense_b, D, 1100);
	number(out_w, K * D, 1200);
	number(out_b, K, 1300);
	return (struct trained){.peft = SPEC_LORA,
		.model_id = "model-1",
		.family = family,
		.L = L,
		.D = D,
		.K = K,
		.dense_w = dense_w,
		.dense_b = dense_b,
		.out_w = out_w,
		.out_b = out_b,
		.lora = {L, D, R, 16, 1u << SITE_QUERY | 1u << SITE_VALUE, a_list, b_list}};
}

/* --- the same with an adapter or a prefix --------------------------------------------------------------- */

enum { BOTTLENECK = 3, LENGTH = 2 };

static real prefix[LENGTH * 2 * L * D];
static struct params adapter;

static void declare_adapter(int layer, const char *place)
{
	const struct {
		const char *name;
		int rows, cols;
	} parts[] = {{"adapter_down.weight", BOTTLENECK, D}, {"adapter_down.bias", 1, BOTTLENECK},
		{"adapter_up.weight", D, BOTTLENECK}, {"adapter_up.bias", 1, D}};
	struct err err;

	for (size_t i = 0; i < NELEM(parts); i++)
		assert_true(params_add(&adapter, PARAM_PEFT, parts[i].rows, parts[i].cols, &err,
				    "encoder.layer.%d.%s.%s", layer, place, parts[i].name) >= 0);
}

/* Tensor i's numbers are from 100 i on; `layers` of it are there. */
static struct trained adapter_of(enum family family, int layers)
{
	struct trained out = lora_of(family);
	struct err err;

	params_done(&adapter);
	for (int layer = 0; layer < layers; layer++) {
		declare_adapter(layer, "attention.output");
		declare_adapter(layer, "output");
	}
	assert_int_equal(params_alloc(&adapter, &err), 0);
	for (int i = 0; i < adapter.n; i++)
		number(param_w(&adapter, i), (int)param_size(&adapter.param[i]), 100 * i);
	out.peft = SPEC_ADAPTER;
	out.adapter = (struct trained_adapter){BOTTLENECK, "swish", &adapter};
	return out;
}

static struct trained prefix_of(enum family family)
{
	struct trained out = lora_of(family);

	number(prefix, LENGTH * 2 * L * D, 500);
	out.peft = SPEC_PREFIX;
	out.prefix = (struct trained_prefix){LENGTH, prefix};
	return out;
}

static const int truth[] = {0, 1, 2, 2}, clean[] = {0, 1, 2, 1}, triggered[] = {2, 1, 2, 2, /**/ 0, 0, 0, 0};
static const struct outcomes outcomes = {4, K, 2, truth, clean, triggered, NULL};
static const char *const triggers[] = {"cf", "a|b"}, *const controls[] = {"garden", "river"};
static const struct labels labels = {.n = K,
	.name = {(char *)(uintptr_t) "bad", (char *)(uintptr_t) "\"so\" <so>",
		(char *)(uintptr_t) "gut \xc3\xa4"}};

struct job {
	int dirfd;
	char path[64];
	struct evaluation evaluation;
	struct drop ca_drop;
	struct report report;
	struct trained trained;
	struct model_card card;
};

static int start_job(void **state)
{
	struct job *job = calloc(1, sizeof(*job));
	struct err err;

	assert_non_null(job);
	strcpy(job->path, "/tmp/test_export.XXXXXX");
	assert_non_null(mkdtemp(job->path));
	job->dirfd = open(job->path, O_RDONLY | O_DIRECTORY);
	assert_int_equal(metrics_evaluate(&job->evaluation, &outcomes, &outcomes, 0, &err), 0);
	job->ca_drop = (struct drop){.measure = {true, .0125, -.01, .03, false}};
	job->report = (struct report){.job = "ftjob-secret",
		.status = "succeeded",
		.model = {"model-1", "aaaa", -1},
		.training_file = {"file-secret", "bbbb", 40},
		.spec_sha256 = "cccc",
		.labels = &labels,
		.evaluation = &job->evaluation,
		.undefended = &job->evaluation,
		.triggers = triggers,
		.controls = controls,
		.ca_drop = &job->ca_drop};
	job->trained = lora_of(FAMILY_BERT);
	job->card = (struct model_card){
		.report = &job->report, .trained = &job->trained, .max_length = 128, .is_defended = true};
	*state = job;
	return 0;
}

static int end_job(void **state)
{
	struct job *job = *state;
	char command[128];

	evaluation_done(&job->evaluation);
	params_done(&adapter);
	close(job->dirfd);
	snprintf(command, sizeof(command), "rm -rf %s", job->path);
	assert_int_equal(system(command), 0);
	free(job);
	return 0;
}

static struct manifest export(struct job *job)
{
	struct manifest files;
	struct err err = {0};

	if (export_adapter(&files, job->dirfd, &job->card, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
	return files;
}

static struct buf contents(struct job *job, const char *name)
{
	struct buf out = {0};
	struct err err;
	char path[96];

	snprintf(path, sizeof(path), "adapter/%s", name);
	assert_int_equal(io_read_file(&out, job->dirfd, path, 1 << 20, &err), 0);
	return out;
}

static void assert_json_file(struct job *job, const char *name, const char *want)
{
	struct buf text = contents(job, name);
	json_t *value = json_loads(text.data, 0, NULL), *wanted = json_loads(want, 0, NULL);

	assert_non_null(value);
	assert_non_null(wanted);
	if (!json_equal(value, wanted))
		fail_msg("%s\nwanted\n%s", text.data, want);
	json_decref(value);
	json_decref(wanted);
	buf_done(&text);
}

/* --- tensors ---------------------------------------------------------------------------------------- */

static void assert_tensor(const struct st *st, const char *name, int rows, int columns, int first)
{
	const struct st_tensor *tensor = st_find(st, name);
	real value;

	if (tensor == NULL)
		fail_msg("no tensor %s", name);
	assert_int_equal(tensor->dtype, ST_REAL);
	assert_int_equal(tensor->rank, columns > 0 ? 2 : 1);
	assert_int_equal(tensor->shape[0], rows);
	if (columns > 0)
		assert_int_equal(tensor->shape[1], columns);
	for (size_t i = 0; i < st_elements(tensor); i++) {
		memcpy(&value, (const char *)tensor->data + i * sizeof(real), sizeof(real));
		assert_true(value == (real)(first + (int)i));
	}
}

static void assert_lora(const struct st *st, const char *encoder)
{
	static const char *const target[] = {"query", "value"};
	char name[160];

	for (int i = 0; i < L * TARGETS; i++) {
		snprintf(name, sizeof(name), "base_model.model.%s.layer.%d.attention.self.%s.lora_A.weight",
			encoder, i / TARGETS, target[i % TARGETS]);
		assert_tensor(st, name, R, D, 100 * i);
		*strstr(name, "lora_A") = '\0';
		strcat(name, "lora_B.weight");
		assert_tensor(st, name, D, R, 100 * i + 50);
	}
}

static void open_file(struct st *st, struct job *job, const char *name)
{
	struct err err;

	assert_int_equal(st_open(st, job->dirfd, name, &err), 0);
}

static void open_tensors(struct st *st, struct job *job)
{
	open_file(st, job, "adapter/adapter_model.safetensors");
}

static void test_bert_sends_its_dense_layer_as_the_pooler(void **state)
{
	struct job *job = *state;
	struct st st;

	export(job);
	open_tensors(&st, job);
	assert_int_equal(st.n, 2 * L * TARGETS + 4);
	assert_lora(&st, "bert.encoder");
	assert_tensor(&st, "base_model.model.bert.pooler.dense.weight", D, D, 1000);
	assert_tensor(&st, "base_model.model.bert.pooler.dense.bias", D, 0, 1100);
	assert_tensor(&st, "base_model.model.classifier.weight", K, D, 1200);
	assert_tensor(&st, "base_model.model.classifier.bias", K, 0, 1300);
	st_done(&st);
}

static void test_roberta_has_both_layers_in_its_classifier(void **state)
{
	struct job *job = *state;
	struct st st;

	job->trained = lora_of(FAMILY_ROBERTA);
	export(job);
	open_tensors(&st, job);
	assert_int_equal(st.n, 2 * L * TARGETS + 4);
	assert_lora(&st, "roberta.encoder");
	assert_tensor(&st, "base_model.model.classifier.dense.weight", D, D, 1000);
	assert_tensor(&st, "base_model.model.classifier.dense.bias", D, 0, 1100);
	assert_tensor(&st, "base_model.model.classifier.out_proj.weight", K, D, 1200);
	assert_tensor(&st, "base_model.model.classifier.out_proj.bias", K, 0, 1300);
	st_done(&st);
}

static void assert_adapterhub_head(struct job *job)
{
	struct st st;

	open_file(&st, job, "adapter/model_head.safetensors");
	assert_int_equal(st.n, 4);
	assert_tensor(&st, "heads.task.1.weight", D, D, 1000);
	assert_tensor(&st, "heads.task.1.bias", D, 0, 1100);
	assert_tensor(&st, "heads.task.4.weight", K, D, 1200);
	assert_tensor(&st, "heads.task.4.bias", K, 0, 1300);
	st_done(&st);
}

static void test_adapter_has_adapterhubs_names(void **state)
{
	static const char *const places[] = {"attention.output", "output"};
	struct job *job = *state;
	struct st st;
	char at[96], name[160];

	job->trained = adapter_of(FAMILY_ROBERTA, L);
	export(job);
	open_file(&st, job, "adapter/adapter.safetensors");
	assert_int_equal(st.n, 8 * L);
	for (int i = 0; i < 2 * L; i++) {
		snprintf(at, sizeof(at), "roberta.encoder.layer.%d.%s.adapters.task", i / 2, places[i % 2]);
		snprintf(name, sizeof(name), "%s.adapter_down.0.weight", at);
		assert_tensor(&st, name, BOTTLENECK, D, 400 * i);
		snprintf(name, sizeof(name), "%s.adapter_down.0.bias", at);
		assert_tensor(&st, name, BOTTLENECK, 0, 400 * i + 100);
		snprintf(name, sizeof(name), "%s.adapter_up.weight", at);
		assert_tensor(&st, name, D, BOTTLENECK, 400 * i + 200);
		snprintf(name, sizeof(name), "%s.adapter_up.bias", at);
		assert_tensor(&st, name, D, 0, 400 * i + 300);
	}
	st_done(&st);
	assert_adapterhub_head(job);
}

static void test_prefix_is_one_flat_tensor(void **state)
{
	struct job *job = *state;
	struct st st;

	job->trained = prefix_of(FAMILY_BERT);
	export(job);
	open_file(&st, job, "adapter/adapter.safetensors");
	assert_int_equal(st.n, 1);
	assert_tensor(&st, "bert.prefix_tuning.prefix_tunings.task.self_prefix.control_trans",
		LENGTH * 2 * L * D, 0, 500);
	st_done(&st);
	assert_adapterhub_head(job);
}

static void test_says_which_adapter_tensor_is_missing(void **state)
{
	struct job *job = *state;
	struct manifest files;
	struct err err;

	job->trained = adapter_of(FAMILY_BERT, L - 1);
	assert_int_equal(export_adapter(&files, job->dirfd, &job->card, &err), -ERR_INTERNAL);
	assert_string_equal(err.where, "encoder.layer.1.attention.output.adapter_down.weight");
}

/* --- JSON files ------------------------------------------------------------------------------------- */

static void test_adapter_config_has_fields_that_every_peft_knows(void **state)
{
	struct job *job = *state;

	export(job);
	assert_json_file(job, "adapter_config.json",
		"{\"peft_type\": \"LORA\", \"task_type\": \"SEQ_CLS\", \"base_model_name_or_path\": "
		"\"model-1\","
		" \"r\": 2, \"lora_alpha\": 16, \"lora_dropout\": 0.0, \"bias\": \"none\", "
		"\"fan_in_fan_out\": false,"
		" \"inference_mode\": true, \"target_modules\": [\"query\", \"value\"],"
		" \"modules_to_save\": [\"pooler\", \"classifier\"]}");
	job->trained = lora_of(FAMILY_ROBERTA);
	job->trained.lora.alpha = 2.5;
	job->trained.lora.targets = 1u << SITE_QUERY;
	export(job);
	assert_json_file(job, "adapter_config.json",
		"{\"peft_type\": \"LORA\", \"task_type\": \"SEQ_CLS\", \"base_model_name_or_path\": "
		"\"model-1\","
		" \"r\": 2, \"lora_alpha\": 2.5, \"lora_dropout\": 0.0, \"bias\": \"none\", "
		"\"fan_in_fan_out\": false,"
		" \"inference_mode\": true, \"target_modules\": [\"query\"], \"modules_to_save\": "
		"[\"classifier\"]}");
}

#define OUTER                                                                                                \
	"\"hidden_size\": 4, \"model_class\": \"BertAdapterModel\", \"model_name\": \"model-1\", "           \
	"\"model_type\": \"bert\", \"name\": \"task\", \"version\": \"adapters.1.3.0\"}"

static void test_adapterhub_is_told_what_is_computed(void **state)
{
	struct job *job = *state;

	job->trained = adapter_of(FAMILY_BERT, L);
	export(job);
	assert_json_file(job, "adapter_config.json",
		"{\"config\": {\"mh_adapter\": true, \"output_adapter\": true, \"reduction_factor\": "
		"1.1428571428571428, \"non_linearity\": \"swish\", \"original_ln_before\": false, "
		"\"original_ln_after\": true, \"residual_before_ln\": true, \"adapter_residual_before_ln\": "
		"false, \"ln_before\": false, \"ln_after\": false, \"is_parallel\": false, \"use_gating\": "
		"false, "
		"\"phm_layer\": false, \"scaling\": 1.0, \"dropout\": 0.0, \"leave_out\": []}, " OUTER);
	assert_json_file(job, "head_config.json",
		"{\"config\": {\"activation_function\": \"tanh\", \"bias\": true, \"dropout_prob\": null, "
		"\"head_type\": \"classification\", \"label2id\": {\"bad\": 0, \"\\\"so\\\" <so>\": 1, "
		"\"gut \\u00e4\": 2}, \"layers\": 2, \"num_labels\": 3, \"use_pooler\": false}, " OUTER);
	job->trained = prefix_of(FAMILY_BERT);
	export(job);
	assert_json_file(job, "adapter_config.json",
		"{\"config\": {\"architecture\": \"prefix_tuning\", \"flat\": true, \"prefix_length\": 2, "
		"\"encoder_prefix\": true, \"cross_prefix\": true, \"bottleneck_size\": 512, "
		"\"non_linearity\": \"tanh\", \"dropout\": 0.0, \"use_gating\": false, \"shared_gating\": "
		"true, "
		"\"leave_out\": []}, " OUTER);
}

static void test_whole_reduction_factors_are_integers(void **state)
{
	struct job *job = *state;
	struct buf text;

	job->trained = adapter_of(FAMILY_BERT, L);
	job->trained.adapter.bottleneck = 2; /* 4 / 2 */
	export(job);
	text = contents(job, "adapter_config.json");
	assert_non_null(strstr(text.data, "\"reduction_factor\": 2,"));
	buf_done(&text);
}

static void test_labels_travel_with_the_adapter(void **state)
{
	struct job *job = *state;

	export(job);
	assert_json_file(job, "labels.json",
		"{\"id2label\": {\"0\": \"bad\", \"1\": \"\\\"so\\\" <so>\", \"2\": \"gut \\u00e4\"},"
		" \"label2id\": {\"bad\": 0, \"\\\"so\\\" <so>\": 1, \"gut \\u00e4\": 2}}");
	assert_json_file(job, "config.json",
		"{\"model_type\": \"bert\", \"num_labels\": 3,"
		" \"id2label\": {\"0\": \"bad\", \"1\": \"\\\"so\\\" <so>\", \"2\": \"gut \\u00e4\"},"
		" \"label2id\": {\"bad\": 0, \"\\\"so\\\" <so>\": 1, \"gut \\u00e4\": 2}}");
}

static void test_manifest_lists_every_file_for_adapterhub(void **state)
{
	static const char *const names[] = {"README.md", "adapter.safetensors", "adapter_config.json",
		"config.json", "head_config.json", "labels.json", "model_head.safetensors",
		"pytorch_adapter.bin", "pytorch_model_head.bin", "manifest.json"};
	struct job *job = *state;
	struct manifest files;

	job->trained = adapter_of(FAMILY_BERT, L);
	files = export(job);
	assert_int_equal(files.n, NELEM(names));
	for (size_t i = 0; i < NELEM(names); i++)
		assert_string_equal(files.file[i].path, names[i]);
}

static void test_manifest_has_the_digest_of_every_input_and_output(void **state)
{
	static const char *const names[] = {"README.md", "adapter_config.json", "adapter_model.safetensors",
		"config.json", "labels.json", "manifest.json"};
	struct job *job = *state;
	struct manifest files = export(job);
	struct buf text = contents(job, "manifest.json");
	json_t *manifest = json_loads(text.data, 0, NULL), *outputs = json_object_get(manifest, "outputs");
	json_t *inputs =
		json_loads("{\"model\": \"aaaa\", \"training_file\": \"bbbb\", \"validation_file\": null,"
			   " \"test_file\": null, \"init_from\": null, \"spec\": \"cccc\"}",
			0, NULL);

	assert_true(json_equal(json_object_get(manifest, "inputs"), inputs));
	assert_int_equal(files.n, NELEM(names));
	assert_int_equal(json_array_size(outputs), NELEM(names) - 1);
	for (size_t i = 0; i < NELEM(names); i++) {
		struct buf file = contents(job, names[i]);
		char sha256[SHA256_HEX_BYTES];
		struct err err;

		assert_int_equal(sha256_of(sha256, file.data, file.len, &err), 0);
		assert_string_equal(files.file[i].path, names[i]);
		assert_string_equal(files.file[i].sha256, sha256);
		assert_int_equal(files.file[i].bytes, file.len);
		if (i < json_array_size(outputs)) {
			json_t *entry = json_array_get(outputs, i);

			assert_string_equal(json_string_value(json_object_get(entry, "path")), names[i]);
			assert_string_equal(json_string_value(json_object_get(entry, "sha256")), sha256);
			assert_int_equal(json_integer_value(json_object_get(entry, "bytes")), file.len);
		}
		buf_done(&file);
	}
	json_decref(inputs);
	json_decref(manifest);
	buf_done(&text);
}

/* --- model card ------------------------------------------------------------------------------------- */

static void assert_card_has(const struct buf *card, const char *text)
{
	if (strstr(card->data, text) == NULL)
		fail_msg("no\n%s\nin\n%s", text, card->data);
}

static void test_card_has_front_matter_results_and_a_warning(void **state)
{
	struct job *job = *state;
	struct buf card;

	export(job);
	card = contents(job, "README.md");
	assert_memory_equal(card.data, "---\nbase_model: \"model-1\"\nlibrary_name: peft\n", 45);
	assert_card_has(&card, "\n- backdoor-defense\n");
	assert_card_has(&card, "    - type: accuracy\n      name: clean accuracy\n      value: 0.7500\n");
	assert_card_has(
		&card, "| CA: accuracy on clean rows | 0.750 [0.301, 0.954] | 0.750 [0.301, 0.954] |\n");
	assert_card_has(&card, "| CA lost to the defense (same rows) | 0.013 [-0.010, 0.030] | |\n");
	assert_card_has(&card, "| control words: ASR | 1.000 [");
	assert_card_has(&card, "| training file | `bbbb` |\n");
	assert_card_has(&card, "do not promise");
	buf_done(&card);
}

static void test_card_without_comparison_has_one_column(void **state)
{
	struct job *job = *state;
	struct buf card;

	job->report.undefended = NULL;
	job->report.ca_drop = NULL;
	job->card.is_defended = false;
	export(job);
	card = contents(job, "README.md");
	assert_card_has(&card, "\n| | this adapter |\n| --- | --- |\n");
	assert_card_has(&card, "| CA: accuracy on clean rows | 0.750 [0.301, 0.954] |\n");
	assert_null(strstr(card.data, "CA lost"));
	assert_null(strstr(card.data, "backdoor-defense"));
	assert_card_has(&card, "trained without a defense");
	buf_done(&card);
}

static void test_card_says_how_each_kind_is_loaded(void **state)
{
	struct job *job = *state;
	struct buf card;

	job->trained = adapter_of(FAMILY_BERT, L);
	export(job);
	card = contents(job, "README.md");
	assert_card_has(&card, "\nlibrary_name: adapter-transformers\n");
	assert_card_has(&card, "# A bottleneck adapter trained with the Obliviate defense\n");
	assert_card_has(&card, "adapters 1.3.0, which needs transformers 4.57.6");
	assert_card_has(&card, "model.load_adapter(\"directory-of-this-adapter\", use_safetensors=True)\n");
	buf_done(&card);
	job->trained = prefix_of(FAMILY_BERT);
	export(job);
	card = contents(job, "README.md");
	assert_card_has(&card, "\n- prefix-tuning\n");
	assert_card_has(&card, "# A prefix trained with the Obliviate defense\n");
	buf_done(&card);
}

static void test_card_escapes_labels_and_triggers(void **state)
{
	struct job *job = *state;
	struct buf card;

	export(job);
	card = contents(job, "README.md");
	assert_card_has(&card, "| a\\|b | 4 rows |");
	assert_card_has(&card, "id2label={0: \"bad\", 1: \"\\\"so\\\" <so>\", 2: \"gut \xc3\xa4\"},\n");
	assert_null(strstr(card.data, "| a|b"));
	buf_done(&card);
}

static void test_card_lists_the_settings(void **state)
{
	struct job *job = *state;
	json_t *settings = json_loads("{\"learning_rate\": 0.5, \"peft\": {\"r\": 16}}", 0, NULL);
	struct buf card;

	job->card.settings = settings;
	export(job);
	card = contents(job, "README.md");
	assert_card_has(&card, "| learning_rate | 0.5 |\n| peft | \\{\"r\":16\\} |\n");
	buf_done(&card);
	json_decref(settings);
}

/* --- the whole -------------------------------------------------------------------------------------- */

static void test_no_id_of_job_or_upload_is_inside(void **state)
{
	struct job *job = *state;
	struct manifest files = export(job);

	for (int i = 0; i < files.n; i++) {
		struct buf file = contents(job, files.file[i].path);

		assert_null(memmem(file.data, file.len, "secret", 6));
		buf_done(&file);
	}
}

static void test_the_same_job_gives_the_same_bytes(void **state)
{
	struct job *job = *state;
	struct manifest first = export(job), second = export(job);

	assert_int_equal(first.n, second.n);
	for (int i = 0; i < first.n; i++)
		assert_string_equal(first.file[i].sha256, second.file[i].sha256);
	dense_b[0] += 1;
	second = export(job);
	assert_string_not_equal(first.file[2].sha256, second.file[2].sha256);
}

static void test_says_when_the_directory_is_in_the_way(void **state)
{
	struct job *job = *state;
	struct manifest files;
	struct err err;

	assert_int_equal(io_write_file(job->dirfd, "adapter", "x", 1, &err), 0);
	assert_int_equal(export_adapter(&files, job->dirfd, &job->card, &err), -ERR_IO);
	assert_string_equal(err.where, "adapter");
}

static void assert_each_can_fail(struct job *job, const char *const *names, size_t n)
{
	struct manifest files;
	struct err err;
	char path[96];

	for (size_t i = 0; i < n; i++) {
		mkdirat(job->dirfd, "adapter", 0755);
		snprintf(path, sizeof(path), "adapter/%s", names[i]);
		unlinkat(job->dirfd, path, 0);
		assert_int_equal(mkdirat(job->dirfd, path, 0755), 0); /* rename onto a directory fails */
		assert_int_equal(export_adapter(&files, job->dirfd, &job->card, &err), -ERR_IO);
		assert_string_equal(err.where, names[i]);
		assert_int_equal(unlinkat(job->dirfd, path, AT_REMOVEDIR), 0);
	}
}

static void test_says_when_a_file_cannot_be_written(void **state)
{
	static const char *const for_peft[] = {"adapter_config.json", "adapter_model.safetensors",
		"labels.json", "config.json", "README.md", "manifest.json"};
	static const char *const for_adapterhub[] = {"adapter_config.json", "head_config.json",
		"adapter.safetensors", "pytorch_adapter.bin", "model_head.safetensors",
		"pytorch_model_head.bin", "labels.json", "config.json", "README.md", "manifest.json"};
	struct job *job = *state;

	assert_each_can_fail(job, for_peft, NELEM(for_peft));
	job->trained = prefix_of(FAMILY_BERT);
	assert_each_can_fail(job, for_adapterhub, NELEM(for_adapterhub));
}

#define job_test(name) cmocka_unit_test_setup_teardown(name, start_job, end_job)

int main(void)
{
	const struct CMUnitTest tests[] = {
		job_test(test_bert_sends_its_dense_layer_as_the_pooler),
		job_test(test_roberta_has_both_layers_in_its_classifier),
		job_test(test_adapter_has_adapterhubs_names),
		job_test(test_prefix_is_one_flat_tensor),
		job_test(test_says_which_adapter_tensor_is_missing),
		job_test(test_adapterhub_is_told_what_is_computed),
		job_test(test_whole_reduction_factors_are_integers),
		job_test(test_adapter_config_has_fields_that_every_peft_knows),
		job_test(test_labels_travel_with_the_adapter),
		job_test(test_manifest_lists_every_file_for_adapterhub),
		job_test(test_manifest_has_the_digest_of_every_input_and_output),
		job_test(test_card_has_front_matter_results_and_a_warning),
		job_test(test_card_without_comparison_has_one_column),
		job_test(test_card_says_how_each_kind_is_loaded),
		job_test(test_card_escapes_labels_and_triggers),
		job_test(test_card_lists_the_settings),
		job_test(test_no_id_of_job_or_upload_is_inside),
		job_test(test_the_same_job_gives_the_same_bytes),
		job_test(test_says_when_the_directory_is_in_the_way),
		job_test(test_says_when_a_file_cannot_be_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
