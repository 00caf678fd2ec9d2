#include "worker/eval/trigger.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "worker/base/rng.h"

/* --- words ------------------------------------------------------------------------------------------ */

/* White_Space beyond ASCII, in UTF-8: U+0085, 00A0, 1680, 2000 .. 200A, 2028, 2029, 202F, 205F, 3000. */
static const char *const wide_spaces[] = {"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x80",
	"\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
	"\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9",
	"\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

/* Bytes of the whitespace character at s, 0 when there is none. */
static size_t space_len(const char *s)
{
	unsigned char c = (unsigned char)*s;

	if (c == ' ' || (c >= '\t' && c <= '\r'))
		return 1;
	if (c != 0xc2 && c != 0xe1 && c != 0xe2 && c != 0xe3)
		return 0;
	for (size_t i = 0; i < NELEM(wide_spaces); i++) {
		size_t len = strlen(wide_spaces[i]);

		if (strncmp(s, wide_spaces[i], len) == 0)
			return len;
	}
	return 0;
}

static const char *skip_spaces(const char *s)
{
	size_t len;

	while ((len = space_len(s)) > 0)
		s += len;
	return s;
}

static const char *skip_word(const char *s)
{
	while (*s != '\0' && space_len(s) == 0)
		s++;
	return s;
}

/* --- places ----------------------------------------------------------------------------------------- */

/* A text and where a trigger may go: before byte at[p]; the place behind the last word is the last one. */
struct host {
	const char *text;
	int last;	     /* min(words, TRIGGER_PLACES_MAX) */
	bool last_is_behind; /* place `last` stands behind the last word */
	size_t at[TRIGGER_PLACES_MAX + 1];
};

static void host_init(struct host *host, const char *text)
{
	const char *end = text, *s = skip_spaces(text);

	*host = (struct host){.text = text};
	for (; *s != '\0' && host->last <= TRIGGER_PLACES_MAX; s = skip_spaces(end)) {
		host->at[host->last++] = (size_t)(s - text);
		end = skip_word(s);
	}
	if (host->last > TRIGGER_PLACES_MAX) { /* more words than places: the last place is before a word */
		host->last = TRIGGER_PLACES_MAX;
		return;
	}
	host->last_is_behind = true;
	host->at[host->last] = (size_t)(end - text); /* a text without words: 0 */
}

/*
 * The text with a trigger at each of the ascending places; *end is behind the last byte of the last trigger.
 * A trigger comes with a space towards the word that it stands at.
 */
static void put(
	struct buf *out, size_t *end, const struct host *host, const char *trigger, const int *place, int n)
{
	size_t from = 0;

	buf_reset(out);
	for (int i = 0; i < n; i++) {
		bool is_behind = host->last_is_behind && place[i] == host->last;

		buf_add(out, host->text + from, host->at[place[i]] - from);
		from = host->at[place[i]];
		if (is_behind && out->len > 0)
			buf_str(out, " ");
		buf_str(out, trigger);
		*end = out->len;
		if (!is_behind)
			buf_str(out, " ");
	}
	buf_str(out, host->text + from);
}

/* --- truncation ------------------------------------------------------------------------------------- */

/* One row on its way to a triggered text. */
struct insertion {
	const struct trigger_rule *rule;
	struct host host;
	const char *trigger;
	int pair_pieces; /* -1: no pair */
	struct triggered *out;
};

static int count_pieces(int *out, struct insertion *in, const char *text, size_t len, struct err *err)
{
	struct ids *ids = &in->out->pieces;
	int rc;

	ids->n = 0;
	rc = tokenizer_pieces(ids, in->rule->tok, text, len, err);
	*out = ids->n;
	return rc;
}

/* Write the text with triggers at the places; *out says whether the truncation leaves them whole. */
static int put_and_check(bool *out, struct insertion *in, const int *place, struct err *err)
{
	const struct trigger_rule *rule = in->rule;
	struct buf *text = &in->out->text;
	int pieces, kept[2], rc;
	size_t end = 0;

	put(text, &end, &in->host, in->trigger, place, rule->insertions);
	if (text->failed)
		return err_nomem(err);
	rc = count_pieces(&pieces, in, text->data, text->len, err);
	if (rc != 0)
		return rc;
	tokenizer_kept(kept, rule->tok, pieces, in->pair_pieces, rule->max_length);
	*out = pieces <= kept[0];
	if (*out)
		return 0;
	/* Pieces do not cross whitespace, so those up to the trigger's end are the prefix's own. */
	rc = count_pieces(&pieces, in, text->data, end, err);
	*out = pieces <= kept[0];
	return rc;
}

static int check_place(bool *out, struct insertion *in, int p, struct err *err)
{
	int place[TRIGGER_INSERTIONS_MAX];

	for (int i = 0; i < in->rule->insertions; i++)
		place[i] = p;
	return put_and_check(out, in, place, err);
}

/* The last place at which all insertions survive side by side; 0 when there is none. */
static int find_last_place(int *out, struct insertion *in, struct err *err)
{
	int good = 0, bad = in->host.last;
	bool survives = false;
	int rc = check_place(&survives, in, bad, err);

	if (rc == 0 && survives)
		good = in->host.last;
	while (rc == 0 && bad - good > 1) {
		int middle = (good + bad) / 2;

		rc = check_place(&survives, in, middle, err);
		*(survives ? &good : &bad) = middle;
	}
	*out = good;
	return rc;
}

/* --- drawing ---------------------------------------------------------------------------------------- */

static int compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void draw_places(struct triggered *out, const struct trigger_rule *rule, int row, int trigger)
{
	uint64_t key = rng_key(rng_key(rng_key(rule->seed, RNG_TRIGGER), (uint64_t)row), (uint64_t)trigger);

	for (int i = 0; i < rule->insertions; i++)
		out->place[i] = (int)rng_below(key, (uint64_t)i, (uint32_t)out->last_place + 1);
	qsort(out->place, (size_t)rule->insertions, sizeof(int), compare_ints);
}

int trigger_insert(struct triggered *out, const struct trigger_rule *rule, const struct row *row,
	int row_number, const char *trigger, int trigger_number, struct err *err)
{
	struct insertion in = {.rule = rule, .trigger = trigger, .pair_pieces = -1, .out = out};
	int rc = 0;

	host_init(&in.host, row->text);
	if (row->pair != NULL)
		rc = count_pieces(&in.pair_pieces, &in, row->pair, strlen(row->pair), err);
	if (rc == 0)
		rc = find_last_place(&out->last_place, &in, err);
	if (rc != 0)
		return rc;
	draw_places(out, rule, row_number, trigger_number);
	rc = put_and_check(&out->survived, &in, out->place, err);
	/* Byte-level BPE: a trigger before the first word gives that word a space, which may be one more piece. */
	while (rc == 0 && !out->survived && rule->insertions > 1 && out->last_place > 0) {
		out->last_place--;
		draw_places(out, rule, row_number, trigger_number);
		rc = put_and_check(&out->survived, &in, out->place, err);
	}
	return rc;
}

void triggered_done(struct triggered *triggered)
{
	buf_done(&triggered->text);
	ids_done(&triggered->pieces);
}

/* --- control words ---------------------------------------------------------------------------------- */

enum { CONTROL_LETTERS_MIN = 4 };

static bool is_ascii_word(const struct buf *word)
{
	for (size_t i = 0; i < word->len; i++)
		if ((word->data[i] | 0x20) < 'a' || (word->data[i] | 0x20) > 'z')
			return false;
	return word->len >= CONTROL_LETTERS_MIN;
}

/* Whether the word, in any case, is one of the whitespace words of a trigger. */
static bool is_in_triggers(const char *word, const char *const *trigger, int n)
{
	size_t len = strlen(word);

	for (int i = 0; i < n; i++) {
		for (const char *s = skip_spaces(trigger[i]), *end; *s != '\0'; s = skip_spaces(end)) {
			end = skip_word(s);
			if ((size_t)(end - s) == len && strncasecmp(s, word, len) == 0)
				return true;
		}
	}
	return false;
}

static int count_words(const char *text)
{
	int n = 0;

	for (const char *s = skip_spaces(text); *s != '\0'; s = skip_spaces(skip_word(s)))
		n++;
	return n;
}

static bool is_candidate(
	struct buf *word, const struct tokenizer *tok, int id, const char *const *trigger, int n)
{
	buf_reset(word);
	return tokenizer_whole_word(word, tok, id) && !word->failed && is_ascii_word(word) &&
	       !is_in_triggers(word->data, trigger, n);
}

/* The vocabulary's words that may serve, in its order. */
struct candidates {
	int n;
	int *id;    /* [n] */
	int *order; /* [n]: a seeded permutation of 0 .. n-1 */
};

static int candidates_init(struct candidates *out, const struct tokenizer *tok, const char *const *trigger,
	int n, uint64_t seed, struct err *err)
{
	size_t size = (size_t)tokenizer_vocab_size(tok) + 1;
	struct buf word = {0};

	*out = (struct candidates){.id = calloc(size, sizeof(int)), .order = calloc(size, sizeof(int))};
	if (out->id == NULL || out->order == NULL)
		return err_nomem(err);
	for (int id = 0; id < tokenizer_vocab_size(tok); id++)
		if (is_candidate(&word, tok, id, trigger, n))
			out->id[out->n++] = id;
	rng_shuffle(out->order, out->n, rng_key(seed, RNG_CONTROL));
	buf_done(&word);
	return 0;
}

static void candidates_done(struct candidates *candidates)
{
	free(candidates->id);
	free(candidates->order);
}

/* Candidates `first` .. of the drawn order, joined by spaces. */
static char *join_words(const struct candidates *from, const struct tokenizer *tok, int first, int words)
{
	struct buf joined = {0};

	for (int i = first; i < first + words; i++) {
		if (i > first)
			buf_str(&joined, " ");
		if (!tokenizer_whole_word(&joined, tok, from->id[from->order[i]]))
			joined.failed = true;
	}
	return buf_take(&joined);
}

static int fill_controls(struct word_list *out, const struct candidates *from, const struct tokenizer *tok,
	const char *const *trigger, int n, struct err *err)
{
	int used = 0;

	out->word = calloc((size_t)n, sizeof(*out->word));
	if (out->word == NULL)
		return err_nomem(err);
	for (int i = 0; i < n; i++) {
		int words = count_words(trigger[i]);

		out->word[i] = join_words(from, tok, used, words);
		if (out->word[i] == NULL)
			return err_nomem(err);
		out->n++;
		used += words;
	}
	return 0;
}

int trigger_controls(struct word_list *out, const struct tokenizer *tok, const char *const *trigger, int n,
	uint64_t seed, struct err *err)
{
	struct candidates candidates;
	int wanted = 0;
	int rc = candidates_init(&candidates, tok, trigger, n, seed, err);

	*out = (struct word_list){0};
	for (int i = 0; i < n; i++)
		wanted += count_words(trigger[i]);
	if (rc == 0 && n > 0 && wanted <= candidates.n)
		rc = fill_controls(out, &candidates, tok, trigger, n, err);
	candidates_done(&candidates);
	if (rc != 0)
		word_list_done(out);
	return rc;
}

void word_list_done(struct word_list *list)
{
	for (int i = 0; i < list->n; i++)
		free(list->word[i]);
	free(list->word);
	*list = (struct word_list){0};
}
