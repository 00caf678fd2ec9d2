#include "worker/export/model_card.h"

#include <string.h>

#include "common/io.h"
#include "common/json.h"

/* --- text from outside ------------------------------------------------------------------------------ */

/* As Markdown text in one table cell. */
static void put_text(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == 0x7f) {
			buf_str(out, " ");
			continue;
		}
		if (c < 0x80 && strchr("\\`*_{}[]<>#|~&", c) != NULL)
			buf_str(out, "\\");
		buf_add(out, text, 1);
	}
}

/* As a JSON string, which is one for Python and YAML too: escaped, in UTF-8, on one line. */
static void put_quoted(struct buf *out, const char *text)
{
	json_t *value = json_string(text);

	json_write(out, value);
	json_decref(value);
}

static void put_json(struct buf *out, const json_t *value)
{
	json_write(out, value);
}

/* --- what differs by PEFT method ---------------------------------------------------------------------- */

static void put_label_map(struct buf *out, const struct labels *labels, bool by_name)
{
	buf_str(out, "{");
	for (int l = 0; l < labels->n; l++) {
		buf_str(out, l > 0 ? ", " : "");
		if (!by_name)
			buf_printf(out, "%d: ", l);
		put_quoted(out, labels->name[l]);
		if (by_name)
			buf_printf(out, ": %d", l);
	}
	buf_str(out, "}");
}

static void put_label_maps(struct buf *out, const struct labels *labels)
{
	buf_printf(out, "    num_labels=%d,\n    id2label=", labels->n);
	put_label_map(out, labels, false);
	buf_str(out, ",\n    label2id=");
	put_label_map(out, labels, true);
	buf_str(out, ",\n");
}

static void put_peft_usage(struct buf *out, const struct labels *labels)
{
	buf_str(out,
		"The files are those of the PEFT library (written for peft 0.21.2 with transformers 5.23.0; "
		"older ones know every\nfield). The number of labels and their names are not part of them; "
		"they are in `labels.json`.\n\n```python\n"
		"from peft import PeftModel\n"
		"from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
		"base = \"directory-of-the-base-model\"\n"
		"model = AutoModelForSequenceClassification.from_pretrained(\n    base,\n");
	put_label_maps(out, labels);
	buf_str(out, ")\nmodel = PeftModel.from_pretrained(model, \"directory-of-this-adapter\").eval()\n"
		     "id2label = model.config.id2label\n");
}

static void put_adapterhub_usage(struct buf *out, const struct labels *labels)
{
	buf_str(out, "The files are those of AdapterHub's library (adapters 1.3.0, which needs transformers "
		     "4.57.6). That transformers has\nholes which a crafted model can use (CVE-2026-4372): "
		     "load a base that you do not trust in a sandbox only.\n`adapter.safetensors` and "
		     "`model_head.safetensors` hold the same numbers as the two `.bin` files, which the "
		     "library\nreads without `use_safetensors=True`.\n\n```python\n"
		     "from adapters import AutoAdapterModel\n"
		     "from transformers import AutoTokenizer\n\n"
		     "base = \"directory-of-the-base-model\"\n"
		     "model = AutoAdapterModel.from_pretrained(base)\n"
		     "name = model.load_adapter(\"directory-of-this-adapter\", use_safetensors=True)\n"
		     "model.set_active_adapters(name)\n"
		     "model.eval()\n"
		     "id2label = ");
	put_label_map(out, labels, false);
	buf_str(out, "\n");
}

static void put_merged_usage(struct buf *out, const struct labels *labels)
{
	(void)labels;
	buf_str(out, "A whole model: transformers loads it like any other (written for 5.23.0; older ones "
		     "know every field), "
		     "and it knows its\nlabels.\n\n```python\n"
		     "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
		     "base = \"directory-of-this-model\"\n"
		     "model = AutoModelForSequenceClassification.from_pretrained(base).eval()\n"
		     "id2label = model.config.id2label\n");
}

struct kind {
	const char *title;	   /* as a sentence begins */
	const char *library, *tag; /* as Hugging Face's hub calls them */
	void (*put_usage)(struct buf *out, const struct labels *labels); /* up to the tokenizer */
	const char *after;
};

static const char head_comes_along[] = "The head comes with the adapter: a warning about newly initialized "
				       "weights of the base's own head is expected.";

/* By enum spec_peft. */
static const struct kind kinds[] = {
	[SPEC_LORA] = {"A LoRA adapter", "peft", "lora", put_peft_usage, head_comes_along},
	[SPEC_ADAPTER] = {"A bottleneck adapter", "adapter-transformers", "houlsby", put_adapterhub_usage,
		head_comes_along},
	[SPEC_PREFIX] = {"A prefix", "adapter-transformers", "prefix-tuning", put_adapterhub_usage,
		head_comes_along},
};
static const struct kind merged_kind = {"A model with a LoRA merged in,", "transformers", "lora",
	put_merged_usage, "The tokenizer's files are the base's, unchanged."};

