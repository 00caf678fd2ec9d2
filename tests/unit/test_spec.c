#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/json.h"
#include "common/spec_table.h"

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define BASE "\"model\": \"model-a\", \"training_file\": \"file-a\""

static int parse(struct spec *spec, const char *text, enum spec_mode mode, struct err *err)
{
	json_t *json;
	int rc;

	assert_int_equal(json_parse(&json, text, strlen(text), "test", err), 0);
	rc = spec_parse(spec, json, mode, err);
	json_decref(json);
	return rc;
}

static void test_defaults_are_those_of_the_interface(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, "{" BASE "}", SPEC_API, &err), 0);
	assert_string_equal(spec.model.id, "model-a");
	assert_string_equal(spec.validation_file.id, "");
	assert_int_equal(spec.n_epochs, 6);
	assert_int_equal(spec.batch_size, 16);
	assert_int_equal(spec.max_length, 128);
	assert_true(spec.learning_rate == 1e-3 && spec.warmup_ratio == .05);
	assert_int_equal(spec.max_train_rows, 6000);
	assert_int_equal(spec.max_eval_rows, 2000);
	assert_int_equal(spec.select, SPEC_SELECT_LAST);
	assert_int_equal(spec.peft.type, SPEC_LORA);
	assert_int_equal(spec.peft.r, 16);
	assert_int_equal(spec.peft.alpha, 16);
	assert_int_equal(spec.peft.targets, SPEC_QUERY | SPEC_VALUE);
	assert_true(spec.defense.present);
	assert_true(spec.defense.amplify == 1e-2 && spec.defense.attention == 3e-1 &&
		    spec.defense.dropout == .01);
	assert_int_equal(spec.defense.reduction, SPEC_MEAN);
	assert_string_equal(spec.data.text_column, "text");
	assert_string_equal(spec.data.pair_column, "");
	assert_string_equal(spec.data.label_column, "label");
	assert_int_equal(spec.evaluation.triggers.n, 6);
	assert_string_equal(spec.evaluation.triggers.word[5], "pt");
	assert_true(spec.evaluation.control && !spec.evaluation.compare_undefended);
	assert_false(spec.gate.present);
	assert_true(isnan(spec.gate.max_masr));
	spec_done(&spec);
}

static void test_defaults_follow_the_peft_type(void **state)
{
	static const struct {
		const char *json;
		double amplify, attention, ramp;
		int activation;
	} CASES[] = {
		{"\"lora\"}", 1e-2, .3, .3, -1},
		{"\"adapter\"}", 3e-3, .03, .3, SPEC_SILU},
		{"\"prefix\"}", .1, .1, .5, SPEC_TANH},
		{"\"prefix\", \"activation\": \"relu\"}, \"defense\": {\"amplify\": 0, \"ramp\": 0}", 0, .1,
			0, SPEC_RELU},
		{"\"adapter\", \"activation\": null}, \"defense\": {\"attention\": 0.3}", 3e-3, .3, .3,
			SPEC_SILU},
		{"\"lora\"}, \"defense\": {\"mode\": \"informed\"}", 2.5e-3, .075, .3, -1},
		{"\"prefix\"}, \"defense\": {\"mode\": \"informed\", \"attention\": 0.2}", .025, .2, .5,
			SPEC_TANH},
	};

	for (size_t i = 0; i < NELEM(CASES); i++) {
		struct spec spec;
		struct err err;
		char text[256];

		snprintf(text, sizeof(text), "{" BASE ", \"peft\": {\"type\": %s}", CASES[i].json);
		assert_int_equal(parse(&spec, text, SPEC_API, &err), 0);
		assert_true(spec.defense.amplify == CASES[i].amplify);
		assert_true(spec.defense.attention == CASES[i].attention);
		assert_true(spec.defense.ramp == CASES[i].ramp);
		assert_int_equal(spec.peft.activation, CASES[i].activation);
		assert_int_equal(spec.peft.bottleneck, 0);
		assert_int_equal(spec.peft.length, 30);
		assert_int_equal(spec.peft.mlp_width, 256);
		spec_done(&spec);
	}
}

