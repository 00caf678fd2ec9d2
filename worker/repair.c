#include "worker/repair.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"
#include "worker/export/adapterhub_format.h"
#include "worker/export/peft_format.h"

#define CONFIG_FILE  "init.json"
#define TENSORS_FILE "init.safetensors"

enum { CONFIG_BYTES_MAX = 1 << 16, RANK_MAX = 4096 };

static int invalid(struct err *err, const char *why)
{
	return err_set(err, ERR_INVALID_DATA, CONFIG_FILE, "%s", why);
}

/* --- init.json -------------------------------------------------------------------------------------- */

/* Bits of the projections that the list names; 0: no such list. */
static unsigned parse_targets(const json_t *list)
{
	unsigned targets = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		unsigned bit = 0;

		for (int site = 0; site < SITE_PROJECTIONS && name != NULL; site++)
			if (strcmp(name, peft_site_names[site]) == 0)
				bit = 1u << site;
		if (bit == 0 || (targets & bit) != 0)
			return 0;
		targets |= bit;
	}
	return targets;
}

static int config_of_lora(struct repair *out, const json_t *config, const struct peft *peft, struct err *err)
{
	const json_t *r = json_object_get(config, "r");
	struct lora *lora = &out->trained.lora;

	*lora = (struct lora){.L = peft->shape.L,
		.D = peft->shape.D,
		.alpha = json_number_value(json_object_get(config, "lora_alpha")),
		.targets = parse_targets(json_object_get(config, "target_modules"))};
	if (!json_is_integer(r) || json_integer_value(r) < 1 || json_integer_value(r) > RANK_MAX)
		return invalid(err, "r is no rank from 1 to 4096");
	lora->r = (int)json_integer_value(r);
	if (!(lora->alpha > 0 && lora->alpha < 1e9) || lora->targets == 0)
		return invalid(err, "lora_alpha or target_modules is missing or absurd");
	return 0;
}

/* The tensors' shapes say the bottleneck; what they cannot say is the activation. */
static int config_of_adapter(
	struct repair *out, const json_t *config, const struct peft *peft, struct err *err)
{
	const char *old =
		json_string_value(json_object_get(json_object_get(config, "config"), "non_linearity"));
	const char *now = trained_activation(peft->options.activation);

	if (old == NULL)
		return invalid(err, "non_linearity is missing");
	if (strcmp(old, now) != 0)
		return err_set(err, ERR_INVALID_VALUE, "peft.activation",
			"the adapter to start from has another one than this job");
	out->trained.adapter = (struct trained_adapter){
		.bottleneck = peft->options.bottleneck, .activation = now, .params = peft->params};
	return 0;
}

static int config_of_prefix(
	struct repair *out, const json_t *config, const struct peft *peft, struct err *err)
{
	const json_t *inner = json_object_get(config, "config");

	if (!json_is_true(json_object_get(inner, "flat")))
		return invalid(err, "the prefix is not flat");
	if (json_integer_value(json_object_get(inner, "prefix_length")) != peft->P)
		return err_set(err, ERR_INVALID_VALUE, "peft.length",
			"the prefix to start from has another one than this job");
	out->trained.prefix = (struct trained_prefix){.length = peft->P};
	return 0;
}

/* --- init.safetensors ------------------------------------------------------------------------------- */

static int list_lora(struct repair *out, struct err *err)
{
	size_t maps = (size_t)lora_maps(&out->trained.lora);
	int rc = tensor_list_init(&out->list, 2 * (int)maps, err);

	out->A = calloc(maps, sizeof(*out->A));
	out->B = calloc(maps, sizeof(*out->B));
	out->trained.lora.A = out->A;
	out->trained.lora.B = out->B;
	if (rc == 0 && (out->A == NULL || out->B == NULL))
		rc = err_nomem(err);
	if (rc == 0)
		peft_format_add(&out->list, &out->trained);
	return rc;
}

static int list_others(struct repair *out, struct err *err)
{
	int rc = tensor_list_init(&out->list, adapterhub_format_tensors(&out->trained), err);

	return rc == 0 ? adapterhub_format_add(&out->list, &out->trained, err) : rc;
}

