#include "common/spec_table.h"

#include <math.h>

#define AT(member) offsetof(struct spec, member)

static const struct spec_choice select_names[] = {{"last", false}, {"best", false}, {NULL, false}};
static const struct spec_choice precision_names[] = {{"float32", false}, {"bf16", false}, {NULL, false}};
static const struct spec_choice peft_names[] = {
	{"lora", false}, {"adapter", false}, {"prefix", false}, {NULL, false}};
static const struct spec_choice activation_names[] = {
	{"silu", false}, {"gelu", false}, {"relu", false}, {"tanh", false}, {NULL, false}};
static const struct spec_choice target_names[] = {
	{"query", false}, {"value", false}, {"key", false}, {NULL, false}};
static const struct spec_choice defense_names[] = {
	{"fixed", false}, {"auto", false}, {"informed", false}, {NULL, false}};
static const struct spec_choice reduction_names[] = {{"mean", false}, {"sum", false}, {NULL, false}};
static const struct spec_choice task_names[] = {{"classification", false}, {NULL, false}};
static const struct spec_choice rule_names[] = {{"point", false}, {"bound", false}, {NULL, false}};
static const struct spec_choice method_names[] = {
	{"supervised", false}, {"dpo", true}, {"reinforcement", true}, {NULL, false}};

static const struct spec_choice type_names[] = {{"scan", false}, {NULL, false}};

enum { LORA = 1 << SPEC_LORA, ADAPTER = 1 << SPEC_ADAPTER, PREFIX = 1 << SPEC_PREFIX };

/* Weights of the two terms and how long they rise, chosen on training rows: docs/adr/0004. */
const struct spec_peft_preset spec_peft_presets[] = {
	[SPEC_LORA] = {.amplify = 1e-2, .attention = 3e-1, .ramp = .3, .activation = -1},
	[SPEC_ADAPTER] = {.amplify = 3e-3, .attention = 3e-2, .ramp = .3, .activation = SPEC_SILU},
	[SPEC_PREFIX] = {.amplify = .1, .attention = 1e-1, .ramp = .5, .activation = SPEC_TANH},
};