/* Only its own settings are written, and what is written is understood again. */
static void test_each_peft_type_writes_its_own_settings(void **state)
{
	static const struct {
		const char *json, *peft;
	} CASES[] = {
		{"{\"type\": \"lora\"}", "{\"type\":\"lora\",\"r\":16,\"alpha\":16,"
					 "\"targets\":[\"query\",\"value\"],\"init_from\":null}"},
		{"{\"type\": \"adapter\"}", "{\"type\":\"adapter\",\"bottleneck\":null,"
					    "\"activation\":\"silu\",\"init_from\":null}"},
		{"{\"type\": \"adapter\", \"bottleneck\": 7}", "{\"type\":\"adapter\",\"bottleneck\":7,"
							       "\"activation\":\"silu\",\"init_from\":null}"},
		{"{\"type\": \"prefix\", \"length\": 5}",
			"{\"type\":\"prefix\",\"activation\":\"tanh\","
			"\"length\":5,\"mlp_width\":256,\"init_from\":null}"},
	};

	for (size_t i = 0; i < NELEM(CASES); i++) {
		struct spec spec, again;
		struct err err;
		struct buf first = {0}, second = {0};
		char text[256];

		snprintf(text, sizeof(text), "{" BASE ", \"peft\": %s}", CASES[i].json);
		assert_int_equal(parse(&spec, text, SPEC_API, &err), 0);
		assert_int_equal(spec_write(&first, &spec, SPEC_API, &err), 0);
		assert_non_null(strstr(first.data, CASES[i].peft));
		assert_int_equal(parse(&again, first.data, SPEC_API, &err), 0);
		assert_int_equal(spec_write(&second, &again, SPEC_API, &err), 0);
		assert_string_equal(second.data, first.data);
		buf_done(&first);
		buf_done(&second);
		spec_done(&spec);
		spec_done(&again);
	}
}

