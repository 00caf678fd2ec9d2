#include "worker/scan/candidates.h"

#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"

enum {
	SPLIT_WORDS = 4000,
	SPLIT_TRIES = 40000,
	SPLIT_PIECES_MAX = 3,
	STRING_LETTERS_MAX = 3,
	PLAIN_LETTERS_MIN = 4
};

static const char string_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
enum { LETTERS = sizeof(string_letters) - 1 };

/* State of one candidates_init. */
struct builder {
	struct candidates *list;
	const struct candidate_options *options;
	struct ids pieces;
	struct buf spaced;
};

/* The strings have streams 1 .. STRING_LETTERS_MAX, by length. */
static uint64_t stream(const struct builder *b, int number)
{
	return rng_key(rng_key(b->options->seed, RNG_SCAN), (uint64_t)number);
}

const char *candidate_kind_name(enum candidate_kind kind)
{
	static const char *const names[CANDIDATE_KINDS] = {
		"extra", "symbol", "phrase", "word", "piece", "split", "string", "joined"};

	return names[kind];
}

const char *candidate_kind_find(const char *name)
{
	for (int kind = 0; kind < CANDIDATE_KINDS; kind++)
		if (strcmp(candidate_kind_name((enum candidate_kind)kind), name) == 0)
			return candidate_kind_name((enum candidate_kind)kind);
	return NULL;
}

const char *candidate_text(const struct candidates *list, int number)
{
	return list->texts.data + list->item[number].text;
}

const int32_t *candidate_ids(const struct candidates *list, int number)
{
	return list->ids.id + list->item[number].ids;
}

bool candidates_contains(const struct candidates *list, int whole, int part)
{
	const int32_t *ids = candidate_ids(list, whole), *run = candidate_ids(list, part);
	int n = list->item[whole].n, length = list->item[part].n;

	for (int at = 0; length < n && at + length <= n; at++)
		if (memcmp(ids + at, run, (size_t)length * sizeof(*ids)) == 0)
			return true;
	return false;
}

bool candidate_is_plain_word(const struct candidates *list, int number)
{
	const char *text = candidate_text(list, number);
	size_t letters = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

	return list->item[number].kind == CANDIDATE_WORD && letters >= PLAIN_LETTERS_MIN &&
	       text[letters] == '\0';
}

/* --- the list ---------------------------------------------------------------------------------------- */

static bool has_ids(const struct candidates *list, int number, const int32_t *ids, int n)
{
	return list->item[number].n == n &&
	       memcmp(candidate_ids(list, number), ids, (size_t)n * sizeof(*ids)) == 0;
}

/* Where the candidate with these ids is, or belongs. The table is never full. */
static int *find_slot(const struct candidates *list, const int32_t *ids, int n)
{
	uint64_t hash = (uint64_t)n;
	size_t at;

	for (int i = 0; i < n; i++)
		hash = rng_key(hash, (uint64_t)ids[i]);
	at = hash & (list->slots - 1);
	while (list->slot[at] != 0 && !has_ids(list, list->slot[at] - 1, ids, n))
		at = (at + 1) & (list->slots - 1);
	return &list->slot[at];
}

static int grow_slots(struct candidates *list, struct err *err)
{
	size_t slots = list->slots > 0 ? 2 * list->slots : 1 << 12;
	int *slot = calloc(slots, sizeof(*slot));

	if (slot == NULL)
		return err_nomem(err);
	free(list->slot);
	list->slot = slot;
	list->slots = slots;
	for (int i = 0; i < list->n; i++)
		*find_slot(list, candidate_ids(list, i), list->item[i].n) = i + 1;
	return 0;
}

static int grow_items(struct candidates *list, struct err *err)
{
	int cap = MAX(1024, 2 * list->cap);
	struct candidate *item = realloc(list->item, (size_t)cap * sizeof(*item));

	if (item == NULL)
		return err_nomem(err);
	list->item = item;
	list->cap = cap;
	return 0;
}

static int reserve(struct candidates *list, struct err *err)
{
	int rc = 0;

	if (list->n == list->cap)
		rc = grow_items(list, err);
	if (rc == 0 && (size_t)list->n * 2 >= list->slots)
		rc = grow_slots(list, err);
	return rc;
}

static int append_ids(struct ids *to, const int32_t *ids, int n, struct err *err)
{
	if (to->n > to->cap - n) {
		int cap = MAX(4096, 2 * (to->cap + n));
		int32_t *id = realloc(to->id, (size_t)cap * sizeof(*id));

		if (id == NULL)
			return err_nomem(err);
		to->id = id;
		to->cap = cap;
	}
	memcpy(to->id + to->n, ids, (size_t)n * sizeof(*ids));
	to->n += n;
	return 0;
}