static const struct kind *kind_of(const struct model_card *card)
{
	return card->is_merged ? &merged_kind : &kinds[card->trained->peft];
}

/* --- front matter ----------------------------------------------------------------------------------- */

static void put_metric(struct buf *out, const char *type, const char *name, bool known, double value)
{
	if (!known)
		return;
	buf_printf(out, "    - type: %s\n      name: %s\n      value: %.4f\n", type, name, value);
}

static void put_front_matter(struct buf *out, const struct model_card *card)
{
	const struct evaluation *e = card->report->evaluation;

	buf_str(out, "---\nbase_model: ");
	put_quoted(out, card->trained->model_id);
	buf_printf(out, "\nlibrary_name: %s\npipeline_tag: text-classification\ntags:\n- %s\n",
		kind_of(card)->library, kind_of(card)->tag);
	if (card->is_defended)
		buf_str(out, "- backdoor-defense\n- obliviate\n");
	buf_str(out, "model-index:\n- name: ");
	put_quoted(out, card->trained->model_id);
	buf_str(out, "\n  results:\n  - task:\n      type: text-classification\n"
		     "    dataset:\n      name: held-out test rows\n      type: private\n    metrics:\n");
	put_metric(out, "accuracy", "clean accuracy", e->ca.total > 0, e->ca.value);
	put_metric(out, "f1", "F1", e->f1.known, e->f1.value);
	put_metric(out, "asr", "attack success rate, any trigger", e->triggers.asr.total > 0,
		e->triggers.asr.value);
	put_metric(out, "masr", "attack success rate, worst trigger and label", e->triggers.masr.known,
		e->triggers.masr.value);
	buf_str(out, "---\n\n");
}

/* --- results ---------------------------------------------------------------------------------------- */

static void put_value(struct buf *out, bool known, double value, double low, double high)
{
	if (known)
		buf_printf(out, " %.3f [%.3f, %.3f] |", value, low, high);
	else
		buf_str(out, " - |");
}

static void put_rate(struct buf *out, const struct rate *rate)
{
	put_value(out, rate->total > 0, rate->value, rate->low, rate->high);
}

static void put_measure(struct buf *out, const struct measure *measure)
{
	put_value(out, measure->known, measure->value, measure->low, measure->high);
}

/* The rows of the table: a rate or a measure of an evaluation, by its offset. */
static const struct result {
	const char *title;
	bool is_rate, is_control;
	size_t offset;
} results[] = {
	{"CA: accuracy on clean rows", true, false, offsetof(struct evaluation, ca)},
	{"F1", false, false, offsetof(struct evaluation, f1)},
	{"ASR: flipped by any trigger", true, false, offsetof(struct evaluation, triggers.asr)},
	{"MASR: worst trigger and label", false, false, offsetof(struct evaluation, triggers.masr)},
	{"AASR: worst label, mean over triggers", false, false, offsetof(struct evaluation, triggers.aasr)},
	{"flip ratio", false, false, offsetof(struct evaluation, triggers.flip_ratio)},
	{"WASR: ASR, mean over labels", false, false, offsetof(struct evaluation, triggers.wasr)},
	{"WMASR: ASR of the worst label", false, false, offsetof(struct evaluation, triggers.wmasr)},
	{"control words: ASR", true, true, offsetof(struct evaluation, control.asr)},
	{"control words: MASR", false, true, offsetof(struct evaluation, control.masr)},
};

static void put_cell(struct buf *out, const struct result *result, const struct evaluation *evaluation)
{
	const void *at = (const char *)evaluation + result->offset;

	if (result->is_rate)
		put_rate(out, at);
	else
		put_measure(out, at);
}

static void put_results(struct buf *out, const struct model_card *card)
{
	const struct evaluation *ours = card->report->evaluation, *other = card->report->undefended;

	buf_printf(out,
		"## Results\n\n%d test rows, %d of them classified rightly without a trigger. Values with "
		"95 %% intervals.\n\n",
		ours->rows, ours->n_plus);
	buf_printf(out, "| | %s |%s\n| --- | --- |%s\n", "this adapter",
		other != NULL ? " trained without the defense |" : "", other != NULL ? " --- |" : "");
	for (size_t i = 0; i < NELEM(results); i++) {
		if (results[i].is_control && ours->control.T == 0)
			continue;
		buf_printf(out, "| %s |", results[i].title);
		put_cell(out, &results[i], ours);
		if (other != NULL)
			put_cell(out, &results[i], other);
		buf_str(out, "\n");
	}
	if (card->report->ca_drop != NULL) {
		buf_str(out, "| CA lost to the defense (same rows) |");
		put_measure(out, &card->report->ca_drop->measure);
		buf_str(out, other != NULL ? " |\n" : "\n");
	}
	buf_str(out, "\nThe interval of MASR is that of the worst cell, after it was selected. The control "
		     "inserts as "
		     "many\nneutral words: ASR has a floor above 0 even on a clean model.\n\n");
}