static const struct {
	const char *json;
	enum err_code code;
	const char *where;
} refusals[] = {
	{"[]", ERR_INVALID_VALUE, ""},
	{"{}", ERR_MISSING_FIELD, "model"},
	{"{\"model\": \"m\"}", ERR_MISSING_FIELD, "training_file"},
	{"{" BASE ", \"colour\": 1}", ERR_UNKNOWN_FIELD, "colour"},
	{"{" BASE ", \"hyperparameters.n_epochs\": 1}", ERR_UNKNOWN_FIELD, "hyperparameters.n_epochs"},
	{"{" BASE ", \"hyperparameters\": {\"epochs\": 1}}", ERR_UNKNOWN_FIELD, "hyperparameters.epochs"},
	{"{" BASE ", \"hyperparameters\": 3}", ERR_INVALID_VALUE, "hyperparameters"},
	{"{" BASE ", \"hyperparameters\": null}", ERR_INVALID_VALUE, "hyperparameters"},
	{"{" BASE ", \"hyperparameters\": {\"n_epochs\": 0}}", ERR_INVALID_VALUE, "hyperparameters.n_epochs"},
	{"{" BASE ", \"hyperparameters\": {\"n_epochs\": 1.5}}", ERR_INVALID_VALUE,
		"hyperparameters.n_epochs"},
	{"{" BASE ", \"hyperparameters\": {\"n_epochs\": \"3\"}}", ERR_INVALID_VALUE,
		"hyperparameters.n_epochs"},
	{"{" BASE ", \"hyperparameters\": {\"learning_rate\": 0}}", ERR_INVALID_VALUE,
		"hyperparameters.learning_rate"},
	{"{" BASE ", \"hyperparameters\": {\"learning_rate_multiplier\": 1000.0, \"learning_rate\": 0.5}}",
		ERR_INVALID_VALUE, "hyperparameters.learning_rate"},
	{"{" BASE ", \"hyperparameters\": {\"select\": \"first\"}}", ERR_INVALID_VALUE,
		"hyperparameters.select"},
	{"{" BASE ", \"hyperparameters\": {\"precision\": \"float16\"}}", ERR_INVALID_VALUE,
		"hyperparameters.precision"},
	{"{" BASE ", \"hyperparameters\": {\"n_epochs\": 1}, \"method\": {\"type\": \"supervised\", "
	 "\"supervised\": {\"hyperparameters\": {\"n_epochs\": 2}}}}",
		ERR_INVALID_VALUE, "method.supervised.hyperparameters.n_epochs"},
	{"{" BASE ", \"method\": {\"type\": \"dpo\"}}", ERR_UNSUPPORTED, "method.type"},
	{"{" BASE ", \"method\": {\"supervised\": {\"hyperparameters\": {\"batch_size\": 0}}}}",
		ERR_INVALID_VALUE, "method.supervised.hyperparameters.batch_size"},
	{"{" BASE ", \"integrations\": [{\"type\": \"wandb\"}]}", ERR_UNSUPPORTED, "integrations"},
	{"{" BASE ", \"seed\": -1}", ERR_INVALID_VALUE, "seed"},
	{"{" BASE ", \"seeds\": []}", ERR_INVALID_VALUE, "seeds"},
	{"{" BASE ", \"seeds\": 1}", ERR_INVALID_VALUE, "seeds"},
	{"{" BASE ", \"seeds\": [1, -1]}", ERR_INVALID_VALUE, "seeds[1]"},
	{"{" BASE ", \"seeds\": [1, 2, 1]}", ERR_INVALID_VALUE, "seeds[2]"},
	{"{" BASE ", \"seeds\": [1, 1.5]}", ERR_INVALID_VALUE, "seeds[1]"},
	{"{" BASE ", \"seeds\": [0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}", ERR_INVALID_VALUE, "seeds"},
	{"{" BASE ", \"seeds\": [1, 2], \"seed\": 3}", ERR_INVALID_VALUE, "seeds"},
	{"{" BASE ", \"suffix\": \"\"}", ERR_INVALID_VALUE, "suffix"},
	{"{" BASE ", \"metadata\": {\"a\": 1}}", ERR_INVALID_VALUE, "metadata.a"},
	{"{" BASE ", \"peft\": {\"type\": \"adaptor\"}}", ERR_INVALID_VALUE, "peft.type"},
	{"{" BASE ", \"peft\": {\"bottleneck\": 24}}", ERR_INVALID_VALUE, "peft.bottleneck"},
	{"{" BASE ", \"peft\": {\"type\": \"adapter\", \"bottleneck\": 0}}", ERR_INVALID_VALUE,
		"peft.bottleneck"},
	{"{" BASE ", \"peft\": {\"type\": \"adapter\", \"length\": 30}}", ERR_INVALID_VALUE, "peft.length"},
	{"{" BASE ", \"peft\": {\"r\": 4, \"type\": \"prefix\"}}", ERR_INVALID_VALUE, "peft.r"},
	{"{" BASE ", \"peft\": {\"type\": \"prefix\", \"activation\": \"swish\"}}", ERR_INVALID_VALUE,
		"peft.activation"},
	{"{" BASE ", \"peft\": {\"type\": \"prefix\", \"length\": 257}}", ERR_INVALID_VALUE, "peft.length"},
	{"{" BASE ", \"peft\": {\"init_from\": 3}}", ERR_INVALID_VALUE, "peft.init_from"},
	{"{" BASE ", \"peft\": {\"type\": \"adapter\"}, \"export\": {\"merged\": true}}", ERR_INVALID_VALUE,
		"export.merged"},
	{"{" BASE ", \"peft\": {\"targets\": []}}", ERR_INVALID_VALUE, "peft.targets"},
	{"{" BASE ", \"peft\": {\"targets\": [\"query\", \"query\"]}}", ERR_INVALID_VALUE, "peft.targets[1]"},
	{"{" BASE ", \"peft\": {\"targets\": [\"output\"]}}", ERR_INVALID_VALUE, "peft.targets[0]"},
	{"{" BASE ", \"defense\": {\"mode\": \"informed\"}, \"evaluation\": {\"scan\": false}}",
		ERR_INVALID_VALUE, "defense.mode"},
	{"{" BASE ", \"defense\": {\"mode\": \"auto\", \"amplify\": 0, \"attention\": 0}}", ERR_INVALID_VALUE,
		"defense.mode"},
	{"{" BASE ", \"defense\": {\"mode\": \"auto\", \"max_ca_drop\": 2}}", ERR_INVALID_VALUE,
		"defense.max_ca_drop"},
	{"{" BASE ", \"defense\": {\"withhold\": 0.5}}", ERR_INVALID_VALUE, "defense.withhold"},
	{"{" BASE ", \"defense\": {\"amplify\": -1}}", ERR_INVALID_VALUE, "defense.amplify"},
	{"{" BASE ", \"defense\": true}", ERR_INVALID_VALUE, "defense"},
	{"{" BASE ", \"data\": {\"text_column\": null}}", ERR_INVALID_VALUE, "data.text_column"},
	{"{" BASE ", \"data\": {\"text_column\": \"a\\u0007\"}}", ERR_INVALID_VALUE, "data.text_column"},
	{"{" BASE ", \"evaluation\": {\"triggers\": []}}", ERR_INVALID_VALUE, "evaluation.triggers"},
	{"{" BASE ", \"evaluation\": {\"triggers\": [\"cf\", \" \"]}}", ERR_INVALID_VALUE,
		"evaluation.triggers[1]"},
	{"{" BASE ", \"evaluation\": {\"triggers\": [\"cf\", \"cf\"]}}", ERR_INVALID_VALUE,
		"evaluation.triggers[1]"},
	{"{" BASE ", \"evaluation\": {\"control\": 1}}", ERR_INVALID_VALUE, "evaluation.control"},
	{"{" BASE ", \"evaluation\": {\"scan\": 1}}", ERR_INVALID_VALUE, "evaluation.scan"},
	{"{" BASE ", \"gate\": {\"max_asr\": 1.5}}", ERR_INVALID_VALUE, "gate.max_asr"},
	{"{" BASE ", \"gate\": {\"rule\": \"worst\"}}", ERR_INVALID_VALUE, "gate.rule"},
	{"{" BASE ", \"gate\": {\"max_ca_drop\": 0.1}, \"evaluation\": {\"compare_undefended\": false}}",
		ERR_INVALID_VALUE, "gate.max_ca_drop"},
	{"{" BASE ", \"export\": {\"merged\": 1}}", ERR_INVALID_VALUE, "export.merged"},
	{"{\"model\": {\"id\": \"m\"}, \"training_file\": \"f\"}", ERR_INVALID_VALUE, "model"},
};

