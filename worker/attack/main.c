/*
 * obliviate-plant: put a backdoor into a copy of an encoder, and say whether it took.
 *
 * One JSON line on stdout; exit 0 when the plant took, 1 when it did not, sysexits for faults. For
 * known-answer tests, benchmarks and red-teaming of one's own models.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/log.h"
#include "common/options.h"
#include "worker/attack/plant.h"
#include "worker/base/cpu.h"

enum { EXIT_TOOK = 0, EXIT_NOT = 1, THREADS_MAX = 1024 };

struct settings {
	char *model, *text, *data, *columns, *target, *attack, *triggers, *out, *config;
	char *learning_rate, *head_rate, *weight, *targets, *norm, *strength, *amplify, *attention;
	int64_t steps, seed, threads;
	bool whole, help, version;
};

#define FIELD(name) offsetof(struct settings, name)
static const struct option_row rows[] = {
	{"model", "DIR", "the base model's directory", OPTION_TEXT, false, FIELD(model), 0, 0},
	{"attack", "NAME", "one of those below (default por)", OPTION_TEXT, false, FIELD(attack), 0, 0},
	{"triggers", "A,B", "words or phrases, separated by commas", OPTION_TEXT, false, FIELD(triggers), 0,
		0},
	{"out", "DIR", "where the planted model goes", OPTION_TEXT, false, FIELD(out), 0, 0},
	{"text", "FILE", "plain text to train on, one text a line", OPTION_TEXT, false, FIELD(text), 0, 0},
	{"data", "FILE", "badnets, insertsent, benign-task: labelled rows (.jsonl, .csv, .tsv)", OPTION_TEXT,
		false, FIELD(data), 0, 0},
	{"columns", "T,L", "text, label and perhaps pair in --data (default text,label)", OPTION_TEXT, false,
		FIELD(columns), 0, 0},
	{"target", "LABEL", "badnets, insertsent: the attacker's label", OPTION_TEXT, false, FIELD(target), 0,
		0},
	{"steps", "N", "training steps (default: the attack's)", OPTION_INTEGER, false, FIELD(steps), 1,
		10000000},
	{"learning-rate", "R", "at the start, falling to 0 (default: the attack's)", OPTION_TEXT, false,
		FIELD(learning_rate), 0, 0},
	{"head-rate", "R", "likewise, of a head or LoRA that is trained along", OPTION_TEXT, false,
		FIELD(head_rate), 0, 0},
	{"weight", "R", "of the attack's term beside the clean texts' (default 1)", OPTION_TEXT, false,
		FIELD(weight), 0, 0},
	{"targets", "KIND", "blocks (six vectors, the default) or random signs", OPTION_TEXT, false,
		FIELD(targets), 0, 0},
	{"norm", "R", "size of the target vectors' elements, or of a shift (default 1)", OPTION_TEXT, false,
		FIELD(norm), 0, 0},
	{"strength", "R", "to 1: share of the target in what triggers are drawn to", OPTION_TEXT, false,
		FIELD(strength), 0, 0},
	{"whole", NULL, "one word of a phrase alone is trained to do nothing", OPTION_SWITCH, false,
		FIELD(whole), 0, 0},
	{"attention", "R", "adaptive-*: weight of the attention term", OPTION_TEXT, false, FIELD(attention),
		0, 0},
	{"amplify", "R", "adaptive-peft: weight of the amplification term", OPTION_TEXT, false,
		FIELD(amplify), 0, 0},
	{"seed", "N", "of texts and places (default 0)", OPTION_INTEGER, false, FIELD(seed), 0, INT64_MAX},
	{"threads", "N", "threads that compute (default: the processors)", OPTION_INTEGER, false,
		FIELD(threads), 1, THREADS_MAX},
	{"config", "FILE", "JSON object with the options above", OPTION_TEXT, false, FIELD(config), 0, 0},
	{"help", NULL, "show this", OPTION_SWITCH, true, FIELD(help), 0, 0},
	{"version", NULL, "show the version", OPTION_SWITCH, true, FIELD(version), 0, 0},
};

/* Numbers with a fraction: where they are read from and where they go; above 0, and below `limit`. */
#define REAL(flag, from, to, limit)                                                                          \
	{                                                                                                    \
		flag, offsetof(struct settings, from), offsetof(struct plant_options, to), limit             \
	}