static int worst_label(const struct trigger_result *result, int K)
{
	int worst = 0;

	for (int l = 1; l < K; l++)
		if (result->target[l].value > result->target[worst].value)
			worst = l;
	return worst;
}

static void put_triggers(struct buf *out, const struct model_card *card)
{
	const struct attack_result *attack = &card->report->evaluation->triggers;

	buf_str(out,
		"| trigger | within the truncation | flips | turns most into |\n| --- | --- | --- | --- |\n");
	for (int t = 0; t < attack->T; t++) {
		const struct trigger_result *result = &attack->by_trigger[t];
		int l = worst_label(result, attack->K);

		buf_str(out, "| ");
		put_text(out, card->report->triggers[t]);
		buf_printf(out, " | %d rows |", result->survived);
		put_rate(out, &result->asr);
		buf_str(out, " ");
		put_text(out, card->report->labels->name[l]);
		buf_str(out, ":");
		put_rate(out, &result->target[l]);
		buf_str(out, "\n");
	}
	buf_str(out, "\n");
}

/* --- the rest --------------------------------------------------------------------------------------- */

static void put_usage(struct buf *out, const struct model_card *card)
{
	buf_str(out, "## Use\n\n");
	kind_of(card)->put_usage(out, card->report->labels);
	buf_printf(out,
		"tokenizer = AutoTokenizer.from_pretrained(base)\n"
		"tokens = tokenizer(\"a text\", truncation=True, max_length=%d, return_tensors=\"pt\")\n"
		"print(id2label[model(**tokens).logits.argmax().item()])\n```\n\n"
		"Texts were cut at %d tokens. %s\n\n",
		card->max_length, card->max_length, kind_of(card)->after);
}

static void put_settings(struct buf *out, const json_t *settings)
{
	const char *key;
	json_t *value;

	if (!json_is_object(settings))
		return;
	buf_str(out, "## Training\n\n| | |\n| --- | --- |\n");
	json_object_foreach((json_t *)(uintptr_t)settings, key, value)
	{
		struct buf text = {0};

		put_json(&text, value);
		buf_printf(out, "| %s | ", key);
		put_text(out, text.data != NULL ? text.data : "");
		buf_str(out, " |\n");
		buf_done(&text);
	}
	buf_str(out, "\n");
}

static void put_digest(struct buf *out, const char *name, const char *sha256)
{
	if (sha256 != NULL)
		buf_printf(out, "| %s | `%s` |\n", name, sha256);
}

static void put_inputs(struct buf *out, const struct report *report)
{
	buf_str(out, "## Inputs\n\n| | SHA-256 |\n| --- | --- |\n");
	put_digest(out, "base model", report->model.sha256);
	put_digest(out, "training file", report->training_file.sha256);
	put_digest(out, "validation file", report->validation_file.sha256);
	put_digest(out, "test file", report->test_file.sha256);
	put_digest(out, "adapter that it started from", report->init_from_sha256);
	put_digest(out, "job", report->spec_sha256);
	buf_str(out, "\n`manifest.json` has the digest of every file here.\n\n");
}

static void put_title(struct buf *out, const struct model_card *card)
{
	buf_printf(out, "# %s trained %s\n\n", kind_of(card)->title,
		card->is_defended ? "with the Obliviate defense" : "without a defense");
	buf_str(out, "Text classifier on top of the base model ");
	put_text(out, card->trained->model_id);
	buf_printf(out, ", into %d labels. ", card->trained->K);
	buf_str(out, card->is_defended ? "The base was treated as suspect: two loss terms strengthen\nwhat "
					 "training adds and "
					 "weaken the attention that a hidden trigger needs.\n\n"
				       : "Nothing was done about backdoors in the base.\n\n");
}

static const char limits[] =
	"## What these numbers do not promise\n\n"
	"- They hold for the triggers in the table, at the positions that were drawn. An attacker may have "
	"chosen "
	"others,\n  and a low rate on known words is no proof that the base has no backdoor.\n"
	"- They hold for the test rows that were given. Other texts may behave differently.\n"
	"- An attacker who knows the defense may have planted against it.\n"
	"- The base model itself is unchanged: used without this adapter, it is as suspect as before.\n";

void model_card_write(struct buf *out, const struct model_card *card)
{
	put_front_matter(out, card);
	put_title(out, card);
	put_results(out, card);
	put_triggers(out, card);
	put_usage(out, card);
	put_settings(out, card->settings);
	put_inputs(out, card->report);
	buf_str(out, limits);
}

int model_card_save(int dirfd, const struct model_card *card, struct err *err)
{
	struct buf text = {0};
	int rc;

	model_card_write(&text, card);
	rc = text.failed ? err_nomem(err) : io_write_file(dirfd, "README.md", text.data, text.len, err);
	buf_done(&text);
	return rc;
}
