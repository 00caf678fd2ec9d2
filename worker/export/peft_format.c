#include "worker/export/peft_format.h"

#include <math.h>
#include <stdio.h>

#include "worker/export/json_file.h"

enum { HEAD_TENSORS = 4 };

/* --- tensors ---------------------------------------------------------------------------------------- */

void peft_format_add(struct tensor_list *list, const struct trained *trained)
{
	const struct lora *lora = &trained->lora;
	const char *model = family_names[trained->family].model_type;
	char at[96];

	for (int layer = 0, i = 0; layer < lora->L; layer++)
		for (int site = 0; site < SITE_PROJECTIONS; site++) {
			if ((lora->targets & (1u << site)) == 0)
				continue;
			snprintf(at, sizeof(at), "base_model.model.%s.encoder.layer.%d.attention.self.%s",
				model, layer, peft_site_names[site]);
			tensor_list_add(list, lora->r, lora->D, lora->A[i], "%s.lora_A.weight", at);
			tensor_list_add(list, lora->D, lora->r, lora->B[i], "%s.lora_B.weight", at);
			i++;
		}
}

static void add_linear(
	struct tensor_list *list, const char *name, int rows, int columns, const real *w, const real *b)
{
	char full[TENSOR_NAME_BYTES / 2];

	snprintf(full, sizeof(full), "base_model.model.%s", name);
	tensor_list_add_linear(list, rows, columns, w, b, full);
}

static int write_tensors(int dirfd, const struct trained *trained, struct err *err)
{
	const struct family_names *family = &family_names[trained->family];
	int D = trained->D;
	struct tensor_list list;
	int rc = tensor_list_init(&list, 2 * lora_maps(&trained->lora) + HEAD_TENSORS, err);

	if (rc == 0) {
		peft_format_add(&list, trained);
		add_linear(&list, family->dense, D, D, trained->dense_w, trained->dense_b);
		add_linear(&list, family->out, trained->K, D, trained->out_w, trained->out_b);
		rc = tensor_list_write(&list, dirfd, PEFT_FORMAT_TENSORS, err);
	}
	tensor_list_done(&list);
	return rc;
}

/* --- adapter_config.json ---------------------------------------------------------------------------- */

static json_t *target_list(unsigned targets)
{
	json_t *out = json_array();

	for (int site = 0; site < SITE_PROJECTIONS; site++)
		if ((targets & (1u << site)) != 0)
			json_list_add(&out, json_string(peft_site_names[site]));
	return out;
}

static json_t *modules_to_save(enum family family)
{
	const char *const *module = family_names[family].modules_to_save;
	json_t *out = json_array();

	for (int i = 0; i < 2 && module[i] != NULL; i++)
		json_list_add(&out, json_string(module[i]));
	return out;
}

/* PEFT's own alpha is an integer. */
static json_t *alpha_json(double alpha)
{
	return alpha == floor(alpha) && fabs(alpha) < 1e9 ? json_integer((json_int_t)alpha)
							  : json_real(alpha);
}

static json_t *adapter_config(const struct trained *trained)
{
	const struct lora *lora = &trained->lora;

	return json_pack("{s:s, s:s, s:s, s:i, s:o, s:f, s:s, s:b, s:b, s:o, s:o}", "peft_type", "LORA",
		"task_type", "SEQ_CLS", "base_model_name_or_path", trained->model_id, "r", lora->r,
		"lora_alpha", alpha_json(lora->alpha), "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out",
		0, "inference_mode", 1, "target_modules", target_list(lora->targets), "modules_to_save",
		modules_to_save(trained->family));
}

int peft_format_write(int dirfd, const struct trained *trained, struct err *err)
{
	int rc = json_file_write(dirfd, "adapter_config.json", adapter_config(trained), err);

	return rc == 0 ? write_tensors(dirfd, trained, err) : rc;
}
