#include "worker/export/adapterhub_format.h"

#include <stdio.h>

#include "worker/export/json_file.h"
#include "worker/export/label_files.h"
#include "worker/export/torch_file.h"

static const char version[] = "adapters.1.3.0";

/* --- tensors ---------------------------------------------------------------------------------------- */

/* Our names of an adapter's tensors behind "encoder.layer.I.PLACE." and theirs. */
static const struct {
	const char *ours, *theirs;
	bool is_bias;
} adapter_parts[] = {
	{"adapter_down.weight", "adapter_down.0.weight", false},
	{"adapter_down.bias", "adapter_down.0.bias", true},
	{"adapter_up.weight", "adapter_up.weight", false},
	{"adapter_up.bias", "adapter_up.bias", true},
};
static const char *const adapter_places[] = {"attention.output", "output"};

static int add_adapter_part(struct tensor_list *list, const struct trained *trained, int layer, int place,
	int part, struct err *err)
{
	const struct params *params = trained->adapter.params;
	const char *model = family_names[trained->family].model_type;
	char name[PARAM_NAME_BYTES];
	const struct param *param;
	bool is_bias = adapter_parts[part].is_bias;
	int number;

	snprintf(name, sizeof(name), "encoder.layer.%d.%s.%s", layer, adapter_places[place],
		adapter_parts[part].ours);
	number = params_find(params, name);
	if (number < 0)
		return err_set(err, ERR_INTERNAL, name, "the adapter has no such tensor");
	param = &params->param[number];
	tensor_list_add(list, is_bias ? param->cols : param->rows, is_bias ? 0 : param->cols,
		param_w(params, number), "%s.encoder.layer.%d.%s.adapters.task.%s", model, layer,
		adapter_places[place], adapter_parts[part].theirs);
	return 0;
}

static int add_adapter(struct tensor_list *list, const struct trained *trained, struct err *err)
{
	int rc = 0;

	for (int layer = 0; layer < trained->L; layer++)
		for (int place = 0; place < (int)NELEM(adapter_places); place++)
			for (int part = 0; part < (int)NELEM(adapter_parts) && rc == 0; part++)
				rc = add_adapter_part(list, trained, layer, place, part, err);
	return rc;
}

static int add_prefix(struct tensor_list *list, const struct trained *trained, struct err *err)
{
	(void)err;
	tensor_list_add(list, trained->prefix.length * 2 * trained->L * trained->D, 0, trained->prefix.flat,
		"%s.prefix_tuning.prefix_tunings.task.self_prefix.control_trans",
		family_names[trained->family].model_type);
	return 0;
}

static int add_head(struct tensor_list *list, const struct trained *trained, struct err *err)
{
	int D = trained->D;

	(void)err;
	tensor_list_add_linear(list, D, D, trained->dense_w, trained->dense_b, "heads.task.1");
	tensor_list_add_linear(list, trained->K, D, trained->out_w, trained->out_b, "heads.task.4");
	return 0;
}

/* --- adapter_config.json: the fields that say what is computed --------------------------------------- */

/*
 * The library's bottleneck is hidden_size // reduction_factor; where no integer gives ours, a factor in the
 * middle of those that do.
 */
static json_t *reduction_factor(int D, int bottleneck)
{
	int whole = D / bottleneck;

	if (whole > 0 && D / whole == bottleneck)
		return json_integer(whole);
	return json_real(D / (bottleneck + .5));
}

static json_t *adapter_json(const struct trained *trained)
{
	const struct trained_adapter *adapter = &trained->adapter;

	return json_pack("{s:b, s:b, s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:f, s:f, s:[]}",
		"mh_adapter", 1, "output_adapter", 1, "reduction_factor",
		reduction_factor(trained->D, adapter->bottleneck), "non_linearity", adapter->activation,
		"original_ln_before", 0, "original_ln_after", 1, "residual_before_ln", 1,
		"adapter_residual_before_ln", 0, "ln_before", 0, "ln_after", 0, "is_parallel", 0,
		"use_gating", 0, "phm_layer", 0, "scaling", 1.0, "dropout", 0.0, "leave_out");
}

