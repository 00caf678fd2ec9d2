#include "worker/model/config.h"

#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"

enum { CONFIG_BYTES_MAX = 1 << 20, CONFIG_TOKENS_MIN = 4 };

/* What transformers' BertConfig and RobertaConfig have for fields that the file leaves out. */
static const struct config DEFAULTS[] = {
	[FAMILY_BERT] = {.family = FAMILY_BERT,
		.model_type = "bert",
		.V = 30522,
		.D = 768,
		.L = 12,
		.H = 12,
		.F = 3072,
		.P = 512,
		.types = 2,
		.pad_id = 0,
		.layer_norm_eps = 1e-12,
		.hidden_dropout = 0.1,
		.attention_dropout = 0.1},
	[FAMILY_ROBERTA] = {.family = FAMILY_ROBERTA,
		.model_type = "roberta",
		.V = 50265,
		.D = 768,
		.L = 12,
		.H = 12,
		.F = 3072,
		.P = 512,
		.types = 2,
		.pad_id = 1,
		.layer_norm_eps = 1e-12,
		.hidden_dropout = 0.1,
		.attention_dropout = 0.1},
};

static const struct {
	const char *name;
	size_t offset;
	int min, max;
} INTEGERS[] = {
	{"vocab_size", offsetof(struct config, V), 1, CONFIG_VOCAB_MAX},
	{"hidden_size", offsetof(struct config, D), 1, CONFIG_HIDDEN_MAX},
	{"num_hidden_layers", offsetof(struct config, L), 1, CONFIG_LAYERS_MAX},
	{"num_attention_heads", offsetof(struct config, H), 1, CONFIG_HIDDEN_MAX},
	{"intermediate_size", offsetof(struct config, F), 1, CONFIG_INTERMEDIATE_MAX},
	{"max_position_embeddings", offsetof(struct config, P), 1, CONFIG_POSITIONS_MAX},
	{"type_vocab_size", offsetof(struct config, types), 1, CONFIG_TYPES_MAX},
	{"pad_token_id", offsetof(struct config, pad_id), 0, CONFIG_VOCAB_MAX - 1},
};

static const struct {
	const char *name;
	size_t offset;
	double min, max; /* min <= value < max */
} REALS[] = {
	{"layer_norm_eps", offsetof(struct config, layer_norm_eps), 1e-30, 0.1},
	{"hidden_dropout_prob", offsetof(struct config, hidden_dropout), 0, 1},
	{"attention_probs_dropout_prob", offsetof(struct config, attention_dropout), 0, 1},
	{"classifier_dropout", offsetof(struct config, classifier_dropout), 0, 1},
};

static const struct {
	const char *name;
	enum activation activation;
} ACTIVATIONS[] = {
	{"gelu", ACT_GELU},
	{"gelu_new", ACT_GELU_TANH},
	{"gelu_pytorch_tanh", ACT_GELU_TANH},
	{"relu", ACT_RELU},
	{"silu", ACT_SILU},
	{"swish", ACT_SILU},
};

/* Fields that make another model of it, unless they are absent, null, false or (for a string) `harmless`. */
static const struct {
	const char *name, *harmless, *why;
} FOREIGN[] = {
	{"auto_map", NULL, "the model needs code of its own, which is never run"},
	{"quantization_config", NULL, "quantised weights are not supported"},
	{"is_decoder", NULL, "decoders are not supported"},
	{"add_cross_attention", NULL, "cross attention is not supported"},
	{"is_encoder_decoder", NULL, "encoder-decoder models are not supported"},
	{"position_embedding_type", "absolute", "only absolute positions are supported"},
};

static int refuse(struct err *err, enum err_code code, const char *field, const char *why)
{
	char where[128];

	snprintf(where, sizeof(where), "config.json: %s", field);
	return err_set(err, code, where, "%s", why);
}

/* The field's value, or NULL when it is absent or null, both of which mean the default. */
static const json_t *field(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_null(value) ? NULL : value;
}

static int read_family(struct config *out, const json_t *object, struct err *err)
{
	const char *type = json_string_value(field(object, "model_type"));

	for (size_t i = 0; i < NELEM(DEFAULTS); i++) {
		if (type != NULL && strcmp(type, DEFAULTS[i].model_type) == 0) {
			*out = DEFAULTS[i];
			return 0;
		}
	}
	return refuse(err, ERR_UNSUPPORTED_MODEL, "model_type", "must be \"bert\" or \"roberta\"");
}

static int refuse_foreign(const json_t *object, struct err *err)
{
	for (size_t i = 0; i < NELEM(FOREIGN); i++) {
		const json_t *value = field(object, FOREIGN[i].name);
		const char *text = json_string_value(value);

		if (value == NULL || json_is_false(value))
			continue;
		if (text != NULL && FOREIGN[i].harmless != NULL && strcmp(text, FOREIGN[i].harmless) == 0)
			continue;
		return refuse(err, ERR_UNSUPPORTED_MODEL, FOREIGN[i].name, FOREIGN[i].why);
	}
	return 0;
}