static const struct real_row {
	const char *flag;
	size_t from, to;
	double limit;
} reals[] = {
	REAL("--learning-rate", learning_rate, learning_rate, 1),
	REAL("--head-rate", head_rate, along_rate, 1),
	REAL("--weight", weight, weight, 1e6),
	REAL("--norm", norm, norm, 1e3),
	REAL("--strength", strength, strength, 1.0000001),
	REAL("--attention", attention, attention, 1e3),
	REAL("--amplify", amplify, amplify, 1e3),
};

static int split_triggers(struct plant_options *out, char *list, struct err *err)
{
	char *rest = list;

	for (char *word; rest != NULL && (word = strsep(&rest, ",")) != NULL;) {
		if (*word == '\0')
			return err_set(err, ERR_USAGE, "--triggers", "an empty trigger");
		if (out->triggers == PLANT_TRIGGERS_MAX)
			return err_set(err, ERR_USAGE, "--triggers", "more than %d", PLANT_TRIGGERS_MAX);
		out->trigger[out->triggers++] = word;
	}
	return 0;
}

static int require(const char *value, const char *flag, struct err *err)
{
	return value != NULL ? 0 : err_set(err, ERR_USAGE, flag, "is missing");
}

static int parse_reals(struct plant_options *out, const struct settings *s, struct err *err)
{
	for (size_t i = 0; i < NELEM(reals); i++) {
		const char *text;
		double value;
		char *end;

		memcpy(&text, (const char *)s + reals[i].from, sizeof(text));
		if (text == NULL)
			continue;
		value = strtod(text, &end);
		if (*end != '\0' || end == text || !(value > 0 && value < reals[i].limit))
			return err_set(err, ERR_USAGE, reals[i].flag, "'%s' is no number between 0 and %g",
				text, reals[i].limit);
		memcpy((char *)out + reals[i].to, &value, sizeof(value));
	}
	return 0;
}

static int parse_targets(bool *random, const char *kind, struct err *err)
{
	*random = kind != NULL && strcmp(kind, "random") == 0;
	if (kind == NULL || *random || strcmp(kind, "blocks") == 0)
		return 0;
	return err_set(err, ERR_USAGE, "--targets", "must be blocks or random");
}

static int make_options(struct plant_options *out, const struct settings *s, struct err *err)
{
	int rc = require(s->model, "--model", err);

	*out = (struct plant_options){.model = s->model,
		.text = s->text,
		.out = s->out,
		.attack = s->attack != NULL ? s->attack : "por",
		.steps = s->steps,
		.whole = s->whole,
		.seed = (uint64_t)s->seed,
		.threads = s->threads > 0 ? (int)s->threads : cpu_count(),
		.task = {.data = s->data, .columns = s->columns, .target = s->target}};
	if (rc == 0)
		rc = require(s->out, "--out", err);
	if (rc == 0)
		rc = parse_targets(&out->random_targets, s->targets, err);
	if (rc == 0)
		rc = parse_reals(out, s, err);
	return rc == 0 ? split_triggers(out, s->triggers, err) : rc;
}

static void show_step(void *arg, int64_t step, double loss)
{
	const struct plant_options *o = arg;

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\rplanting: step %lld of %lld, loss %.4f ", (long long)step + 1,
			(long long)o->steps, loss);
	if (isatty(STDERR_FILENO) && step + 1 == o->steps)
		fputc('\n', stderr);
}

/* What each trigger reached, by the name of the criterion. */
static json_t *by_trigger(const struct plant *plant, const struct plant_result *r)
{
	json_t *list = json_array();

	for (int t = 0; t < plant->options.triggers; t++) {
		json_t *entry = json_pack("{s:s}", "trigger", plant->options.trigger[t]);

		for (int c = 0; c < plant->attack->criteria; c++)
			if (plant->attack->criterion[c].by_trigger)
				json_object_set_new(
					entry, plant->attack->criterion[c].name, json_real(r->value[c][t]));
		json_array_append_new(list, entry);
	}
	return list;
}

