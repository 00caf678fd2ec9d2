#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"
#include "worker/model/config.h"

struct fixture {
	struct scratch scratch;
	struct config config;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	scratch_init(&f->scratch);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scratch_done(&f->scratch);
	free(f);
	return 0;
}

static int read_text(struct fixture *f, const char *text)
{
	scratch_write_text(&f->scratch, "config.json", text);
	return config_read(&f->config, f->scratch.fd, &f->err);
}

/* A BERT config with these members more. */
static int read_bert(struct fixture *f, const char *members)
{
	char text[1000];

	snprintf(text, sizeof(text), "{\"model_type\": \"bert\", %s}", members);
	return read_text(f, text);
}

static void assert_refused(struct fixture *f, const char *members, enum err_code code, const char *field)
{
	char where[100];

	snprintf(where, sizeof(where), "config.json: %s", field);
	assert_int_equal(read_bert(f, members), -(int)code);
	assert_int_equal(f->err.code, code);
	assert_string_equal(f->err.where, where);
}

static void test_every_field_is_read(void **state)
{
	struct fixture *f = *state;
	const struct config *c = &f->config;

	assert_int_equal(
		read_bert(f,
			"\"vocab_size\": 100, \"hidden_size\": 160, \"num_hidden_layers\": 3, "
			"\"num_attention_heads\": 2, \"intermediate_size\": 33, "
			"\"max_position_embeddings\": 77, \"type_vocab_size\": 4, \"pad_token_id\": 9, "
			"\"hidden_act\": \"relu\", \"layer_norm_eps\": 1e-5, \"hidden_dropout_prob\": 0.25, "
			"\"attention_probs_dropout_prob\": 0, \"classifier_dropout\": 0.5, "
			"\"position_embedding_type\": \"absolute\", \"is_decoder\": false, "
			"\"auto_map\": null, \"unknown\": [1, 2]"),
		0);
	assert_int_equal(c->family, FAMILY_BERT);
	assert_string_equal(c->model_type, "bert");
	assert_int_equal(c->V, 100);
	assert_int_equal(c->D, 160);
	assert_int_equal(c->L, 3);
	assert_int_equal(c->H, 2);
	assert_int_equal(c->F, 33);
	assert_int_equal(c->P, 77);
	assert_int_equal(c->types, 4);
	assert_int_equal(c->pad_id, 9);
	assert_int_equal(c->activation, ACT_RELU);
	assert_true(c->layer_norm_eps == 1e-5);
	assert_true(c->hidden_dropout == 0.25);
	assert_true(c->attention_dropout == 0);
	assert_true(c->classifier_dropout == 0.5);
	assert_int_equal(c->position_offset, 0);
	assert_int_equal(c->max_tokens, 77);
}

static void test_absent_fields_have_the_defaults_of_transformers(void **state)
{
	struct fixture *f = *state;
	const struct config *c = &f->config;

	for (int roberta = 0; roberta < 2; roberta++) {
		assert_int_equal(
			read_text(f, roberta ? "{\"model_type\":\"roberta\"}" : "{\"model_type\":\"bert\"}"),
			0);
		assert_int_equal(c->family, roberta ? FAMILY_ROBERTA : FAMILY_BERT);
		assert_int_equal(c->V, roberta ? 50265 : 30522);
		assert_int_equal(c->pad_id, roberta ? 1 : 0);
		assert_int_equal(c->position_offset, roberta ? 2 : 0);
		assert_int_equal(c->max_tokens, roberta ? 510 : 512);
		assert_int_equal(c->D, 768);
		assert_int_equal(c->L, 12);
		assert_int_equal(c->H, 12);
		assert_int_equal(c->F, 3072);
		assert_int_equal(c->P, 512);
		assert_int_equal(c->types, 2);
		assert_int_equal(c->activation, ACT_GELU);
		assert_true(c->layer_norm_eps == 1e-12);
		assert_true(c->hidden_dropout == 0.1 && c->attention_dropout == 0.1);
	}
}

static void test_the_classifiers_dropout_falls_back_to_the_hidden_one(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_bert(f, "\"hidden_dropout_prob\": 0.3"), 0);
	assert_true(f->config.classifier_dropout == 0.3);
	assert_int_equal(read_bert(f, "\"hidden_dropout_prob\": 0.3, \"classifier_dropout\": null"), 0);
	assert_true(f->config.classifier_dropout == 0.3);
	assert_int_equal(read_bert(f, "\"hidden_dropout_prob\": 0.3, \"classifier_dropout\": 0"), 0);
	assert_true(f->config.classifier_dropout == 0);
}

static void test_activations_have_the_names_of_transformers(void **state)
{
	static const struct {
		const char *name;
		enum activation activation;
	} ROWS[] = {{"gelu", ACT_GELU}, {"gelu_new", ACT_GELU_TANH}, {"gelu_pytorch_tanh", ACT_GELU_TANH},
		{"relu", ACT_RELU}, {"silu", ACT_SILU}, {"swish", ACT_SILU}};
	struct fixture *f = *state;
	char members[80];

	for (size_t i = 0; i < NELEM(ROWS); i++) {
		snprintf(members, sizeof(members), "\"hidden_act\": \"%s\"", ROWS[i].name);
		assert_int_equal(read_bert(f, members), 0);
		assert_int_equal(f->config.activation, ROWS[i].activation);
	}
	assert_refused(f, "\"hidden_act\": \"mish\"", ERR_UNSUPPORTED_MODEL, "hidden_act");
	assert_refused(f, "\"hidden_act\": 3", ERR_INVALID_MODEL, "hidden_act");
}

