#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "common/io.h"
#include "common/json.h"
#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"
#include "worker/data/safetensors.h"
#include "worker/export/merged.h"

enum { K = 3, R = 2, MAPS_MAX = 9 };

/* --- a small job ------------------------------------------------------------------------------------ */

static const int truth[] = {0, 1, 2}, clean[] = {0, 1, 1}, triggered[] = {1, 1, 1};
static const struct outcomes outcomes = {3, K, 1, truth, clean, triggered, NULL};
static const char *const triggers[] = {"cf"};
static const struct labels labels = {
	.n = K, .name = {(char *)(uintptr_t) "bad", (char *)(uintptr_t) "good", (char *)(uintptr_t) "odd"}};

struct job {
	struct scratch base;
	char path[64];
	int out_fd;
	struct random_model model;
	const real *A[MAPS_MAX], *B[MAPS_MAX];
	struct evaluation evaluation;
	struct report report;
	struct trained trained;
	struct model_card card;
	struct merged merged;
};

static void fill_lora(struct job *job, const struct config *config)
{
	struct lora *lora = &job->trained.lora;

	*lora = (struct lora){.L = config->L,
		.D = config->D,
		.r = R,
		.alpha = 3,
		.targets = 1u << SITE_QUERY | 1u << SITE_VALUE,
		.A = job->A,
		.B = job->B};
	for (int i = 0; i < lora_maps(lora); i++) {
		job->A[i] = normals((size_t)(R * config->D), 1);
		job->B[i] = normals((size_t)(R * config->D), 1);
	}
}

static void fill_trained(struct job *job, const struct config *config)
{
	int D = config->D;

	job->trained = (struct trained){.peft = SPEC_LORA,
		.model_id = "model-1",
		.family = config->family,
		.L = config->L,
		.D = D,
		.K = K,
		.dense_w = normals((size_t)(D * D), 1),
		.dense_b = normals((size_t)D, 1),
		.out_w = normals((size_t)(K * D), 1),
		.out_b = normals(K, 1)};
	fill_lora(job, config);
}

static struct job *new_job(const struct config *config)
{
	struct job *job = calloc(1, sizeof(*job));
	struct err err;

	assert_non_null(job);
	scratch_init(&job->base);
	scratch_write_text(&job->base, "vocab.txt", "[PAD]\n[UNK]\n");
	scratch_write_text(&job->base, "tokenizer_config.json", "{}");
	scratch_write_text(&job->base, "unrelated.py", "import os");
	strcpy(job->path, "/tmp/test_merged.XXXXXX");
	assert_non_null(mkdtemp(job->path));
	job->out_fd = open(job->path, O_RDONLY | O_DIRECTORY);
	random_model_init(&job->model, config);
	fill_trained(job, config);
	assert_int_equal(metrics_evaluate(&job->evaluation, &outcomes, NULL, 0, &err), 0);
	job->report = (struct report){.status = "succeeded",
		.model = {"model-1", "aaaa", -1},
		.spec_sha256 = "cccc",
		.labels = &labels,
		.evaluation = &job->evaluation,
		.triggers = triggers};
	job->card = (struct model_card){.report = &job->report,
		.trained = &job->trained,
		.max_length = 128,
		.is_defended = true,
		.is_merged = true};
	job->merged = (struct merged){.card = &job->card,
		.config = &job->model.config,
		.weights = &job->model.weights,
		.kernels = kernels_best(),
		.model_fd = job->base.fd};
	return job;
}

static int start_bert(void **state)
{
	*state = new_job(&SMALL_BERT);
	return 0;
}

static int start_roberta(void **state)
{
	*state = new_job(&SMALL_ROBERTA);
	return 0;
}

static int end_job(void **state)
{
	struct job *job = *state;
	char command[128];

	evaluation_done(&job->evaluation);
	numbers_free();
	scratch_done(&job->base);
	close(job->out_fd);
	snprintf(command, sizeof(command), "rm -rf %s", job->path);
	assert_int_equal(system(command), 0);
	free(job);
	return 0;
}

static struct manifest merge(struct job *job)
{
	struct manifest files;
	struct err err = {0};