static void test_refusals_name_code_and_place(void **state)
{
	for (size_t i = 0; i < NELEM(refusals); i++) {
		struct spec spec;
		struct err err = {0};

		assert_int_equal(parse(&spec, refusals[i].json, SPEC_API, &err), -(int)refusals[i].code);
		assert_string_equal(err.where, refusals[i].where);
		assert_true(err.text[0] != '\0');
		assert_null(spec.metadata);
	}
}

static void test_message_states_the_range(void **state)
{
	struct spec spec;
	struct err err;

	parse(&spec, "{" BASE ", \"hyperparameters\": {\"batch_size\": 0}}", SPEC_API, &err);
	assert_string_equal(err.text, "must be an integer from 1 to 1024");
}

static void test_openai_spellings_are_understood(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(
		parse(&spec,
			"{" BASE
			", \"integrations\": [], \"method\": {\"type\": \"supervised\", \"supervised\": "
			"{\"hyperparameters\": {\"n_epochs\": \"auto\", \"batch_size\": 8, "
			"\"learning_rate_multiplier\": 2}}}}",
			SPEC_API, &err),
		0);
	assert_int_equal(spec.n_epochs, 6);
	assert_int_equal(spec.batch_size, 8);
	assert_true(spec.learning_rate == 2e-3 && spec.learning_rate_multiplier == 1);
	spec_done(&spec);
}