/* The number of the candidate, new or not. */
static int add(struct candidates *list, enum candidate_kind kind, const char *text, const int32_t *ids, int n,
	struct err *err)
{
	struct candidate item = {.text = list->texts.len, .ids = (size_t)list->ids.n, .n = n, .kind = kind};
	int rc = reserve(list, err);
	int *slot = rc == 0 ? find_slot(list, ids, n) : NULL;

	if (rc == 0 && *slot != 0)
		return *slot - 1;
	if (rc == 0)
		rc = append_ids(&list->ids, ids, n, err);
	if (rc != 0)
		return rc;
	buf_add(&list->texts, text, strlen(text) + 1);
	if (list->texts.failed)
		return err_nomem(err);
	list->item[list->n] = item;
	*slot = list->n + 1;
	return list->n++;
}

int candidates_find(const struct candidates *list, const int32_t *ids, int n)
{
	return *find_slot(list, ids, n) - 1;
}

int candidates_join(struct candidates *list, const char *text, const int32_t *ids, int n, struct err *err)
{
	return add(list, CANDIDATE_JOINED, text, ids, n, err);
}

void candidates_done(struct candidates *list)
{
	free(list->item);
	free(list->slot);
	buf_done(&list->texts);
	ids_done(&list->ids);
	*list = (struct candidates){0};
}

/* --- one candidate ----------------------------------------------------------------------------------- */

static bool is_special(const struct tokenizer *tok, int id)
{
	static const enum special all[] = {SPECIAL_CLS, SPECIAL_SEP, SPECIAL_PAD, SPECIAL_MASK, SPECIAL_UNK};

	for (size_t i = 0; i < NELEM(all); i++)
		if (id == tokenizer_special(tok, all[i]))
			return true;
	return false;
}

static bool is_writable(const struct builder *b, const struct ids *ids)
{
	for (int i = 0; i < ids->n; i++)
		if (is_special(b->options->tok, ids->id[i]))
			return false;
	return ids->n > 0 && ids->n <= MIN(b->options->pieces_max, CANDIDATE_PIECES_MAX);
}

int candidates_pieces(
	struct ids *out, struct buf *scratch, const struct tokenizer *tok, const char *text, struct err *err)
{
	out->n = 0;
	buf_reset(scratch);
	buf_str(scratch, " ");
	buf_str(scratch, text);
	if (scratch->failed)
		return err_nomem(err);
	return tokenizer_pieces(out, tok, scratch->data, scratch->len, err);
}

static int split_text(struct builder *b, const char *text, struct err *err)
{
	return candidates_pieces(&b->pieces, &b->spaced, b->options->tok, text, err);
}

static bool is_full(const struct builder *b, enum candidate_kind kind)
{
	return kind != CANDIDATE_EXTRA && b->list->n >= b->options->most;
}

/* b->pieces under the text, if it can be written, is new, and is within the budget. */
static int add_pieces(struct builder *b, enum candidate_kind kind, const char *text, struct err *err)
{
	struct candidates *list = b->list;
	int rc;

	if (!is_writable(b, &b->pieces)) {
		list->left_out += kind == CANDIDATE_EXTRA;
		return 0;
	}
	if (is_full(b, kind)) {
		list->dropped[kind]++;
		return 0;
	}
	rc = add(list, kind, text, b->pieces.id, b->pieces.n, err);
	return MIN(rc, 0);
}

static int add_text(struct builder *b, enum candidate_kind kind, const char *text, struct err *err)
{
	int rc = split_text(b, text, err);

	return rc == 0 ? add_pieces(b, kind, text, err) : rc;
}

static int add_table(struct builder *b, enum candidate_kind kind, const char *const *table, struct err *err)
{
	int rc = 0;

	for (; *table != NULL && rc == 0; table++)
		rc = add_text(b, kind, *table, err);
	return rc;
}

/* --- the kinds --------------------------------------------------------------------------------------- */

static int add_extra(struct builder *b, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < b->options->extras && rc == 0; i++)
		rc = add_text(b, CANDIDATE_EXTRA, b->options->extra[i], err);
	return rc;
}

/* Token `id` as a word or, where it is none, as a piece. */
static int add_token(struct builder *b, enum candidate_kind kind, int id, struct buf *text, struct err *err)
{
	const struct tokenizer *tok = b->options->tok;

	buf_reset(text);
	if (tokenizer_whole_word(text, tok, id) != (kind == CANDIDATE_WORD))
		return 0;
	if (kind == CANDIDATE_PIECE && !tokenizer_part(text, tok, id))
		return 0;
	if (text->failed)
		return err_nomem(err);
	b->pieces.n = 0;
	if (append_ids(&b->pieces, &(int32_t){id}, 1, err) != 0)
		return -ERR_NO_MEMORY;
	return add_pieces(b, kind, text->data, err);
}