	if (merged_write(&files, job->out_fd, &job->merged, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
	return files;
}

/* merged/, opened. */
static int merged_fd(const struct job *job)
{
	int fd = openat(job->out_fd, "merged", O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	return fd;
}

/* --- weights ---------------------------------------------------------------------------------------- */

static void assert_folded(const real *got, const real *base, const struct lora *lora, int map)
{
	int D = lora->D;

	for (int i = 0; i < D; i++)
		for (int j = 0; j < D; j++) {
			double want = base[i * D + j];

			for (int k = 0; k < R; k++)
				want += 1.5 * (double)lora->B[map][i * R + k] *
					(double)lora->A[map][k * D + j];
			assert_true(fabs((double)got[i * D + j] - want) < 1e-5 * (1 + fabs(want)));
		}
}

static void test_lora_is_added_to_its_targets_and_nowhere_else(void **state)
{
	struct job *job = *state;
	const struct weights *base = &job->model.weights;
	size_t D = (size_t)job->model.config.D;
	struct config config;
	struct weights merged;
	struct err err;
	int fd;

	merge(job);
	fd = merged_fd(job);
	assert_int_equal(config_read(&config, fd, &err), 0);
	assert_int_equal(weights_open(&merged, fd, &config, &err), 0);
	for (int layer = 0; layer < config.L; layer++) {
		const struct layer_weights *got = &merged.layer[layer], *had = &base->layer[layer];

		assert_folded(got->q_w, had->q_w, &job->trained.lora, 2 * layer);
		assert_folded(got->v_w, had->v_w, &job->trained.lora, 2 * layer + 1);
		assert_memory_equal(got->k_w, had->k_w, D * D * sizeof(real));
		assert_memory_equal(got->q_b, had->q_b, D * sizeof(real));
		assert_memory_equal(got->ln2_w, had->ln2_w, D * sizeof(real));
	}
	assert_memory_equal(merged.word, base->word, (size_t)config.V * D * sizeof(real));
	weights_done(&merged);
	close(fd);
}

static void assert_head(struct job *job, const char *dense, const char *out)
{
	int D = job->trained.D;
	const struct {
		const char *layer, *part;
		const real *want;
		int n;
	} parts[] = {{dense, "weight", job->trained.dense_w, D * D}, {dense, "bias", job->trained.dense_b, D},
		{out, "weight", job->trained.out_w, K * D}, {out, "bias", job->trained.out_b, K}};
	struct st st;
	struct err err;

	merge(job);
	assert_int_equal(st_open(&st, job->out_fd, "merged/model.safetensors", &err), 0);
	for (size_t i = 0; i < NELEM(parts); i++) {
		const struct st_tensor *tensor;
		char name[64];

		snprintf(name, sizeof(name), "%s.%s", parts[i].layer, parts[i].part);
		tensor = st_find(&st, name);
		assert_non_null(tensor);
		assert_int_equal(st_elements(tensor), parts[i].n);
		assert_memory_equal(tensor->data, parts[i].want, (size_t)parts[i].n * sizeof(real));
	}
	st_done(&st);
}

static void test_berts_dense_layer_is_the_pooler(void **state)
{
	assert_head(*state, "bert.pooler.dense", "classifier");
}

static void test_robertas_head_is_its_classifier(void **state)
{
	assert_head(*state, "classifier.dense", "classifier.out_proj");
}

/* --- the other files -------------------------------------------------------------------------------- */

static json_t *read_config(struct job *job)
{
	struct buf text = {0};
	struct err err;
	json_t *out;

	merge(job);
	assert_int_equal(io_read_file(&text, job->out_fd, "merged/config.json", 1 << 16, &err), 0);
	assert_int_equal(json_parse(&out, text.data, text.len, "config.json", &err), 0);
	buf_done(&text);
	return out;
}

static void test_config_reads_back_as_the_bases(void **state)
{
	struct job *job = *state;
	struct config config;
	struct err err;
	int fd;

	merge(job);
	fd = merged_fd(job);
	assert_int_equal(config_read(&config, fd, &err), 0);
	assert_string_equal(config.model_type, job->model.config.model_type);
	config.model_type = job->model.config.model_type;
	assert_memory_equal(&config, &job->model.config, sizeof(config));
	close(fd);
}

static void test_config_has_class_and_labels(void **state)
{
	struct job *job = *state;
	json_t *config = read_config(job);
	json_t *want = json_loads("{\"bad\": 0, \"good\": 1, \"odd\": 2}", 0, NULL);

	assert_string_equal(json_string_value(json_array_get(json_object_get(config, "architectures"), 0)),
		"BertForSequenceClassification");
	assert_int_equal(json_integer_value(json_object_get(config, "num_labels")), K);
	assert_true(json_equal(json_object_get(config, "label2id"), want));
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(config, "id2label"), "2")), "odd");
	json_decref(want);
	json_decref(config);
}

