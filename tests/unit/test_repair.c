#include "tests/unit/random_model.h"

#include <stdio.h>

#include "tests/unit/scratch.h"
#include "worker/data/safetensors.h"
#include "worker/export/adapterhub_format.h"
#include "worker/export/peft_format.h"
#include "worker/repair.h"

enum { R = 2, K = 3, BOTTLENECK = 3, LENGTH = 2 };

/* --- an old adapter in the data directory, and a new job that starts from it ------------------------- */

struct fixture {
	struct scratch data;
	struct random_model base;
	struct params params;
	struct peft peft;
	struct spec spec;
	struct repair repair;
	struct err err;
};

static const struct labels labels = {
	.n = K, .name = {(char *)(uintptr_t) "a", (char *)(uintptr_t) "b", (char *)(uintptr_t) "c"}};
static const struct peft_options options = {.r = R,
	.alpha = 4,
	.targets = 1u << SITE_QUERY | 1u << SITE_VALUE,
	.bottleneck = BOTTLENECK,
	.activation = KERNEL_SILU,
	.length = LENGTH,
	.mlp_width = 4};

static int start(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	scratch_init(&f->data);
	random_model_init(&f->base, &SMALL_BERT);
	strcpy(f->spec.peft.init_from.id, "ftjob-old");
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;

	repair_done(&f->repair);
	peft_done(&f->peft);
	params_done(&f->params);
	scratch_done(&f->data);
	numbers_free();
	free(f);
	return 0;
}

static void declare(struct fixture *f, int type, const struct peft_method *method)
{
	struct peft_shape shape = {.L = f->base.config.L, .D = f->base.config.D, .H = f->base.config.H};

	f->spec.peft.type = type;
	assert_int_equal(
		peft_declare(&f->peft, method, &options, shape, &f->params, kernels_best(), &f->err), 0);
	assert_int_equal(params_alloc(&f->params, &f->err), 0);
}

static struct trained trained_of(const struct fixture *f, int type)
{
	size_t D = (size_t)f->base.config.D;

	return (struct trained){.peft = type,
		.model_id = "model-1",
		.family = FAMILY_BERT,
		.L = f->base.config.L,
		.D = f->base.config.D,
		.K = K,
		.dense_w = normals(D * D, 1),
		.dense_b = normals(D, 1),
		.out_w = normals(K * D, 1),
		.out_b = normals(K, 1)};
}

static struct lora random_lora(int L, int D, int r, double alpha, unsigned targets)
{
	struct lora lora = {.L = L, .D = D, .r = r, .alpha = alpha, .targets = targets};
	size_t maps = (size_t)lora_maps(&lora);
	const real **A = zeros_of(maps, sizeof(*A)), **B = zeros_of(maps, sizeof(*B));

	for (size_t i = 0; i < maps; i++) {
		A[i] = normals((size_t)(r * D), 1);
		B[i] = normals((size_t)(r * D), 1);
	}
	lora.A = A;
	lora.B = B;
	return lora;
}

static void rename_to_init(struct fixture *f, const char *tensors)
{
	assert_int_equal(renameat(f->data.fd, "adapter_config.json", f->data.fd, "init.json"), 0);
	assert_int_equal(renameat(f->data.fd, tensors, f->data.fd, "init.safetensors"), 0);
}

static struct lora give_lora(struct fixture *f)
{
	struct trained old = trained_of(f, SPEC_LORA);

	old.lora = random_lora(old.L, old.D, 3, 6, 1u << SITE_QUERY);
	assert_int_equal(peft_format_write(f->data.fd, &old, &f->err), 0);
	rename_to_init(f, "adapter_model.safetensors");
	return old.lora;
}

/* The old adapter has the new one's shapes: its values are `by` in every place. */
static void give_adapter(struct fixture *f, real by)
{
	struct trained old = trained_of(f, SPEC_ADAPTER);

	for (size_t i = 0; i < f->params.size; i++)
		f->params.w[i] = by;
	old.adapter = (struct trained_adapter){BOTTLENECK, "swish", &f->params};
	assert_int_equal(adapterhub_format_write(f->data.fd, &old, &labels, &f->err), 0);
	rename_to_init(f, "adapter.safetensors");
}

static const real *give_prefix(struct fixture *f, int length)
{
	struct trained old = trained_of(f, SPEC_PREFIX);

	old.prefix = (struct trained_prefix){
		length, normals((size_t)(length * 2 * f->base.config.L * f->base.config.D), 1)};
	assert_int_equal(adapterhub_format_write(f->data.fd, &old, &labels, &f->err), 0);
	rename_to_init(f, "adapter.safetensors");
	return old.prefix.flat;
}