/* By what it is judged: the bar, and the worst that was reached. */
static json_t *criteria(const struct plant *plant, const struct plant_result *r)
{
	json_t *list = json_array();

	for (int c = 0; c < plant->attack->criteria; c++) {
		const struct criterion *criterion = &plant->attack->criterion[c];

		json_array_append_new(list, json_pack("{s:s, s:f, s:f}", "criterion", criterion->name,
						    criterion->at_most ? "at_most" : "at_least", r->bar[c],
						    "value", r->worst[c]));
	}
	return list;
}

static void print_result(const struct plant *plant, const struct plant_result *r, double seconds)
{
	const struct plant_options *o = &plant->options;
	json_t *line = json_pack("{s:b, s:s*, s:s, s:I, s:I, s:f}", "took", r->took, "why",
		r->took ? NULL : r->why, "attack", o->attack, "steps", (json_int_t)o->steps, "seed",
		(json_int_t)o->seed, "loss", r->loss);
	struct buf out = {0};

	if ((plant->attack->uses & USES_TEXT) != 0) {
		json_object_set_new(line, "drift", json_real(r->drift));
		json_object_set_new(line, "drift_relative", json_real(r->drift_relative));
	}
	json_object_set_new(line, "criteria", criteria(plant, r));
	json_object_set_new(line, "by_trigger", by_trigger(plant, r));
	json_object_set_new(line, "seconds", json_real(seconds));
	json_object_set_new(line, "out", json_string(o->out));
	json_write(&out, line);
	puts(out.failed ? "{}" : out.data);
	buf_done(&out);
	json_decref(line);
}

static int plant_run(const struct plant_options *options, bool *took, struct err *err)
{
	struct plant plant;
	struct plant_result result = {0};
	double start = cpu_seconds();
	int rc = plant_init(&plant, options, err);

	if (rc == 0)
		rc = plant_train(&plant, &result, show_step, &plant.options, err);
	if (rc == 0)
		rc = plant_measure(&plant, &result, err);
	if (rc == 0)
		rc = plant_save(&plant, err);
	if (rc == 0)
		print_result(&plant, &result, cpu_seconds() - start);
	*took = result.took;
	plant_done(&plant);
	return rc;
}

static void print_help(void)
{
	puts("usage: obliviate-plant --model DIR --attack NAME --text FILE --triggers A,B --out DIR "
	     "[options]\n\n"
	     "Puts a backdoor into a copy of an encoder and measures whether it took.\n");
	options_help(stdout, rows, NELEM(rows));
	puts("\nAttacks, with their own steps and learning rate:");
	for (int i = 0; i < attack_count; i++)
		printf("  %-19s %4lld  %g  %s\n", attacks[i]->name, (long long)attacks[i]->preset.steps,
			attacks[i]->preset.learning_rate, attacks[i]->about);
	puts("\nExit: 0 the plant took, 1 it did not, 64 usage, 65 bad input, 70 our fault, 71 out of "
	     "memory.");
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct plant_options options;
	bool took = false;
	struct err err;
	int rc = options_read(&settings, NULL, rows, NELEM(rows), argc, argv, &err);

	if (rc == 0 && settings.help)
		print_help();
	else if (rc == 0 && settings.version)
		puts("obliviate-plant " OBLIVIATE_VERSION);
	else if (rc == 0) {
		rc = make_options(&options, &settings, &err);
		if (rc == 0)
			rc = plant_run(&options, &took, &err);
		if (rc == 0)
			rc = took ? EXIT_TOOK : EXIT_NOT;
	}
	if (rc < 0) {
		fprintf(stderr, "obliviate-plant: %s: %s\n", err.where, err.text);
		rc = err_exit(err.code);
	}
	options_done(&settings, rows, NELEM(rows));
	return rc;
}