static void test_tokenizer_is_copied_and_nothing_else_of_the_base(void **state)
{
	static const char *const names[] = {"README.md", "config.json", "model.safetensors",
		"tokenizer_config.json", "vocab.txt", "manifest.json"};
	struct job *job = *state;
	struct manifest files = merge(job);
	struct buf text = {0};
	struct err err;

	assert_int_equal(files.n, NELEM(names));
	for (size_t i = 0; i < NELEM(names); i++)
		assert_string_equal(files.file[i].path, names[i]);
	assert_int_equal(io_read_file(&text, job->out_fd, "merged/vocab.txt", 100, &err), 0);
	assert_string_equal(text.data, "[PAD]\n[UNK]\n");
	assert_int_equal(faccessat(job->out_fd, "merged/unrelated.py", F_OK, 0), -1);
	buf_done(&text);
}

static void test_card_says_that_it_is_a_whole_model(void **state)
{
	struct job *job = *state;
	struct buf text = {0};
	struct err err;

	merge(job);
	assert_int_equal(io_read_file(&text, job->out_fd, "merged/README.md", 1 << 16, &err), 0);
	assert_non_null(strstr(text.data, "\nlibrary_name: transformers\n"));
	assert_non_null(
		strstr(text.data, "# A model with a LoRA merged in, trained with the Obliviate defense\n"));
	assert_non_null(strstr(text.data, "base = \"directory-of-this-model\"\n"));
	assert_null(strstr(text.data, "PeftModel"));
	buf_done(&text);
}

static void test_the_same_job_gives_the_same_bytes(void **state)
{
	struct manifest first = merge(*state), second = merge(*state);

	for (int i = 0; i < first.n; i++)
		assert_string_equal(first.file[i].sha256, second.file[i].sha256);
}

static void test_says_when_a_file_cannot_be_written(void **state)
{
	static const char *const names[] = {
		"config.json", "vocab.txt", "model.safetensors", "README.md", "manifest.json"};
	struct job *job = *state;
	struct manifest files;
	struct err err;
	char path[96];

	for (size_t i = 0; i < NELEM(names); i++) {
		mkdirat(job->out_fd, "merged", 0755);
		snprintf(path, sizeof(path), "merged/%s", names[i]);
		unlinkat(job->out_fd, path, 0);
		assert_int_equal(mkdirat(job->out_fd, path, 0755), 0); /* rename onto a directory fails */
		assert_int_equal(merged_write(&files, job->out_fd, &job->merged, &err), -ERR_IO);
		assert_string_equal(err.where, names[i]);
		assert_int_equal(unlinkat(job->out_fd, path, AT_REMOVEDIR), 0);
	}
}

static void test_refuses_a_link_in_the_directorys_place(void **state)
{
	struct job *job = *state;
	struct manifest files;
	struct err err;

	assert_int_equal(symlinkat("/tmp", job->out_fd, "merged"), 0);
	assert_int_equal(merged_write(&files, job->out_fd, &job->merged, &err), -ERR_IO);
	assert_string_equal(err.where, "merged");
}

#define bert_test(name)	   cmocka_unit_test_setup_teardown(name, start_bert, end_job)
#define roberta_test(name) cmocka_unit_test_setup_teardown(name, start_roberta, end_job)

int main(void)
{
	const struct CMUnitTest tests[] = {
		bert_test(test_lora_is_added_to_its_targets_and_nowhere_else),
		roberta_test(test_lora_is_added_to_its_targets_and_nowhere_else),
		bert_test(test_berts_dense_layer_is_the_pooler),
		roberta_test(test_robertas_head_is_its_classifier),
		bert_test(test_config_reads_back_as_the_bases),
		roberta_test(test_config_reads_back_as_the_bases),
		bert_test(test_config_has_class_and_labels),
		bert_test(test_tokenizer_is_copied_and_nothing_else_of_the_base),
		bert_test(test_card_says_that_it_is_a_whole_model),
		bert_test(test_the_same_job_gives_the_same_bytes),
		bert_test(test_says_when_a_file_cannot_be_written),
		bert_test(test_refuses_a_link_in_the_directorys_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