static int open_repair(struct fixture *f)
{
	return repair_open(
		&f->repair, &f->spec, &f->base.config, &f->base.weights, &f->peft, f->data.fd, &f->err);
}

static void must_open(struct fixture *f)
{
	if (open_repair(f) != 0)
		fail_msg("%s: %s", f->err.where, f->err.text);
}

static void assert_refused(struct fixture *f, enum err_code code, const char *where)
{
	assert_int_equal(open_repair(f), -(int)code);
	assert_string_equal(f->err.where, where);
	repair_done(&f->repair);
}

/* --- what becomes of it ----------------------------------------------------------------------------- */

static void test_without_a_job_nothing_changes(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	f->spec.peft.init_from.id[0] = '\0';
	must_open(f);
	assert_ptr_equal(repair_weights(&f->repair, &f->base.weights), &f->base.weights);
	assert_null(repair_lora(&f->repair));
	assert_null(f->peft.origin);
	repair_start(&f->repair);
}

static void assert_close(const real *got, const real *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_true(fabs((double)got[i] - (double)want[i]) < 1e-4 * (1 + fabs((double)want[i])));
}

static void test_lora_is_folded_into_the_weights(void **state)
{
	struct fixture *f = *state;
	size_t n = (size_t)f->base.config.D * (size_t)f->base.config.D;
	const struct weights *weights;
	struct lora old;
	struct fold want;

	declare(f, SPEC_LORA, &peft_lora);
	old = give_lora(f);
	must_open(f);
	weights = repair_weights(&f->repair, &f->base.weights);
	assert_int_equal(
		fold_init(&want, &f->base.weights, &f->base.config, &old, kernels_best(), &f->err), 0);
	for (int layer = 0; layer < f->base.config.L; layer++) {
		assert_memory_equal(
			weights->layer[layer].q_w, want.weights.layer[layer].q_w, n * sizeof(real));
		assert_ptr_equal(weights->layer[layer].v_w, f->base.weights.layer[layer].v_w);
	}
	fold_done(&want);
}

static void test_both_loras_at_once_are_one_after_the_other(void **state)
{
	struct fixture *f = *state;
	const struct config *config = &f->base.config;
	struct lora first = random_lora(config->L, config->D, 3, 6, 1u << SITE_QUERY | 1u << SITE_KEY);
	struct lora second = random_lora(config->L, config->D, 2, 5, 1u << SITE_VALUE | 1u << SITE_QUERY);
	size_t n = (size_t)config->D * (size_t)config->D;
	struct fold one = {0}, two = {0}, both = {0};
	struct lora_joined joined;

	assert_int_equal(lora_join(&joined, &first, &second, &f->err), 0);
	assert_int_equal(joined.lora.r, 5);
	assert_true(joined.lora.alpha == 5);
	assert_int_equal(fold_init(&one, &f->base.weights, config, &first, kernels_best(), &f->err), 0);
	assert_int_equal(fold_init(&two, &one.weights, config, &second, kernels_best(), &f->err), 0);
	assert_int_equal(
		fold_init(&both, &f->base.weights, config, &joined.lora, kernels_best(), &f->err), 0);
	for (int layer = 0; layer < config->L; layer++) {
		assert_close(both.weights.layer[layer].q_w, two.weights.layer[layer].q_w, n);
		assert_close(both.weights.layer[layer].k_w, two.weights.layer[layer].k_w, n);
		assert_close(both.weights.layer[layer].v_w, two.weights.layer[layer].v_w, n);
	}
	lora_joined_done(&joined);
	fold_done(&one);
	fold_done(&two);
	fold_done(&both);
}

static void test_adapter_is_where_a_run_starts(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_ADAPTER, &peft_adapter);
	give_adapter(f, 7);
	must_open(f);
	for (size_t i = 0; i < f->params.size; i++)
		f->params.w[i] = 0;
	repair_start(&f->repair);
	for (int i = 0; i < f->params.n; i++)
		for (size_t j = 0; j < param_size(&f->params.param[i]); j++)
			assert_true(param_w(&f->params, i)[j] == 7);
}

static void test_prefix_is_added_to_what_the_mlp_makes(void **state)
{
	struct fixture *f = *state;
	size_t n = (size_t)(LENGTH * 2 * f->base.config.L * f->base.config.D);
	real *alone = zeros(n), *sum = zeros(n);
	const real *old;

	declare(f, SPEC_PREFIX, &peft_prefix);
	peft_prefix.init(&f->peft, 1);
	prefix_flatten(alone, &f->peft);
	old = give_prefix(f, LENGTH);
	must_open(f);
	prefix_flatten(sum, &f->peft);
	for (size_t i = 0; i < n; i++)
		assert_true(sum[i] == alone[i] + old[i]);
}

/* --- what is refused -------------------------------------------------------------------------------- */

