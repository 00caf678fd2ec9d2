#include "worker/export/peft_format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"
#include "common/json.h"
#include "worker/data/safetensors.h"

/* Where the parts lie in a family's ...ForSequenceClassification. */
static const struct family_names {
	const char *encoder, *model_type;
	const char *dense, *out;
	const char *modules_to_save[2]; /* the second may be NULL */
} names[] = {
	[FAMILY_BERT] = {"bert.encoder", "bert", "bert.pooler.dense", "classifier", {"pooler", "classifier"}},
	[FAMILY_ROBERTA] = {"roberta.encoder", "roberta", "classifier.dense", "classifier.out_proj",
		{"classifier", NULL}},
};

/* --- tensors ---------------------------------------------------------------------------------------- */

enum { HEAD_TENSORS = 4, NAME_BYTES = 160 };

/* The list for st_write, with room for the names. */
struct tensor_list {
	int n;
	struct st_tensor *tensor;
	char (*name)[NAME_BYTES];
};

static int list_init(struct tensor_list *list, int n, struct err *err)
{
	*list = (struct tensor_list){0};
	list->tensor = calloc((size_t)n, sizeof(*list->tensor));
	list->name = calloc((size_t)n, sizeof(*list->name));
	return list->tensor == NULL || list->name == NULL ? err_nomem(err) : 0;
}

static void list_done(struct tensor_list *list)
{
	free(list->tensor);
	free(list->name);
}

/* A tensor of the given shape (columns 0: a vector); its name is still to be written. */
static char *list_add(struct tensor_list *list, int rows, int columns, const real *data)
{
	struct st_tensor *tensor = &list->tensor[list->n];

	*tensor = (struct st_tensor){
		.name = list->name[list->n], .dtype = ST_REAL, .rank = columns > 0 ? 2 : 1, .data = data};
	tensor->shape[0] = (size_t)rows;
	tensor->shape[1] = (size_t)columns;
	return list->name[list->n++];
}

static void add_linear(
	struct tensor_list *list, const char *name, int rows, int columns, const real *w, const real *b)
{
	snprintf(list_add(list, rows, columns, w), NAME_BYTES, "base_model.model.%s.weight", name);
	snprintf(list_add(list, rows, 0, b), NAME_BYTES, "base_model.model.%s.bias", name);
}

static void add_lora(struct tensor_list *list, const struct peft_lora *lora, int layer, int target)
{
	int i = layer * lora->targets + target;
	char at[96];

	snprintf(at, sizeof(at), "base_model.model.%s.layer.%d.attention.self.%s",
		names[lora->family].encoder, layer, lora->target[target]);
	snprintf(list_add(list, lora->r, lora->D, lora->A[i]), NAME_BYTES, "%s.lora_A.weight", at);
	snprintf(list_add(list, lora->D, lora->r, lora->B[i]), NAME_BYTES, "%s.lora_B.weight", at);
}

static int write_tensors(int dirfd, const struct peft_lora *lora, struct err *err)
{
	static const struct st_metadata metadata[] = {{"format", "pt"}};
	const struct family_names *family = &names[lora->family];
	struct tensor_list list;
	int rc = list_init(&list, 2 * lora->L * lora->targets + HEAD_TENSORS, err);

	if (rc == 0) {
		for (int layer = 0; layer < lora->L; layer++)
			for (int target = 0; target < lora->targets; target++)
				add_lora(&list, lora, layer, target);
		add_linear(&list, family->dense, lora->D, lora->D, lora->dense_w, lora->dense_b);
		add_linear(&list, family->out, lora->K, lora->D, lora->out_w, lora->out_b);
		rc = st_write(dirfd, "adapter_model.safetensors", list.tensor, list.n, metadata,
			NELEM(metadata), err);
	}
	list_done(&list);
	return rc;
}

/* --- JSON files ------------------------------------------------------------------------------------- */

/* Takes the reference, which may be NULL: out of memory. */
static int write_json(int dirfd, const char *name, json_t *value, struct err *err)
{
	struct buf text = {0};
	int rc;

	if (value == NULL)
		return err_nomem(err);
	json_write_pretty(&text, value);
	json_decref(value);
	rc = text.failed ? err_nomem(err) : io_write_file(dirfd, name, text.data, text.len, err);
	buf_done(&text);
	return rc;
}

/* *list goes NULL when it or the value does, so that json_pack fails at the end. */
static void append(json_t **list, json_t *value)
{
	if (json_array_append_new(*list, value) == 0)
		return;
	json_decref(*list);
	*list = NULL;
}

static void set(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) == 0)
		return;
	json_decref(*object);
	*object = NULL;
}

static json_t *string_list(const char *const *text, int n)
{
	json_t *out = json_array();

	for (int i = 0; i < n && text[i] != NULL; i++)
		append(&out, json_string(text[i]));
	return out;
}

/* PEFT's own alpha is an integer. */
static json_t *alpha_json(double alpha)
{
	return alpha == floor(alpha) && fabs(alpha) < 1e9 ? json_integer((json_int_t)alpha)
							  : json_real(alpha);
}

static json_t *config_json(const struct peft_lora *lora)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:o, s:f, s:s, s:b, s:b, s:o, s:o}", "peft_type", "LORA",
		"task_type", "SEQ_CLS", "base_model_name_or_path", lora->model_id, "r", lora->r, "lora_alpha",
		alpha_json(lora->alpha), "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", 0,
		"inference_mode", 1, "target_modules", string_list(lora->target, lora->targets),
		"modules_to_save", string_list(names[lora->family].modules_to_save, 2));
}

int peft_format_write(int dirfd, const struct peft_lora *lora, struct err *err)
{
	int rc = write_json(dirfd, "adapter_config.json", config_json(lora), err);

	return rc == 0 ? write_tensors(dirfd, lora, err) : rc;
}

/* {"0": name, ...} */
static json_t *id2label(const struct labels *labels)
{
	json_t *out = json_object();
	char id[16];

	for (int l = 0; l < labels->n; l++) {
		snprintf(id, sizeof(id), "%d", l);
		set(&out, id, json_string(labels->name[l]));
	}
	return out;
}

/* {name: 0, ...} */
static json_t *label2id(const struct labels *labels)
{
	json_t *out = json_object();

	for (int l = 0; l < labels->n; l++)
		set(&out, labels->name[l], json_integer(l));
	return out;
}

int peft_format_write_labels(int dirfd, enum family family, const struct labels *labels, struct err *err)
{
	json_t *map = json_pack("{s:o, s:o}", "id2label", id2label(labels), "label2id", label2id(labels));
	json_t *fragment = json_pack("{s:s, s:i, s:o, s:o}", "model_type", names[family].model_type,
		"num_labels", labels->n, "id2label", id2label(labels), "label2id", label2id(labels));
	int rc = write_json(dirfd, "labels.json", map, err);

	if (rc != 0) {
		json_decref(fragment);
		return rc;
	}
	return write_json(dirfd, "config.json", fragment, err);
}