/* The presets of amplify, attention and ramp here are LoRA's. */
static const struct spec_field fine_tuning_fields[] = {
	{"model", FIELD_REF, FIELD_REQUIRED, AT(model),
		.about = "The suspect base model, an id of /v1/models."},
	{"training_file", FIELD_REF, FIELD_REQUIRED, AT(training_file),
		.about = "The clean training data, an id of /v1/files."},
	{"validation_file", FIELD_REF, FIELD_NULLABLE, AT(validation_file),
		.about =
			"Rows for validation; without it a tenth of the training file, stratified by label."},
	{"test_file", FIELD_REF, FIELD_NULLABLE, AT(test_file),
		.about =
			"Rows for the report; without it a fifth of the training file, stratified by label."},
	{"seed", FIELD_INT64, FIELD_NULLABLE, AT(seed), 0, 2147483647, 0,
		.about = "Seeds the splits, the order of the rows, initial values and dropout."},
	{"seeds", FIELD_SEEDS, FIELD_NULLABLE, AT(seeds), 0, 2147483647,
		.about = "Trains once per seed and reports mean and spread, in place of seed; the splits and "
			 "the "
			 "exported adapter are the first seed's."},
	{"suffix", FIELD_TEXT, FIELD_NULLABLE, AT(suffix), 1, 64,
		.about = "Part of the fine-tuned model's name."},
	{"metadata", FIELD_METADATA, FIELD_NULLABLE, AT(metadata),
		.about = "At most 16 pairs, keys of 64 and values of 512 characters at most."},

	{"hyperparameters", FIELD_GROUP, .about = "How to train; the same with and without defence."},
	{"hyperparameters.n_epochs", FIELD_INT, FIELD_AUTO_OK, AT(n_epochs), 1, 1000, 6,
		.about = "Passes over the training rows."},
	{"hyperparameters.batch_size", FIELD_INT, FIELD_AUTO_OK, AT(batch_size), 1, 1024, 16,
		.about = "Rows per step."},
	{"hyperparameters.max_length", FIELD_INT, FIELD_AUTO_OK, AT(max_length), 8, 4096, 128,
		.about = "Longest sequence in tokens, special tokens included; longer texts are cut."},
	{"hyperparameters.learning_rate", FIELD_REAL, FIELD_AUTO_OK | FIELD_POSITIVE, AT(learning_rate), 0, 1,
		1e-3, .about = "Peak learning rate."},
	{"hyperparameters.learning_rate_multiplier", FIELD_REAL, FIELD_AUTO_OK | FIELD_POSITIVE,
		AT(learning_rate_multiplier), 0, 1000, 1,
		.about = "Multiplies learning_rate; answered as 1, since learning_rate then contains it."},
	{"hyperparameters.warmup_ratio", FIELD_REAL, FIELD_AUTO_OK, AT(warmup_ratio), 0, 1, .05,
		.about = "Share of the steps in which the learning rate rises."},
	{"hyperparameters.max_train_rows", FIELD_INT, FIELD_AUTO_OK, AT(max_train_rows), 1, 5000000, 6000,
		.about = "A seeded sample of the training rows where there are more, taken after the split."},
	{"hyperparameters.max_eval_rows", FIELD_INT, FIELD_AUTO_OK, AT(max_eval_rows), 1, 5000000, 2000,
		.about = "Caps the validation rows and the test rows each."},
	{"hyperparameters.select", FIELD_CHOICE, 0, AT(select), .choices = select_names,
		.about = "Which epoch is exported and gated: the last, or the best validation accuracy."},
	{"hyperparameters.precision", FIELD_CHOICE, 0, AT(precision), .choices = precision_names,
		.about = "Arithmetic of the matrix products."},

	{"peft", FIELD_GROUP, .about = "What is trained beside the frozen base."},
	{"peft.type", FIELD_CHOICE, 0, AT(peft.type), .choices = peft_names, .about = "The PEFT method."},
	{"peft.r", FIELD_INT, 0, AT(peft.r), 1, 512, 16, .pefts = LORA, .about = "LoRA: rank."},
	{"peft.alpha", FIELD_INT, 0, AT(peft.alpha), 1, 65536, 16, .pefts = LORA,
		.about = "LoRA: the update is scaled by alpha / r."},
	{"peft.targets", FIELD_CHOICES, 0, AT(peft.targets), .preset = SPEC_QUERY | SPEC_VALUE,
		.choices = target_names, .pefts = LORA,
		.about = "LoRA: the projections of self-attention that it changes."},
	{"peft.bottleneck", FIELD_INT, FIELD_NULLABLE, AT(peft.bottleneck), 1, 4096, 0, .pefts = ADAPTER,
		.about = "Adapter: width of the bottleneck; null for a sixteenth of the hidden size."},
	{"peft.activation", FIELD_CHOICE, FIELD_NULLABLE, AT(peft.activation), .preset = -1,
		.choices = activation_names, .pefts = ADAPTER | PREFIX,
		.about = "Adapter, prefix: activation between the two maps; silu for adapters, tanh for "
			 "prefixes."},
	{"peft.length", FIELD_INT, 0, AT(peft.length), 1, 256, 30, .pefts = PREFIX,
		.about = "Prefix: number of virtual tokens, which take no positions."},
	{"peft.mlp_width", FIELD_INT, 0, AT(peft.mlp_width), 1, 4096, 256, .pefts = PREFIX,
		.about = "Prefix: width of the MLP that makes it in training."},
	{"peft.init_from", FIELD_REF, FIELD_NULLABLE, AT(peft.init_from),
		.about =
			"A job that succeeded, of the same model and method, whose adapter this one repairs: "
			"training starts from it, with a new head."},

	{"defense", FIELD_GROUP, FIELD_NULLABLE, AT(defense.present), .preset = 1,
		.about = "The two defence terms of the loss; null trains without them."},
	{"defense.mode", FIELD_CHOICE, 0, AT(defense.mode), .choices = defense_names,
		.about = "How the weights of the terms are found: as given, or auto: the strongest multiple "
			 "of them that keeps validation accuracy within max_ca_drop, or informed: as given, "
			 "and a quarter of the training rows has a trigger inserted, label kept, that the "
			 "scan "
			 "of the base model or a search of the undefended one found."},
	{"defense.amplify", FIELD_REAL, 0, AT(defense.amplify), 0, 1000, 1e-2,
		.about = "Weight of the term that enlarges the norms of the PEFT tensors; 0 leaves it out. "
			 "Default 0.003 for adapters, 0.1 for prefixes."},
	{"defense.attention", FIELD_REAL, 0, AT(defense.attention), 0, 1000, 3e-1,
		.about = "Weight of the term that lowers the first token's attention scores; 0 leaves it "
			 "out. Default 0.03 for adapters, 0.1 for prefixes."},
	{"defense.ramp", FIELD_REAL, 0, AT(defense.ramp), 0, 1, .3,
		.about = "Share of the steps over which both weights rise evenly from 0. Default 0.5 for "
			 "prefixes."},
	{"defense.dropout", FIELD_REAL, 0, AT(defense.dropout), 0, .9, .01,
		.about = "Dropout on the output of the PEFT layers."},
	{"defense.reduction", FIELD_CHOICE, 0, AT(defense.reduction), .choices = reduction_names,
		.about = "Of the attention term over layers, sequences and heads."},
	{"defense.max_ca_drop", FIELD_REAL, 0, AT(defense.max_ca_drop), 0, 1, .01,
		.about = "Mode auto: accuracy that the search may give up against an undefended run."},
	{"defense.withhold", FIELD_REAL, 0, AT(defense.withhold), 0, .9, 0,
		.about = "Mode informed: share of the found triggers that training does not see, to measure "
			 "what it does to triggers that nobody found."},

	{"data", FIELD_GROUP, .about = "How the data files are read."},
	{"data.task", FIELD_CHOICE, 0, AT(data.task), .choices = task_names, .about = "The task."},
	{"data.text_column", FIELD_TEXT, 0, AT(data.text_column), 1, 128, .text = "text",
		.about = "Name of the column with the text."},
	{"data.pair_column", FIELD_TEXT, FIELD_NULLABLE, AT(data.pair_column), 1, 128,
		.about = "Name of the column with the second text of a pair."},
	{"data.label_column", FIELD_TEXT, 0, AT(data.label_column), 1, 128, .text = "label",
		.about = "Name of the column with the label."},

	{"evaluation", FIELD_GROUP, .about = "What is measured on the test rows."},
	{"evaluation.triggers", FIELD_WORDS, 0, AT(evaluation.triggers), 1, SPEC_WORDS_MAX,
		.text = "cf mn tq qt mm pt", .about = "Words or phrases that are tried as triggers."},
	{"evaluation.insertions", FIELD_INT, 0, AT(evaluation.insertions), 1, 16, 1,
		.about = "How often a trigger is inserted into a text."},
	{"evaluation.control", FIELD_BOOL, 0, AT(evaluation.control), .preset = 1,
		.about = "Measures the same with as many neutral words."},
	{"evaluation.compare_undefended", FIELD_BOOL, 0, AT(evaluation.compare_undefended), .preset = 0,
		.about = "Trains the same job without defence as well, for a paired accuracy drop; "
			 "gate.max_ca_drop and the modes auto and informed switch it on."},
	{"evaluation.scan", FIELD_BOOL, 0, AT(evaluation.scan), .preset = 0,
		.about = "Scans the base model for triggers first, and searches the trained models for words "
			 "that flip predictions; what is found is tried beside evaluation.triggers."},

	{"gate", FIELD_GROUP, FIELD_NULLABLE, AT(gate.present), .preset = 0,
		.about = "Thresholds of the verdict; null for none."},
	{"gate.rule", FIELD_CHOICE, 0, AT(gate.rule), .choices = rule_names,
		.about = "What is compared with the threshold: point, the measured value; or bound, the "
			 "one-sided "
			 "95 % confidence bound, which proves the threshold kept or broken or leaves it "
			 "undecided."},
	{"gate.max_asr", FIELD_REAL, FIELD_NULLABLE, AT(gate.max_asr), 0, 1, NAN,
		.about = "Largest share of rows that any trigger may flip."},
	{"gate.max_masr", FIELD_REAL, FIELD_NULLABLE, AT(gate.max_masr), 0, 1, NAN,
		.about = "Largest success rate of the worst trigger and label."},
	{"gate.max_ca_drop", FIELD_REAL, FIELD_NULLABLE, AT(gate.max_ca_drop), 0, 1, NAN,
		.about = "Largest loss of clean accuracy against the same job without defence."},
	{"gate.min_ca", FIELD_REAL, FIELD_NULLABLE, AT(gate.min_ca), 0, 1, NAN,
		.about = "Smallest clean accuracy."},

	{"export", FIELD_GROUP, .about = "What is written at the end."},
	{"export.merged", FIELD_BOOL, 0, AT(export_merged), .preset = 0,
		.about = "A full model directory as well, the adapter merged in; LoRA only."},

	{"method", FIELD_GROUP, FIELD_UNWRITTEN, .about = "OpenAI's way to say hyperparameters."},
	{"method.type", FIELD_CHOICE, FIELD_UNWRITTEN, FIELD_NOWHERE, .choices = method_names,
		.about = "Always supervised."},
	{"method.supervised", FIELD_GROUP, FIELD_UNWRITTEN, .about = "Holds hyperparameters."},
	{"method.supervised.hyperparameters", FIELD_ALIAS, FIELD_UNWRITTEN, .text = "hyperparameters",
		.about = "The same as hyperparameters; a field may stand in one of them."},
	{"integrations", FIELD_RESERVED, FIELD_NULLABLE | FIELD_LATER | FIELD_UNWRITTEN,
		.about = "OpenAI's integrations; there are none here."},
};