static void test_other_architectures_are_unsupported(void **state)
{
	static const char *const TEXTS[] = {"{}", "{\"model_type\": null}", "{\"model_type\": 1}",
		"{\"model_type\": \"gpt2\"}", "{\"model_type\": \"BERT\"}",
		"{\"architectures\": [\"BertModel\"]}"};
	struct fixture *f = *state;

	for (size_t i = 0; i < NELEM(TEXTS); i++) {
		assert_int_equal(read_text(f, TEXTS[i]), -ERR_UNSUPPORTED_MODEL);
		assert_string_equal(f->err.where, "config.json: model_type");
	}
}

static void test_what_makes_another_model_of_it_is_unsupported(void **state)
{
	static const char *const ROWS[][2] = {
		{"auto_map", "{\"AutoModel\": \"evil.Model\"}"},
		{"auto_map", "{}"},
		{"quantization_config", "{}"},
		{"is_decoder", "true"},
		{"is_decoder", "1"},
		{"add_cross_attention", "true"},
		{"is_encoder_decoder", "true"},
		{"position_embedding_type", "\"relative_key\""},
		{"position_embedding_type", "7"},
	};
	char members[100];

	for (size_t i = 0; i < NELEM(ROWS); i++) {
		snprintf(members, sizeof(members), "\"%s\": %s", ROWS[i][0], ROWS[i][1]);
		assert_refused(*state, members, ERR_UNSUPPORTED_MODEL, ROWS[i][0]);
	}
}

static void test_absurd_fields_are_invalid(void **state)
{
	static const char *const ROWS[][2] = {
		{"vocab_size", "0"},
		{"vocab_size", "1048577"},
		{"vocab_size", "-1"},
		{"vocab_size", "4294967396"},
		{"hidden_size", "768.0"},
		{"hidden_size", "\"768\""},
		{"hidden_size", "8193"},
		{"num_hidden_layers", "0"},
		{"num_hidden_layers", "129"},
		{"num_attention_heads", "0"},
		{"num_attention_heads", "7"},
		{"intermediate_size", "32769"},
		{"max_position_embeddings", "65537"},
		{"max_position_embeddings", "3"},
		{"type_vocab_size", "0"},
		{"pad_token_id", "-1"},
		{"pad_token_id", "30522"},
		{"layer_norm_eps", "0"},
		{"layer_norm_eps", "-1e-5"},
		{"layer_norm_eps", "\"1e-5\""},
		{"layer_norm_eps", "1"},
		{"hidden_dropout_prob", "1"},
		{"hidden_dropout_prob", "-0.1"},
		{"attention_probs_dropout_prob", "1.5"},
		{"classifier_dropout", "true"},
	};
	char members[100];

	for (size_t i = 0; i < NELEM(ROWS); i++) {
		snprintf(members, sizeof(members), "\"%s\": %s", ROWS[i][0], ROWS[i][1]);
		assert_refused(*state, members, ERR_INVALID_MODEL, ROWS[i][0]);
	}
}

static void test_roberta_needs_room_after_its_offset(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		read_text(
			f, "{\"model_type\":\"roberta\",\"pad_token_id\":10,\"max_position_embeddings\":15}"),
		0);
	assert_int_equal(f->config.max_tokens, 4);
	assert_int_equal(
		read_text(
			f, "{\"model_type\":\"roberta\",\"pad_token_id\":11,\"max_position_embeddings\":15}"),
		-ERR_INVALID_MODEL);
}

static void test_a_file_that_is_no_config_is_invalid(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config_read(&f->config, f->scratch.fd, &f->err), -ERR_INVALID_MODEL);
	assert_string_equal(f->err.where, "config.json");
	assert_int_equal(read_text(f, ""), -ERR_INVALID_MODEL);
	assert_int_equal(read_text(f, "[]"), -ERR_INVALID_MODEL);
	assert_int_equal(
		read_text(f, "{\"model_type\":\"bert\",\"model_type\":\"bert\"}"), -ERR_INVALID_MODEL);
	assert_int_equal(read_text(f, "{\"model_type\":"), -ERR_INVALID_MODEL);
	assert_int_equal(strncmp(f->err.where, "config.json:1:", 14), 0);
}

static void test_a_config_has_a_mebibyte_at_most(void **state)
{
	struct fixture *f = *state;
	char *text = malloc((1 << 20) + 2);

	memset(text, ' ', (1 << 20) + 1);
	text[(1 << 20) + 1] = '\0';
	memcpy(text, "{\"model_type\":\"bert\"}", 21);
	assert_int_equal(read_text(f, text), -ERR_INVALID_MODEL);
	text[1 << 20] = '\0';
	assert_int_equal(read_text(f, text), 0);
	free(text);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_every_field_is_read),
		CASE(test_absent_fields_have_the_defaults_of_transformers),
		CASE(test_the_classifiers_dropout_falls_back_to_the_hidden_one),
		CASE(test_activations_have_the_names_of_transformers),
		CASE(test_other_architectures_are_unsupported),
		CASE(test_what_makes_another_model_of_it_is_unsupported),
		CASE(test_absurd_fields_are_invalid),
		CASE(test_roberta_needs_room_after_its_offset),
		CASE(test_a_file_that_is_no_config_is_invalid),
		CASE(test_a_config_has_a_mebibyte_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
