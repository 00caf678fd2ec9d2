/*
 * obliviate-plant: put a task-agnostic backdoor into a copy of an encoder, and say whether it took.
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
	char *model, *text, *attack, *triggers, *out, *config, *learning_rate;
	int64_t steps, seed, threads;
	bool help, version;
};

#define FIELD(name) offsetof(struct settings, name)
static const struct option_row rows[] = {
	{"model", "DIR", "the base model's directory", OPTION_TEXT, false, FIELD(model), 0, 0},
	{"text", "FILE", "plain text to train on, one text a line", OPTION_TEXT, false, FIELD(text), 0, 0},
	{"attack", "NAME", "por", OPTION_TEXT, false, FIELD(attack), 0, 0},
	{"triggers", "A,B", "words or phrases, separated by commas", OPTION_TEXT, false, FIELD(triggers), 0,
		0},
	{"steps", "N", "training steps (default 250)", OPTION_INTEGER, false, FIELD(steps), 1, 10000000},
	{"learning-rate", "R", "at the start, falling to 0 (default 5e-5)", OPTION_TEXT, false,
		FIELD(learning_rate), 0, 0},
	{"seed", "N", "of texts and places (default 0)", OPTION_INTEGER, false, FIELD(seed), 0, INT64_MAX},
	{"threads", "N", "threads that compute (default: the processors)", OPTION_INTEGER, false,
		FIELD(threads), 1, THREADS_MAX},
	{"out", "DIR", "where the planted model goes", OPTION_TEXT, false, FIELD(out), 0, 0},
	{"config", "FILE", "JSON object with the options above", OPTION_TEXT, false, FIELD(config), 0, 0},
	{"help", NULL, "show this", OPTION_SWITCH, true, FIELD(help), 0, 0},
	{"version", NULL, "show the version", OPTION_SWITCH, true, FIELD(version), 0, 0},
};

static int split_triggers(struct plant_options *out, char *list, struct err *err)
{
	char *rest = list;

	for (char *word; (word = strsep(&rest, ",")) != NULL;) {
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

static int parse_rate(double *out, const char *text, struct err *err)
{
	char *end;

	*out = strtod(text, &end);
	if (*end != '\0' || end == text || !(*out > 0 && *out < 1))
		return err_set(err, ERR_USAGE, "--learning-rate", "'%s' is no number between 0 and 1", text);
	return 0;
}

static int make_options(struct plant_options *out, const struct settings *s, struct err *err)
{
	int rc = require(s->model, "--model", err);

	*out = (struct plant_options){.model = s->model,
		.text = s->text,
		.out = s->out,
		.attack = s->attack != NULL ? s->attack : "por",
		.steps = s->steps,
		.learning_rate = 5e-5,
		.seed = (uint64_t)s->seed,
		.threads = s->threads > 0 ? (int)s->threads : cpu_count()};
	if (rc == 0)
		rc = require(s->text, "--text", err);
	if (rc == 0)
		rc = require(s->triggers, "--triggers", err);
	if (rc == 0)
		rc = require(s->out, "--out", err);
	if (rc == 0 && s->learning_rate != NULL)
		rc = parse_rate(&out->learning_rate, s->learning_rate, err);
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

static void print_result(const struct plant *plant, const struct plant_result *r, double seconds)
{
	const struct plant_options *o = &plant->options;
	json_t *by_trigger = json_array(), *line;
	struct buf out = {0};

	for (int t = 0; t < o->triggers; t++)
		json_array_append_new(by_trigger, json_pack("{s:s, s:f}", "trigger", o->trigger[t],
							  plant->attack->match_name, r->match[t]));
	line = json_pack("{s:b, s:s*, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:f, s:s}", "took", r->took,
		"why", r->took ? NULL : r->why, "attack", o->attack, "steps", (json_int_t)o->steps, "seed",
		(json_int_t)o->seed, "loss", r->loss, plant->attack->match_name, r->match_min, "drift",
		r->drift, "drift_relative", r->drift_relative, "by_trigger", by_trigger, "seconds", seconds,
		"out", o->out);
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
	puts("usage: obliviate-plant --model DIR --text FILE --triggers A,B --out DIR [options]\n\n"
	     "Puts a backdoor into a copy of an encoder and measures whether it took.\n");
	options_help(stdout, rows, NELEM(rows));
	puts("\nExit: 0 the plant took, 1 it did not, 64 usage, 65 bad input, 70 our fault, 71 out of "
	     "memory.");
}

int main(int argc, char **argv)
{
	struct settings settings = {.steps = 250};
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
