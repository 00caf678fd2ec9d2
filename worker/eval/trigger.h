/*
 * trigger: puts a trigger into a text, and chooses the neutral words that it is compared with.
 *
 * Place p stands before whitespace word p of the row's first text, or behind its last word. It is drawn
 * uniformly from 0 .. min(words, TRIGGER_PLACES_MAX, last place at which all pieces of the trigger survive
 * the truncation); a draw is a function of (seed, row, trigger, insertion) alone. With several insertions
 * every one is drawn alike, and the last place is that at which all of them side by side survive. A trigger
 * of several words stays together. The text's own bytes stay as they are: a trigger brings one space.
 *
 * Errors: out of memory alone (texts are valid UTF-8). Zero is a valid empty state of every struct.
 */
#ifndef OBLIVIATE_TRIGGER_H
#define OBLIVIATE_TRIGGER_H

#include "common/buf.h"
#include "worker/data/dataset.h"
#include "worker/data/tokenizer.h"

enum { TRIGGER_PLACES_MAX = 64, TRIGGER_INSERTIONS_MAX = 16 };

/* How triggers are put into the rows of one job. */
struct trigger_rule {
	const struct tokenizer *tok;
	int max_length; /* tokens, special ones included */
	int insertions; /* 1 .. TRIGGER_INSERTIONS_MAX */
	uint64_t seed;
};

struct triggered {
	struct buf text;		   /* the first text; the pair stays the row's */
	int place[TRIGGER_INSERTIONS_MAX]; /* ascending */
	int last_place;			   /* the highest that could have been drawn */
	struct ids pieces;		   /* scratch */
	bool survived;			   /* all pieces of all insertions are within the truncation */
};

/*
 * row_number and trigger_number key the draw. Overwrites *out and reuses its memory (triggered_done).
 * Threads may share the rule.
 */
int trigger_insert(struct triggered *out, const struct trigger_rule *rule, const struct row *row,
	int row_number, const char *trigger, int trigger_number, struct err *err) MUST_USE;
void triggered_done(struct triggered *triggered);

struct word_list {
	int n;
	char **word; /* owned */
};

/*
 * For each of n triggers a control of as many words, joined by spaces: seeded whole words of the vocabulary,
 * four or more ASCII letters, none of them a word of a trigger and none taken twice. A vocabulary that has
 * not enough of them gives an empty list.
 */
int trigger_controls(struct word_list *out, const struct tokenizer *tok, const char *const *trigger, int n,
	uint64_t seed, struct err *err) MUST_USE;
void word_list_done(struct word_list *list);

#endif