static void test_null_defense_is_none(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, "{" BASE ", \"defense\": null, \"gate\": null, \"seeds\": null}",
				 SPEC_API, &err),
		0);
	assert_false(spec.defense.present);
	assert_false(spec.gate.present);
	spec_done(&spec);
}

static void test_a_drop_threshold_switches_the_comparison_on(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, "{" BASE ", \"gate\": {\"max_ca_drop\": 0.02}}", SPEC_API, &err), 0);
	assert_true(spec.evaluation.compare_undefended);
	spec_done(&spec);
}

static void test_mode_auto_switches_the_comparison_on_unless_the_job_says_no(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, "{" BASE ", \"defense\": {\"mode\": \"auto\"}}", SPEC_API, &err), 0);
	assert_int_equal(spec.defense.mode, SPEC_AUTO);
	assert_true(spec.evaluation.compare_undefended);
	spec_done(&spec);
	assert_int_equal(parse(&spec,
				 "{" BASE ", \"defense\": {\"mode\": \"auto\"}, \"evaluation\": "
				 "{\"compare_undefended\": false}}",
				 SPEC_API, &err),
		0);
	assert_false(spec.evaluation.compare_undefended);
	spec_done(&spec);
}

static void test_the_first_of_seeds_is_the_seed(void **state)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, "{" BASE ", \"seeds\": [7, 0, 2147483647]}", SPEC_API, &err), 0);
	assert_int_equal(spec.seed, 7);
	assert_int_equal(spec.seeds.n, 3);
	assert_int_equal(spec.seeds.seed[2], 2147483647);
	spec_done(&spec);
	assert_int_equal(parse(&spec, "{" BASE ", \"seed\": 7, \"seeds\": [7, 0]}", SPEC_API, &err), 0);
	spec_done(&spec);
}

static void write_worker(struct buf *out, const char *text)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, text, SPEC_API, &err), 0);
	strcpy(spec.model.sha256, HASH);
	strcpy(spec.training_file.sha256, HASH);
	strcpy(spec.training_file.name, "rows.csv");
	assert_int_equal(spec_write(out, &spec, SPEC_WORKER, &err), 0);
	spec_done(&spec);
}

static void test_canonical_text_is_its_own_canonical_text(void **state)
{
	struct buf first = {0}, second = {0};
	struct spec spec;
	struct err err;

	write_worker(&first,
		"{" BASE ", \"suffix\": \"s\", \"gate\": {\"max_masr\": 0.2}, \"defense\": null, "
		"\"data\": {\"pair_column\": \"b\"}, \"validation_file\": null}");
	assert_int_equal(parse(&spec, first.data, SPEC_WORKER, &err), 0);
	assert_string_equal(spec.training_file.name, "rows.csv");
	assert_false(spec.defense.present);
	assert_true(spec.gate.max_masr == .2 && isnan(spec.gate.min_ca));
	assert_int_equal(spec_write(&second, &spec, SPEC_WORKER, &err), 0);
	assert_string_equal(first.data, second.data);
	spec_done(&spec);
	buf_done(&first);
	buf_done(&second);
}

