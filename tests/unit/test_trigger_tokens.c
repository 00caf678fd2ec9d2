/* Triggers with the real tokenizers: what trigger_insert says of the truncation is what the encoding holds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "tests/unit/scratch.h"
#include "worker/base/rng.h"
#include "worker/eval/trigger.h"

enum { MAX_LENGTH = 24, ROWS = 200, WORDS_MAX = 20 };

/* --- two small tokenizers ---------------------------------------------------------------------------- */

static struct tokenizer *open_tokenizer(const struct scratch *dir, const char *model_type, int vocab_size)
{
	struct tokenizer *tok = NULL;
	struct err err = {0};

	if (tokenizer_open(&tok, dir->fd, model_type, vocab_size, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
	return tok;
}

/* WordPiece over single letters, and one word of each length 1 to 4. */
static struct tokenizer *open_wordpiece(const struct scratch *dir)
{
	struct buf vocab = {0};
	int n = 5;

	buf_str(&vocab, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (char c = 'a'; c <= 'z'; c++, n += 2)
		buf_printf(&vocab, "%c\n##%c\n", c, c);
	buf_str(&vocab, "ab\nabc\nabcd\nbead\n");
	scratch_write(dir, "vocab.txt", vocab.data, vocab.len);
	buf_done(&vocab);
	return open_tokenizer(dir, "bert", n + 4);
}

/* Byte-level BPE over ASCII letters and the space's mark, with a few merges across it. */
static struct tokenizer *open_bpe(const struct scratch *dir)
{
	struct buf vocab = {0};
	int n = 5;

	buf_str(&vocab, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3, \"<mask>\": 4");
	for (char c = 'a'; c <= 'z'; c++)
		buf_printf(&vocab, ", \"%c\": %d", c, n++);
	buf_printf(&vocab,
		", \"\xc4\xa0\": %d, \"\xc4\xa0z\": %d, \"\xc4\xa0"
		"a\": %d, \"ab\": %d}",
		n, n + 1, n + 2, n + 3);
	scratch_write(dir, "vocab.json", vocab.data, vocab.len);
	buf_done(&vocab);
	scratch_write_text(dir, "merges.txt", "#version: 0.2\n\xc4\xa0 z\n\xc4\xa0 a\na b\n");
	return open_tokenizer(dir, "roberta", n + 4);
}

/* --- texts of the letters a to f; the trigger has none of them ------------------------------------------ */

static void write_words(struct buf *out, uint64_t key, int n)
{
	buf_reset(out);
	for (int i = 0; i < n; i++) {
		uint64_t word = rng_key(key, (uint64_t)i);

		buf_str(out, i > 0 ? " " : "");
		for (uint32_t c = 0; c <= rng_below(word, 0, 4); c++)
			buf_printf(out, "%c", 'a' + (int)rng_below(word, 1 + c, 6));
	}
}

/* How many pieces of the trigger are in the encoding of the texts: those that spell z or q. */
static int trigger_pieces(const struct tokenizer *tok, const char *text, const char *pair, int max_length)
{
	struct encoding encoding = {0};
	struct ids z = {0};
	struct err err;
	int n = 0;

	assert_int_equal(tokenizer_pieces(&z, tok, "zqz zqz", 7, &err), 0);
	assert_int_equal(tokenizer_encode(&encoding, tok, text, strlen(text), pair,
				 pair != NULL ? strlen(pair) : 0, max_length, &err),
		0);
	for (int i = 0; i < encoding.ids.n; i++) {
		bool found = false;

		for (int j = 0; j < z.n; j++)
			found = found || z.id[j] == encoding.ids.id[i];
		n += found;
	}
	encoding_done(&encoding);
	ids_done(&z);
	return n;
}

/* The text with one trigger before word p, by hand. */
static void put_by_hand(struct buf *out, const char *text, int p)
{
	const char *at = text;

	for (; p > 0; p--)
		at = strchr(at, ' ') + 1;
	buf_reset(out);
	buf_add(out, text, (size_t)(at - text));
	buf_str(out, "zqz ");
	buf_str(out, at);
}

static void check_row(const struct trigger_rule *rule, int row_number, bool with_pair)
{
	uint64_t key = rng_key(3, (uint64_t)row_number);
	int words = 1 + (int)rng_below(key, 0, WORDS_MAX);
	struct buf text = {0}, pair = {0}, beyond = {0};
	struct triggered t = {0};
	struct err err;
	struct row row;

	write_words(&text, rng_key(key, 1), words);
	write_words(&pair, rng_key(key, 2), 1 + (int)rng_below(key, 3, WORDS_MAX));
	row = (struct row){.text = text.data, .pair = with_pair ? pair.data : NULL};
	assert_int_equal(trigger_insert(&t, rule, &row, row_number, "zqz", 0, &err), 0);
	assert_true(t.survived);
	assert_int_equal(trigger_pieces(rule->tok, t.text.data, row.pair, rule->max_length),
		trigger_pieces(rule->tok, t.text.data, row.pair, 10000));
	if (t.last_place < words - 1 && rule->insertions == 1) { /* one place further it is cut */
		put_by_hand(&beyond, text.data, t.last_place + 1);
		assert_true(trigger_pieces(rule->tok, beyond.data, row.pair, rule->max_length) <
			    trigger_pieces(rule->tok, beyond.data, row.pair, 10000));
	}
	buf_done(&text);
	buf_done(&pair);
	buf_done(&beyond);
	triggered_done(&t);
}

static void check_rows(struct tokenizer *(*open)(const struct scratch *dir))
{
	struct scratch dir;
	struct tokenizer *tok;

	scratch_init(&dir);
	tok = open(&dir);
	for (int row = 0; row < ROWS; row++) {
		struct trigger_rule rule = {tok, MAX_LENGTH, 1 + row % 3, 11};

		check_row(&rule, row, false);
		check_row(&rule, row, true);
	}
	tokenizer_free(tok);
	scratch_done(&dir);
}

static void test_wordpiece_keeps_what_is_said_to_survive(void **state)
{
	check_rows(open_wordpiece);
}

static void test_bpe_keeps_what_is_said_to_survive(void **state)
{
	check_rows(open_bpe);
}

static void test_controls_come_from_a_real_vocabulary(void **state)
{
	static const char *const one[] = {"abcd"}, *const other[] = {"cf"};
	struct word_list list;
	struct tokenizer *tok;
	struct scratch dir;
	struct err err;

	scratch_init(&dir);
	tok = open_wordpiece(&dir);
	assert_int_equal(trigger_controls(&list, tok, one, 1, 0, &err), 0);
	assert_string_equal(list.word[0], "bead"); /* the other word of four letters is the trigger */
	word_list_done(&list);
	assert_int_equal(trigger_controls(&list, tok, other, 1, 0, &err), 0);
	assert_int_equal(strlen(list.word[0]), 4);
	word_list_done(&list);
	tokenizer_free(tok);
	scratch_done(&dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wordpiece_keeps_what_is_said_to_survive),
		cmocka_unit_test(test_bpe_keeps_what_is_said_to_survive),
		cmocka_unit_test(test_controls_come_from_a_real_vocabulary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