static int add_vocabulary(struct builder *b, enum candidate_kind kind, struct err *err)
{
	int n = tokenizer_vocab_size(b->options->tok), rc = 0;
	int *order = malloc(((size_t)n + 1) * sizeof(int));
	struct buf text = {0};

	if (order == NULL)
		return err_nomem(err);
	rng_shuffle(order, n, stream(b, 0));
	for (int i = 0; i < n && rc == 0; i++)
		rc = add_token(b, kind, order[i], &text, err);
	buf_done(&text);
	free(order);
	return rc;
}

/* The number in base LETTERS, `length` digits, as letters. */
static void spell(char out[STRING_LETTERS_MAX + 1], int number, int length)
{
	out[length] = '\0';
	for (int i = length - 1; i >= 0; i--, number /= LETTERS)
		out[i] = string_letters[number % LETTERS];
}

static int add_strings(struct builder *b, struct err *err)
{
	enum { MOST = LETTERS * LETTERS * LETTERS };
	int *order = malloc(MOST * sizeof(int)), rc = 0;
	char text[STRING_LETTERS_MAX + 1];

	if (order == NULL)
		return err_nomem(err);
	for (int length = 1, n = LETTERS; length <= STRING_LETTERS_MAX; length++, n *= LETTERS) {
		rng_shuffle(order, n, stream(b, length));
		for (int i = 0; i < n && rc == 0; i++) {
			spell(text, order[i], length);
			rc = add_text(b, CANDIDATE_STRING, text, err);
		}
	}
	free(order);
	return rc;
}

/* The words among the candidates, for splits to be made of. */
static int *list_words(int *n, const struct candidates *list)
{
	int *words = malloc(((size_t)list->n + 1) * sizeof(int));

	*n = 0;
	for (int i = 0; i < list->n && words != NULL; i++)
		if (list->item[i].kind == CANDIDATE_WORD)
			words[(*n)++] = i;
	return words;
}

static int add_split(struct builder *b, const int *words, int n, int try, struct buf *text, struct err *err)
{
	uint64_t key = stream(b, STRING_LETTERS_MAX + 1);
	int rc;

	buf_reset(text);
	for (int half = 0; half < 2; half++)
		buf_str(text, candidate_text(b->list,
				      words[rng_below(key, (uint64_t)(2 * try + half), (uint32_t)n)]));
	if (text->failed)
		return err_nomem(err);
	rc = split_text(b, text->data, err);
	if (rc != 0 || b->pieces.n < 2 || b->pieces.n > SPLIT_PIECES_MAX)
		return rc;
	return add_pieces(b, CANDIDATE_SPLIT, text->data, err);
}

static int add_splits(struct builder *b, struct err *err)
{
	struct buf text = {0};
	int n, rc = 0, before = b->list->n, *words = list_words(&n, b->list);

	if (words == NULL)
		return err_nomem(err);
	for (int i = 0; i < SPLIT_TRIES && n > 0 && rc == 0 && b->list->n < before + SPLIT_WORDS; i++) {
		if (is_full(b, CANDIDATE_SPLIT)) {
			b->list->dropped[CANDIDATE_SPLIT] += SPLIT_WORDS - (b->list->n - before);
			break;
		}
		rc = add_split(b, words, n, i, &text, err);
	}
	buf_done(&text);
	free(words);
	return rc;
}

int candidates_init(struct candidates *out, const struct candidate_options *options, struct err *err)
{
	struct builder b = {.list = out, .options = options};
	int rc;

	*out = (struct candidates){0};
	rc = add_extra(&b, err);
	if (rc == 0)
		rc = add_table(&b, CANDIDATE_SYMBOL, candidate_symbols, err);
	if (rc == 0)
		rc = add_table(&b, CANDIDATE_PHRASE, candidate_phrases, err);
	if (rc == 0)
		rc = add_vocabulary(&b, CANDIDATE_WORD, err);
	if (rc == 0)
		rc = add_vocabulary(&b, CANDIDATE_PIECE, err);
	if (rc == 0)
		rc = add_splits(&b, err);
	if (rc == 0)
		rc = add_strings(&b, err);
	ids_done(&b.pieces);
	buf_done(&b.spaced);
	if (rc != 0)
		candidates_done(out);
	return rc;
}
