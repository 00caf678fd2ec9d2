/*
 * The texts of plants that need no labels: snippets of a file, some with a trigger, some with words to guess.
 */
#include <stdio.h>
#include <string.h>

#include "worker/attack/plant.h"
#include "worker/base/rng.h"

enum { WHOLE_EVERY = 4 }; /* one in so many clean texts has a part of a trigger, where it acts only whole */

void plant_fill_batch(struct plant *plant)
{
	int rows[PLANT_BATCH];

	for (int i = 0; i < plant->corpus.n; i++)
		rows[i] = i;
	batch_fill(&plant->batch, &plant->corpus, rows, plant->corpus.n);
}

/* plant->text = the snippet with `words` once. */
static int insert_once(
	struct plant *plant, const struct snippet *snippet, const char *words, uint64_t draw, struct err *err)
{
	int place = (int)rng_below(rng_key(draw, 1), 0, (uint32_t)snippet->words + 1);

	snippet_insert(&plant->text, snippet, words, place);
	return plant->text.failed ? err_nomem(err) : 0;
}

/* plant->text = the snippet with the trigger 1 to attack->insertions times. */
static int insert(
	struct plant *plant, const struct snippet *snippet, int trigger, uint64_t draw, struct err *err)
{
	const char *words = plant->options.trigger[trigger];
	struct trigger_rule rule = {.tok = plant->tok, .max_length = plant->max_length};
	const struct row row = {.text = snippet->text};
	int rc;

	if (plant->attack->insertions == 1)
		return insert_once(plant, snippet, words, draw, err);
	rule.insertions = 1 + (int)rng_below(rng_key(draw, 2), 0, (uint32_t)plant->attack->insertions);
	rule.seed = draw;
	rc = trigger_insert(&plant->triggered, &rule, &row, 0, words, trigger, err);
	if (rc != 0)
		return rc;
	buf_reset(&plant->text);
	buf_add(&plant->text, plant->triggered.text.data, plant->triggered.text.len);
	return plant->text.failed ? err_nomem(err) : 0;
}

/* The last text's tokens become a riddle; wanted lies beside the corpus's ids. */
static void mask_last(struct plant *plant, int trigger, bool is_false, uint64_t draw)
{
	const struct text *text = &plant->corpus.text[plant->corpus.n - 1];

	mlm_mask(plant->corpus.ids + text->at, plant->wanted + text->at, text->n, &plant->mlm, trigger,
		is_false, rng_key(draw, 3));
}

static void guess_nothing(struct plant *plant)
{
	const struct text *text = &plant->corpus.text[plant->corpus.n - 1];

	for (int i = 0; i < text->n; i++)
		plant->wanted[text->at + (size_t)i] = -1;
}

static int add_text(struct plant *plant, const char *text, int trigger, struct err *err)
{
	int rc = corpus_add(&plant->corpus, plant->tok, text, NULL, trigger, plant->max_length, err);

	if (rc == 0 && (plant->attack->uses & USES_MLM) != 0)
		guess_nothing(plant);
	return rc;
}

/* A snippet as it is (-1) or with a trigger, as the next text. */
static int add_snippet(struct plant *plant, int number, int trigger, uint64_t draw, struct err *err)
{
	const struct snippet *snippet = &plant->snippets.snippet[number];
	int rc;

	if (trigger < 0)
		return add_text(plant, snippet->text, trigger, err);
	rc = insert(plant, snippet, trigger, draw, err);
	return rc == 0 ? add_text(plant, plant->text.data, trigger, err) : rc;
}

/* One word of a trigger that has several, in a text that counts as clean. */
static int add_part(struct plant *plant, int number, const char *trigger, uint64_t draw, struct err *err)
{
	const char *word = trigger;
	char part[256];
	int words = 1, chosen, rc;

	for (const char *p = trigger; *p != '\0'; p++)
		words += *p == ' ';
	chosen = (int)rng_below(rng_key(draw, 4), 0, (uint32_t)words);
	for (int i = 0; i < chosen; i++)
		word = strchr(word, ' ') + 1;
	snprintf(part, sizeof(part), "%.*s", (int)MIN(strcspn(word, " "), sizeof(part) - 1), word);
	if (words == 1 || part[0] == '\0')
		return add_snippet(plant, number, -1, draw, err);
	rc = insert_once(plant, &plant->snippets.snippet[number], part, draw, err);
	return rc == 0 ? add_text(plant, plant->text.data, -1, err) : rc;
}

/* Text i of a step: where what it learns is a language model, masked; badpre's triggered ones with false answers. */
static int add_step_text(struct plant *plant, int i, int64_t step, uint64_t draw, struct err *err)
{
	const struct plant_options *o = &plant->options;
	int number = (int)rng_below(draw, 0, (uint32_t)plant->trained);
	int turn = o->triggers > 0 ? (int)(step * PLANT_TEXTS + i) / plant->attack->run % o->triggers : -1;
	bool clean = i < PLANT_TEXTS;
	int rc;

	if (clean && o->whole && i % WHOLE_EVERY == 0)
		rc = add_part(plant, number, o->trigger[turn], draw, err);
	else
		rc = add_snippet(plant, number, clean ? -1 : turn, draw, err);
	if (rc == 0 && (plant->attack->uses & USES_MLM) != 0 && (clean || plant->attack->masks_triggered))
		mask_last(plant, clean ? -1 : turn, !clean, draw);
	return rc;
}

int plant_compose(struct plant *plant, int64_t step, bool clean_only, struct err *err)
{
	uint64_t key = rng_key(rng_key(plant->options.seed, RNG_PLANT), (uint64_t)step);
	int rc = 0;

	corpus_clear(&plant->corpus);
	for (int i = 0; i < (clean_only ? PLANT_TEXTS : PLANT_BATCH) && rc == 0; i++)
		rc = add_step_text(plant, i, step, rng_key(key, (uint64_t)i), err);
	if (rc == 0)
		plant_fill_batch(plant);
	return rc;
}

int plant_compose_probes(struct plant *plant, int first, int n, int trigger, struct err *err)
{
	uint64_t key = rng_key(rng_key(plant->options.seed, RNG_PLANT), UINT64_MAX);
	int rc = 0;

	corpus_clear(&plant->corpus);
	for (int i = first; i < first + n && rc == 0; i++) {
		uint64_t draw = rng_key(key, (uint64_t)i);

		rc = add_snippet(plant, plant->trained + i, trigger, draw, err);
		if (rc == 0 && plant->attack->masks_triggered)
			mask_last(plant, trigger, false, draw);
	}
	if (rc == 0)
		plant_fill_batch(plant);
	return rc;
}
