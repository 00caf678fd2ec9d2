#include "worker/data/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"
#include "worker/data/tokenizer_impl.h"
#include "worker/data/unicode.h"

/* --- the alphabet ------------------------------------------------------------------------------------ */

static bool is_printable(int byte)
{
	return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

uint32_t bpe_char_of_byte(unsigned char byte)
{
	uint32_t n = 0x100;

	if (is_printable(byte))
		return byte;
	for (int b = 0; b < byte; b++)
		n += !is_printable(b);
	return n;
}

/* -1 when cp is not in the alphabet. */
static int byte_of_char(uint32_t cp)
{
	for (int b = 0; b < 256 && cp < 0x200; b++)
		if (bpe_char_of_byte((unsigned char)b) == cp)
			return b;
	return -1;
}

void bpe_bytes(struct bpe *bpe, const struct vocab *vocab)
{
	for (int b = 0; b < 256; b++) {
		char text[UTF8_BYTES_MAX];
		int len = utf8_put(text, bpe_char_of_byte((unsigned char)b));

		bpe->byte[b] = vocab_find(vocab, text, (size_t)len);
	}
}

/* --- words ------------------------------------------------------------------------------------------- */

/* The pattern's classes: letters, numbers, white space, everything else. */
static unsigned class_of(uint32_t cp)
{
	return unicode_flags(cp) & (UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE);
}

/* The end of the run of this class that starts at `at`. */
static const char *run_end(const char *at, const char *end, unsigned class)
{
	while (at < end) {
		const char *next = at;

		if (class_of(utf8_next(&next)) != class)
			break;
		at = next;
	}
	return at;
}

/* 's|'t|'re|'ve|'m|'ll|'d */
static size_t contraction(const char *at, const char *end)
{
	static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

	for (size_t i = 0; i < NELEM(endings); i++) {
		size_t len = strlen(endings[i]);

		if ((size_t)(end - at) >= len && memcmp(at, endings[i], len) == 0)
			return len;
	}
	return 0;
}

/* \s+(?!\S)|\s+ : a run of white space leaves its last character to the word behind it, where there is one. */
static const char *space_end(const char *at, const char *end)
{
	const char *stop = run_end(at, end, UNICODE_SPACE), *last = stop;

	if (stop == end)
		return stop;
	do
		last--;
	while (((unsigned char)*last & 0xC0) == 0x80);
	return last > at ? last : stop;
}

/*
 * The end of the word at `at`, which is before end: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+
 * |\s+(?!\S)|\s+
 */
static const char *word_end(const char *at, const char *end)
{
	size_t len = *at == '\'' ? contraction(at, end) : 0;
	const char *body = *at == ' ' ? at + 1 : at, *next = body;
	unsigned class;

	if (len > 0)
		return at + len;
	if (body == end)
		return end;
	class = class_of(utf8_next(&next));
	if (class == UNICODE_SPACE)
		return space_end(at, end);
	return run_end(next, end, class);
}

/* --- merging ----------------------------------------------------------------------------------------- */

struct symbol {
	int id; /* -1 once it was merged into the one before */
	int prev, next;
};

/* A merge that was possible when it was noted. */
struct candidate {
	int rank, at, merged;
};

struct work {
	const struct bpe *bpe;
	struct symbol *symbol;
	int n, symbols_cap;
	struct candidate *heap; /* the lowest rank, then the leftmost, on top */
	int heap_n, heap_cap;
};

static void work_done(struct work *work)
{
	free(work->symbol);
	free(work->heap);
}

/* A word of n symbols has n - 1 neighbours at first, and each of up to n - 1 merges makes two more. */
static int work_reserve(struct work *work, size_t len, struct err *err)
{
	size_t cap = MAX(len, (size_t)64);
	struct symbol *symbol;
	struct candidate *heap;

	if (len <= (size_t)work->symbols_cap)
		return 0;
	cap = MAX(cap, 2 * (size_t)work->symbols_cap);
	symbol = realloc(work->symbol, cap * sizeof(*symbol));
	if (symbol == NULL)
		return err_nomem(err);
	work->symbol = symbol;
	heap = realloc(work->heap, 3 * cap * sizeof(*heap));
	if (heap == NULL)
		return err_nomem(err);
	work->heap = heap;
	work->symbols_cap = (int)cap;
	return 0;
}

static bool is_before(const struct candidate *a, const struct candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct work *work, struct candidate candidate)
{
	int at = work->heap_n++;

	while (at > 0 && is_before(&candidate, &work->heap[(at - 1) / 2])) {
		work->heap[at] = work->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	work->heap[at] = candidate;
}

static struct candidate heap_pop(struct work *work)
{
	struct candidate top = work->heap[0], last = work->heap[--work->heap_n];
	int at = 0;

	for (;;) {
		int child = 2 * at + 1;

		if (child >= work->heap_n)
			break;
		if (child + 1 < work->heap_n && is_before(&work->heap[child + 1], &work->heap[child]))
			child++;
		if (!is_before(&work->heap[child], &last))
			break;
		work->heap[at] = work->heap[child];
		at = child;
	}
	work->heap[at] = last;
	return top;
}

static const struct pair *merge_at(const struct work *work, int at)
{
	const struct symbol *left = &work->symbol[at];

	if (at < 0 || left->id < 0 || left->next < 0)
		return NULL;
	return pairs_find(&work->bpe->merges, left->id, work->symbol[left->next].id);
}

static void note(struct work *work, int at)
{
	const struct pair *merge = at < 0 ? NULL : merge_at(work, at);

	if (merge != NULL)
		heap_push(work, (struct candidate){merge->rank, at, merge->value});
}

static void join(struct work *work, int at, int merged)
{
	struct symbol *left = &work->symbol[at], *right = &work->symbol[left->next];

	left->id = merged;
	right->id = -1;
	left->next = right->next;
	if (left->next >= 0)
		work->symbol[left->next].prev = at;
	note(work, left->prev);
	note(work, at);
}

static void merge_all(struct work *work)
{
	work->heap_n = 0;
	for (int i = 0; i + 1 < work->n; i++)
		note(work, i);
	while (work->heap_n > 0) {
		struct candidate top = heap_pop(work);
		const struct pair *merge = merge_at(work, top.at);

		/* A stale note counts if its place still merges to the same token: so does the reference. */
		if (merge != NULL && merge->value == top.merged)
			join(work, top.at, top.merged);
	}
}

static void add_symbol(struct work *work, int id)
{
	if (work->n > 0)
		work->symbol[work->n - 1].next = work->n;
	work->symbol[work->n] = (struct symbol){id, work->n - 1, -1};
	work->n++;
}

static void set_symbols(struct work *work, const char *text, size_t len)
{
	const struct bpe *bpe = work->bpe;
	bool was_unknown = false;

	work->n = 0;
	for (size_t i = 0; i < len; i++) {
		int id = bpe->byte[(unsigned char)text[i]];
		bool is_unknown = id < 0;

		if (!is_unknown)
			add_symbol(work, id);
		else if (bpe->unknown >= 0 && !(bpe->fuse_unknown && was_unknown))
			add_symbol(work, bpe->unknown);
		was_unknown = is_unknown;
	}
}

/* The id of the whole word as one token, or -1. */
static int whole_word(const struct vocab *vocab, const char *text, size_t len)
{
	uint64_t hash = VOCAB_HASH_START;
	struct buf chars = {0};
	int id = -1;

	for (size_t i = 0; i < len; i++) {
		char utf8[UTF8_BYTES_MAX];
		int n = utf8_put(utf8, bpe_char_of_byte((unsigned char)text[i]));

		hash = vocab_hash(hash, utf8, (size_t)n);
		buf_add(&chars, utf8, (size_t)n);
	}
	if (!chars.failed)
		id = vocab_find_hashed(vocab, hash, "", 0, chars.data, chars.len);
	buf_done(&chars);
	return id;
}

static int add_word(struct ids *out, const struct tokenizer *tok, struct work *work, const char *text,
	size_t len, struct err *err)
{
	int whole = -1, rc;

	if (tok->bpe.whole_words && len <= (size_t)tok->vocab.longest)
		whole = whole_word(&tok->vocab, text, len);
	if (whole >= 0)
		return ids_add(out, whole, err);
	rc = work_reserve(work, len, err);
	if (rc != 0)
		return rc;
	set_symbols(work, text, len);
	merge_all(work);
	for (int i = work->n > 0 ? 0 : -1; i >= 0 && rc == 0; i = work->symbol[i].next)
		rc = ids_add(out, work->symbol[i].id, err);
	return rc;
}

static int add_words(struct ids *out, const struct tokenizer *tok, struct work *work, const char *text,
	size_t len, struct err *err)
{
	const char *end = text + len;
	int rc = 0;

	while (text < end && rc == 0) {
		const char *stop = word_end(text, end);

		rc = add_word(out, tok, work, text, (size_t)(stop - text), err);
		text = stop;
	}
	return rc;
}

static int pieces(struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err)
{
	struct work work = {.bpe = &tok->bpe};
	struct buf spaced = {0};
	int rc;

	if (tok->bpe.add_prefix_space && len > 0 && text[0] != ' ') {
		buf_str(&spaced, " ");
		buf_add(&spaced, text, len);
		text = spaced.data;
		len = spaced.len;
	}
	rc = spaced.failed ? err_nomem(err) : add_words(out, tok, &work, text, len, err);
	buf_done(&spaced);
	work_done(&work);
	return rc;
}

/* A token whose first character stands for the space before it. */
static bool word(struct buf *out, const char *token, size_t len)
{
	const char *end = token + len;
	size_t before = out->len;

	if (len == 0 || byte_of_char(utf8_next(&token)) != ' ')
		return false;
	while (token < end) {
		int byte = byte_of_char(utf8_next(&token));
		char c = (char)byte;

		if (byte < 0)
			return false;
		buf_add(out, &c, 1);
	}
	return !out->failed && out->len > before &&
	       utf8_valid(out->data + before, out->len - before) == out->len - before;
}

const struct tokenizer_model tokenizer_bpe = {pieces, word, " "};