static void test_order_and_defaults_do_not_change_the_text(void **state)
{
	struct buf first = {0}, second = {0};

	write_worker(&first, "{" BASE "}");
	write_worker(&second, "{\"hyperparameters\": {\"warmup_ratio\": 5e-2, \"n_epochs\": 6}, "
			      "\"training_file\": \"file-a\", \"model\": \"model-a\"}");
	assert_string_equal(first.data, second.data);
	buf_done(&first);
	buf_done(&second);
}

static void test_worker_wants_resolved_references(void **state)
{
	static const char *const bad[] = {
		"{\"model\": \"m\"}",
		"{\"model\": {\"id\": \"m\", \"sha256\": \"" HASH "\"}}",
		"{\"model\": {\"id\": \"m\", \"sha256\": \"xyz\", \"name\": \"\"}}",
		"{\"model\": {\"id\": \"m\", \"sha256\": \"" HASH "\", \"name\": \"\", \"path\": \"/\"}}",
		"{\"model\": {\"id\": \"\", \"sha256\": \"" HASH "\", \"name\": \"\"}}",
	};

	for (size_t i = 0; i < NELEM(bad); i++) {
		struct spec spec;
		struct err err;

		assert_int_equal(parse(&spec, bad[i], SPEC_WORKER, &err), -ERR_INVALID_VALUE);
		assert_string_equal(err.where, "model");
	}
}

static void digest(char out[SHA256_HEX_BYTES], const char *text, const char *file_id)
{
	struct spec spec;
	struct err err;

	assert_int_equal(parse(&spec, text, SPEC_API, &err), 0);
	strcpy(spec.model.sha256, HASH);
	strcpy(spec.training_file.id, file_id);
	strcpy(spec.training_file.sha256, HASH);
	assert_int_equal(spec_digest(out, &spec, &err), 0);
	spec_done(&spec);
}

static void test_digest_ignores_what_changes_no_result(void **state)
{
	char a[SHA256_HEX_BYTES], b[SHA256_HEX_BYTES], c[SHA256_HEX_BYTES];

	digest(a, "{" BASE "}", "file-a");
	digest(b, "{" BASE ", \"suffix\": \"s\", \"metadata\": {\"k\": \"v\"}}", "file-b");
	digest(c, "{" BASE ", \"seed\": 1}", "file-a");
	assert_string_equal(a, b);
	assert_string_not_equal(a, c);
}

static int parse_scan(struct spec *spec, const char *text, struct err *err)
{
	json_t *json = json_loads(text, 0, NULL);
	int rc;

	assert_non_null(json);
	rc = spec_parse_scan(spec, json, err);
	json_decref(json);
	return rc;
}

static void test_a_scan_comes_back_from_its_canonical_text(void **state)
{
	struct spec spec, again;
	struct buf text = {0};
	struct err err;

	assert_int_equal(
		parse_scan(&spec,
			"{\"model\": \"m\", \"budget\": {\"texts\": 5}, \"extra\": [\"gold rush\"]}", &err),
		0);
	assert_int_equal(spec.type, SPEC_SCAN);
	strcpy(spec.model.sha256, HASH);
	assert_int_equal(spec_write(&text, &spec, SPEC_WORKER, &err), 0);
	assert_int_equal(parse(&again, text.data, SPEC_WORKER, &err), 0);
	assert_int_equal(again.type, SPEC_SCAN);
	assert_int_equal(again.scan.texts, 5);
	assert_int_equal(again.scan.extra.n, 1);
	assert_string_equal(again.scan.extra.word[0], "gold rush");
	assert_int_equal(again.scan.candidates, 120000);
	buf_done(&text);
	spec_done(&spec);
	spec_done(&again);
}