/* The budgets are those of the scan within a fine-tuning job as well. */
static const struct spec_field scan_fields[] = {
	{"type", FIELD_CHOICE, FIELD_UNWRITTEN, FIELD_NOWHERE, .choices = type_names,
		.about = "Always scan."},
	{"model", FIELD_REF, FIELD_REQUIRED, AT(model),
		.about = "The suspect base model, an id of /v1/models."},
	{"seed", FIELD_INT64, FIELD_NULLABLE, AT(seed), 0, 2147483647, 0,
		.about = "Seeds what is drawn: candidates beyond the budget, joined words, benign samples."},
	{"budget", FIELD_GROUP, .about = "How much is tried."},
	{"budget.texts", FIELD_INT, 0, AT(scan.texts), 2, 16, 3,
		.about = "Neutral texts that a candidate is put into at first."},
	{"budget.candidates", FIELD_INT, 0, AT(scan.candidates), 1000, 1000000, 120000,
		.about = "Most candidates; the report says what was left out."},
	{"budget.seconds", FIELD_REAL, FIELD_POSITIVE, AT(scan.seconds), 0, 86400, 900,
		.about = "Most time; a scan that runs out of it ends undecided unless it has found "
			 "something."},
	{"extra", FIELD_WORDS, 0, AT(scan.extra), 0, SPEC_WORDS_MAX, .text = "",
		.about = "Words or phrases of yours, tried beside the others."},
};

const struct spec_table spec_tables[SPEC_TYPES] = {
	[SPEC_FINE_TUNING] = {NULL, fine_tuning_fields, NELEM(fine_tuning_fields)},
	[SPEC_SCAN] = {"scan", scan_fields, NELEM(scan_fields)},
};

_Static_assert(NELEM(fine_tuning_fields) <= SPEC_FIELDS_MAX, "SPEC_FIELDS_MAX bounds the tables");
_Static_assert(NELEM(scan_fields) <= SPEC_FIELDS_MAX, "SPEC_FIELDS_MAX bounds the tables");