static int read_integers(struct config *out, const json_t *object, struct err *err)
{
	for (size_t i = 0; i < NELEM(INTEGERS); i++) {
		const json_t *value = field(object, INTEGERS[i].name);
		json_int_t number = json_integer_value(value);
		char why[80];

		if (value == NULL)
			continue;
		if (!json_is_integer(value) || number < INTEGERS[i].min || number > INTEGERS[i].max) {
			snprintf(why, sizeof(why), "must be an integer from %d to %d", INTEGERS[i].min,
				INTEGERS[i].max);
			return refuse(err, ERR_INVALID_MODEL, INTEGERS[i].name, why);
		}
		memcpy((char *)out + INTEGERS[i].offset, &(int){(int)number}, sizeof(int));
	}
	return 0;
}

static int read_reals(struct config *out, const json_t *object, struct err *err)
{
	out->classifier_dropout = -1;
	for (size_t i = 0; i < NELEM(REALS); i++) {
		const json_t *value = field(object, REALS[i].name);
		double number = json_number_value(value);
		char why[80];

		if (value == NULL)
			continue;
		if (!json_is_number(value) || number < REALS[i].min || number >= REALS[i].max) {
			snprintf(why, sizeof(why), "must be a number from %g to below %g", REALS[i].min,
				REALS[i].max);
			return refuse(err, ERR_INVALID_MODEL, REALS[i].name, why);
		}
		memcpy((char *)out + REALS[i].offset, &number, sizeof(number));
	}
	if (out->classifier_dropout < 0)
		out->classifier_dropout = out->hidden_dropout;
	return 0;
}

static int read_activation(struct config *out, const json_t *object, struct err *err)
{
	const json_t *value = field(object, "hidden_act");
	const char *name = value == NULL ? "gelu" : json_string_value(value);

	if (name == NULL)
		return refuse(err, ERR_INVALID_MODEL, "hidden_act", "must be a string");
	for (size_t i = 0; i < NELEM(ACTIVATIONS); i++) {
		if (strcmp(name, ACTIVATIONS[i].name) == 0) {
			out->activation = ACTIVATIONS[i].activation;
			return 0;
		}
	}
	return refuse(err, ERR_UNSUPPORTED_MODEL, "hidden_act",
		"must be gelu, gelu_new, gelu_pytorch_tanh, relu, silu or swish");
}

/* What only makes sense, or not, together. */
static int relate(struct config *out, struct err *err)
{
	if (out->D % out->H != 0)
		return refuse(err, ERR_INVALID_MODEL, "num_attention_heads", "does not divide hidden_size");
	if (out->pad_id >= out->V)
		return refuse(err, ERR_INVALID_MODEL, "pad_token_id", "is not below vocab_size");
	out->position_offset = out->family == FAMILY_ROBERTA ? out->pad_id + 1 : 0;
	out->max_tokens = out->P - out->position_offset;
	if (out->max_tokens < CONFIG_TOKENS_MIN)
		return refuse(err, ERR_INVALID_MODEL, "max_position_embeddings", "leaves no room for a text");
	return 0;
}

static int read_object(struct config *out, const json_t *object, struct err *err)
{
	int rc;

	if (!json_is_object(object))
		return err_set(err, ERR_INVALID_MODEL, "config.json", "not an object");
	rc = read_family(out, object, err);
	if (rc == 0)
		rc = refuse_foreign(object, err);
	if (rc == 0)
		rc = read_integers(out, object, err);
	if (rc == 0)
		rc = read_reals(out, object, err);
	if (rc == 0)
		rc = read_activation(out, object, err);
	return rc == 0 ? relate(out, err) : rc;
}

int config_read(struct config *out, int dirfd, struct err *err)
{
	struct buf text = {0};
	json_t *object = NULL;
	int rc;

	*out = (struct config){0};
	rc = io_read_file(&text, dirfd, "config.json", CONFIG_BYTES_MAX, err);
	if (rc == 0)
		rc = json_parse(&object, text.data, text.len, "config.json", err);
	if (rc == -ERR_NOT_FOUND || rc == -ERR_TOO_LARGE || rc == -ERR_INVALID_JSON)
		rc = err_as(err, ERR_INVALID_MODEL);
	if (rc == 0)
		rc = read_object(out, object, err);
	json_decref(object);
	buf_done(&text);
	return rc;
}

/* --- writing ---------------------------------------------------------------------------------------- */

/* The first of its names. */
static const char *activation_name(enum activation activation)
{
	for (size_t i = 0; i < NELEM(ACTIVATIONS); i++)
		if (ACTIVATIONS[i].activation == activation)
			return ACTIVATIONS[i].name;
	return NULL;
}

json_t *config_json(const struct config *config)
{
	json_t *out = json_pack("{s:s, s:s}", "model_type", config->model_type, "hidden_act",
		activation_name(config->activation));
	int rc = out == NULL ? -1 : 0;

	for (size_t i = 0; i < NELEM(INTEGERS) && rc == 0; i++) {
		const void *at = (const char *)config + INTEGERS[i].offset;

		rc = json_object_set_new(out, INTEGERS[i].name, json_integer(*(const int *)at));
	}
	for (size_t i = 0; i < NELEM(REALS) && rc == 0; i++) {
		const void *at = (const char *)config + REALS[i].offset;

		rc = json_object_set_new(out, REALS[i].name, json_real(*(const double *)at));
	}
	if (rc == 0)
		return out;
	json_decref(out);
	return NULL;
}