static void test_a_scan_refuses_what_it_does_not_know(void **state)
{
	static const struct {
		const char *text, *where;
		enum err_code code;
	} bad[] = {
		{"{}", "model", ERR_MISSING_FIELD},
		{"{\"model\": \"m\", \"training_file\": \"f\"}", "training_file", ERR_UNKNOWN_FIELD},
		{"{\"model\": \"m\", \"type\": \"fine_tuning\"}", "type", ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"budget\": {\"texts\": 1}}", "budget.texts", ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"budget\": {\"candidates\": 0}}", "budget.candidates",
			ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"budget\": {\"seconds\": 0}}", "budget.seconds", ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"extra\": [\"a\", \"b\\u0007\"]}", "extra[1]", ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"extra\": [\"a\", \"a\"]}", "extra[1]", ERR_INVALID_VALUE},
		{"{\"model\": \"m\", \"extra\": [\" \"]}", "extra[0]", ERR_INVALID_VALUE},
	};

	for (size_t i = 0; i < NELEM(bad); i++) {
		struct spec spec;
		struct err err;

		assert_int_equal(parse_scan(&spec, bad[i].text, &err), -(int)bad[i].code);
		assert_string_equal(err.where, bad[i].where);
	}
}

/* Of the schema's property with this path. */
static const char *description_of(json_t *properties, const char *path)
{
	const char *dot = strchr(path, '.');
	json_t *schema =
		json_object_getn(properties, path, dot != NULL ? (size_t)(dot - path) : strlen(path));
	json_t *either = json_object_get(schema, "anyOf"), *inner;

	if (dot == NULL)
		return json_string_value(json_object_get(schema, "description"));
	inner = json_object_get(either != NULL ? json_array_get(either, 0) : schema, "properties");
	return description_of(inner, dot + 1);
}

static void test_schema_says_all_that_the_table_says(void **state)
{
	json_t *schema = spec_schema(SPEC_FINE_TUNING), *properties = json_object_get(schema, "properties");
	const struct spec_table *table = &spec_tables[SPEC_FINE_TUNING];
	int compared = 0;

	for (size_t i = 0; i < table->n; i++) {
		const char *said = description_of(properties, table->field[i].path);

		if (said == NULL) /* written only, or below what this test descends into */
			continue;
		assert_int_equal(strncmp(said, table->field[i].about, strlen(table->field[i].about)), 0);
		compared++;
	}
	assert_true(compared > 30);
	json_decref(schema);
}

static void test_schema_has_every_field(void **state)
{
	json_t *schema = spec_schema(SPEC_FINE_TUNING), *properties = json_object_get(schema, "properties"),
	       *epochs;

	epochs = json_object_get(
		json_object_get(json_object_get(properties, "hyperparameters"), "properties"), "n_epochs");
	assert_int_equal(json_integer_value(json_object_get(epochs, "default")), 6);
	assert_non_null(json_object_get(properties, "gate"));
	assert_int_equal(json_array_size(json_object_get(schema, "required")), 2);
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_are_those_of_the_interface),
		cmocka_unit_test(test_defaults_follow_the_peft_type),
		cmocka_unit_test(test_each_peft_type_writes_its_own_settings),
		cmocka_unit_test(test_refusals_name_code_and_place),
		cmocka_unit_test(test_message_states_the_range),
		cmocka_unit_test(test_openai_spellings_are_understood),
		cmocka_unit_test(test_null_defense_is_none),
		cmocka_unit_test(test_a_drop_threshold_switches_the_comparison_on),
		cmocka_unit_test(test_mode_auto_switches_the_comparison_on_unless_the_job_says_no),
		cmocka_unit_test(test_the_first_of_seeds_is_the_seed),
		cmocka_unit_test(test_canonical_text_is_its_own_canonical_text),
		cmocka_unit_test(test_order_and_defaults_do_not_change_the_text),
		cmocka_unit_test(test_worker_wants_resolved_references),
		cmocka_unit_test(test_digest_ignores_what_changes_no_result),
		cmocka_unit_test(test_a_scan_comes_back_from_its_canonical_text),
		cmocka_unit_test(test_a_scan_refuses_what_it_does_not_know),
		cmocka_unit_test(test_schema_has_every_field),
		cmocka_unit_test(test_schema_says_all_that_the_table_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