static int read_tensors(struct repair *out, int data_fd, struct err *err)
{
	real **to = calloc((size_t)out->list.n, sizeof(*to));
	size_t n = 0;
	struct st st = {0};
	int rc = to == NULL ? err_nomem(err) : st_open(&st, data_fd, TENSORS_FILE, err);

	if (rc == -ERR_INVALID_MODEL || rc == -ERR_UNSUPPORTED_FORMAT || rc == -ERR_NOT_FOUND)
		rc = err_as(err, ERR_INVALID_DATA);
	for (int i = 0; i < out->list.n; i++)
		n += st_elements(&out->list.tensor[i]);
	if (rc == 0 && (out->values = calloc(n, sizeof(real))) == NULL)
		rc = err_nomem(err);
	n = 0;
	for (int i = 0; rc == 0 && i < out->list.n; i++) {
		to[i] = out->values + n;
		n += st_elements(&out->list.tensor[i]);
	}
	if (rc == 0)
		rc = tensor_list_read(&out->list, to, &st, TENSORS_FILE, err);
	st_done(&st);
	free(to);
	return rc;
}

/* --- what becomes of it ----------------------------------------------------------------------------- */

static int use_lora(struct repair *out, const struct config *config, const struct weights *base,
	struct peft *peft, struct err *err)
{
	const struct lora *lora = &out->trained.lora;
	size_t n = (size_t)lora->r * (size_t)lora->D;

	for (int i = 0; i < lora_maps(lora); i++) {
		out->A[i] = out->values + 2 * (size_t)i * n;
		out->B[i] = out->A[i] + n;
	}
	return fold_init(&out->fold, base, config, lora, peft->k, err);
}

static int use_adapter(struct repair *out, const struct config *config, const struct weights *base,
	struct peft *peft, struct err *err)
{
	(void)out, (void)config, (void)base, (void)peft, (void)err; /* repair_start does it */
	return 0;
}

static int use_prefix(struct repair *out, const struct config *config, const struct weights *base,
	struct peft *peft, struct err *err)
{
	(void)config, (void)base, (void)err;
	peft->origin = out->values;
	return 0;
}

/* By enum spec_peft. */
static const struct {
	int (*config)(struct repair *out, const json_t *config, const struct peft *peft, struct err *err);
	int (*list)(struct repair *out, struct err *err);
	int (*use)(struct repair *out, const struct config *config, const struct weights *base,
		struct peft *peft, struct err *err);
} methods[] = {
	[SPEC_LORA] = {config_of_lora, list_lora, use_lora},
	[SPEC_ADAPTER] = {config_of_adapter, list_others, use_adapter},
	[SPEC_PREFIX] = {config_of_prefix, list_others, use_prefix},
};

static int read_config(struct repair *out, const struct peft *peft, int data_fd, struct err *err)
{
	struct buf text = {0};
	json_t *config = NULL;
	int rc = io_read_file(&text, data_fd, CONFIG_FILE, CONFIG_BYTES_MAX, err);

	if (rc == 0)
		rc = json_parse(&config, text.data != NULL ? text.data : "", text.len, CONFIG_FILE, err);
	if (rc == -ERR_NOT_FOUND || rc == -ERR_TOO_LARGE || rc == -ERR_INVALID_JSON)
		rc = err_as(err, ERR_INVALID_DATA);
	if (rc == 0)
		rc = methods[out->trained.peft].config(out, config, peft, err);
	json_decref(config);
	buf_done(&text);
	return rc;
}

int repair_open(struct repair *out, const struct spec *spec, const struct config *config,
	const struct weights *base, struct peft *peft, int data_fd, struct err *err)
{
	int rc;

	*out = (struct repair){
		.trained = {
			.peft = spec->peft.type, .family = config->family, .L = config->L, .D = config->D}};
	if (spec->peft.init_from.id[0] == '\0')
		return 0;
	rc = read_config(out, peft, data_fd, err);
	if (rc == 0)
		rc = methods[out->trained.peft].list(out, err);
	if (rc == 0)
		rc = read_tensors(out, data_fd, err);
	return rc == 0 ? methods[out->trained.peft].use(out, config, base, peft, err) : rc;
}

void repair_done(struct repair *repair)
{
	fold_done(&repair->fold);
	tensor_list_done(&repair->list);
	free(repair->values);
	free(repair->A);
	free(repair->B);
	*repair = (struct repair){0};
}

const struct weights *repair_weights(const struct repair *repair, const struct weights *base)
{
	return repair->fold.changed != NULL ? &repair->fold.weights : base;
}

void repair_start(const struct repair *repair)
{
	const real *values = repair->values;

	if (repair->trained.peft != SPEC_ADAPTER)
		return;
	for (int i = 0; i < repair->list.n; i++) {
		const struct st_tensor *tensor = &repair->list.tensor[i];
		size_t n = st_elements(tensor);

		memcpy((void *)(uintptr_t)tensor->data, values, n * sizeof(real)); /* the job's own params */
		values += n;
	}
}

const struct lora *repair_lora(const struct repair *repair)
{
	return repair->fold.changed != NULL ? &repair->trained.lora : NULL;
}