/* bottleneck_size and non_linearity are of an MLP that a flat prefix has no more; the library wants them. */
static json_t *prefix_json(const struct trained *trained)
{
	return json_pack("{s:s, s:b, s:i, s:b, s:b, s:i, s:s, s:f, s:b, s:b, s:[]}", "architecture",
		"prefix_tuning", "flat", 1, "prefix_length", trained->prefix.length, "encoder_prefix", 1,
		"cross_prefix", 1, "bottleneck_size", 512, "non_linearity", "tanh", "dropout", 0.0,
		"use_gating", 0, "shared_gating", 1, "leave_out");
}

/* Takes the reference of config. */
static json_t *outer_json(json_t *config, const struct trained *trained)
{
	const struct family_names *family = &family_names[trained->family];

	return json_pack("{s:o, s:i, s:s, s:s, s:s, s:s, s:s}", "config", config, "hidden_size", trained->D,
		"model_class", family->adapter_class, "model_name", trained->model_id, "model_type",
		family->model_type, "name", "task", "version", version);
}

static json_t *head_json(const struct trained *trained, const struct labels *labels)
{
	return json_pack("{s:s, s:b, s:n, s:s, s:o, s:i, s:i, s:b}", "activation_function", "tanh", "bias", 1,
		"dropout_prob", "head_type", "classification", "label2id", label_files_ids(labels), "layers",
		2, "num_labels", trained->K, "use_pooler", 0);
}

/* --- the files -------------------------------------------------------------------------------------- */

/* By enum spec_peft; LoRA has a format of its own. */
static const struct {
	int tensors_per_layer, tensors;
	int (*add)(struct tensor_list *list, const struct trained *trained, struct err *err);
	json_t *(*config)(const struct trained *trained);
} methods[] = {
	[SPEC_ADAPTER] = {NELEM(adapter_places) * NELEM(adapter_parts), 0, add_adapter, adapter_json},
	[SPEC_PREFIX] = {0, 1, add_prefix, prefix_json},
};

/* One list of tensors in both forms. */
static int write_both(int dirfd, const char *safetensors, const char *bin, int n,
	int (*add)(struct tensor_list *list, const struct trained *trained, struct err *err),
	const struct trained *trained, struct err *err)
{
	struct tensor_list list;
	int rc = tensor_list_init(&list, n, err);

	if (rc == 0)
		rc = add(&list, trained, err);
	if (rc == 0)
		rc = tensor_list_write(&list, dirfd, safetensors, err);
	if (rc == 0)
		rc = torch_file_write(dirfd, bin, &list, err);
	tensor_list_done(&list);
	return rc;
}

int adapterhub_format_add(struct tensor_list *list, const struct trained *trained, struct err *err)
{
	return methods[trained->peft].add(list, trained, err);
}

int adapterhub_format_tensors(const struct trained *trained)
{
	return methods[trained->peft].tensors + trained->L * methods[trained->peft].tensors_per_layer;
}

int adapterhub_format_write(
	int dirfd, const struct trained *trained, const struct labels *labels, struct err *err)
{
	int rc = json_file_write(dirfd, "adapter_config.json",
		outer_json(methods[trained->peft].config(trained), trained), err);

	if (rc == 0)
		rc = json_file_write(
			dirfd, "head_config.json", outer_json(head_json(trained, labels), trained), err);
	if (rc == 0)
		rc = write_both(dirfd, ADAPTERHUB_FORMAT_TENSORS, "pytorch_adapter.bin",
			adapterhub_format_tensors(trained), adapterhub_format_add, trained, err);
	if (rc == 0)
		rc = write_both(
			dirfd, "model_head.safetensors", "pytorch_model_head.bin", 4, add_head, trained, err);
	return rc;
}