static void test_files_that_are_not_there_are_named(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	assert_refused(f, ERR_INVALID_DATA, "init.json");
	give_lora(f);
	unlinkat(f->data.fd, "init.safetensors", 0);
	assert_refused(f, ERR_INVALID_DATA, "init.safetensors");
}

static void test_a_config_that_is_none_is_refused(void **state)
{
	static const char *const texts[] = {"", "[]", "{}",
		"{\"r\": 0, \"lora_alpha\": 1, \"target_modules\": [\"query\"]}",
		"{\"r\": 5000, \"lora_alpha\": 1, \"target_modules\": [\"query\"]}",
		"{\"r\": 1.5, \"lora_alpha\": 1, \"target_modules\": [\"query\"]}",
		"{\"r\": 3, \"lora_alpha\": -1, \"target_modules\": [\"query\"]}",
		"{\"r\": 3, \"lora_alpha\": 1, \"target_modules\": []}",
		"{\"r\": 3, \"lora_alpha\": 1, \"target_modules\": [\"query\", \"query\"]}",
		"{\"r\": 3, \"lora_alpha\": 1, \"target_modules\": [\"dense\"]}",
		"{\"r\": 3, \"lora_alpha\": 1, \"target_modules\": [1]}"};
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	give_lora(f);
	for (size_t i = 0; i < NELEM(texts); i++) {
		scratch_write_text(&f->data, "init.json", texts[i]);
		assert_int_equal(open_repair(f), -ERR_INVALID_DATA);
		assert_int_equal(strncmp(f->err.where, "init.json", 9), 0);
		repair_done(&f->repair);
	}
}

#define QUERY_A "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"

static void test_another_rank_than_the_config_says_is_refused(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	give_lora(f);
	scratch_write_text(
		&f->data, "init.json", "{\"r\": 4, \"lora_alpha\": 1, \"target_modules\": [\"query\"]}");
	assert_refused(f, ERR_INVALID_DATA, "init.safetensors: " QUERY_A);
}

static void test_a_tensor_too_few_is_named(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	give_lora(f);
	scratch_write_text(
		&f->data, "init.json", "{\"r\": 3, \"lora_alpha\": 1, \"target_modules\": [\"key\"]}");
	assert_refused(f, ERR_INVALID_DATA,
		"init.safetensors: base_model.model.bert.encoder.layer.0.attention.self.key.lora_A.weight");
}

static void test_values_must_be_finite(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_ADAPTER, &peft_adapter);
	give_adapter(f, (real)NAN);
	assert_refused(f, ERR_INVALID_DATA,
		"init.safetensors: "
		"bert.encoder.layer.0.attention.output.adapters.task.adapter_down.0.weight");
}

static void test_a_file_that_is_no_safetensors_is_refused(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_LORA, &peft_lora);
	give_lora(f);
	scratch_write_text(&f->data, "init.safetensors", "no");
	assert_int_equal(open_repair(f), -ERR_INVALID_DATA);
}

static void test_an_adapter_needs_its_activation_and_bottleneck(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_ADAPTER, &peft_adapter);
	give_adapter(f, 1);
	f->peft.options.activation = KERNEL_RELU;
	assert_refused(f, ERR_INVALID_VALUE, "peft.activation");
	scratch_write_text(&f->data, "init.json", "{\"config\": {}}");
	assert_refused(f, ERR_INVALID_DATA, "init.json");
}

static void test_a_prefix_needs_its_length(void **state)
{
	struct fixture *f = *state;

	declare(f, SPEC_PREFIX, &peft_prefix);
	give_prefix(f, LENGTH + 1);
	assert_refused(f, ERR_INVALID_VALUE, "peft.length");
	scratch_write_text(&f->data, "init.json", "{\"config\": {\"prefix_length\": 2, \"flat\": false}}");
	assert_refused(f, ERR_INVALID_DATA, "init.json");
}

#define repair_test(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		repair_test(test_without_a_job_nothing_changes),
		repair_test(test_lora_is_folded_into_the_weights),
		repair_test(test_both_loras_at_once_are_one_after_the_other),
		repair_test(test_adapter_is_where_a_run_starts),
		repair_test(test_prefix_is_added_to_what_the_mlp_makes),
		repair_test(test_files_that_are_not_there_are_named),
		repair_test(test_a_config_that_is_none_is_refused),
		repair_test(test_another_rank_than_the_config_says_is_refused),
		repair_test(test_a_tensor_too_few_is_named),
		repair_test(test_values_must_be_finite),
		repair_test(test_a_file_that_is_no_safetensors_is_refused),
		repair_test(test_an_adapter_needs_its_activation_and_bottleneck),
		repair_test(test_a_prefix_needs_its_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
