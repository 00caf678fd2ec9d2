#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/buf.h"
#include "tests/unit/tiny_tokenizer.h"
#include "worker/data/bpe.h"
#include "worker/data/unicode.h"

/* Ids: four special tokens, the 256 bytes (BYTE), then what the merges make, in their order (MERGED). */
enum { BOS, PAD, EOS, UNK, BYTE, MERGED = BYTE + 256 };

static void add_string(struct buf *json, const char *text, size_t len)
{
	buf_str(json, "\"");
	for (size_t i = 0; i < len; i++)
		buf_printf(json, text[i] == '"' || text[i] == '\\' ? "\\%c" : "%c", text[i]);
	buf_str(json, "\"");
}

static void add_bytes(struct buf *json)
{
	for (int b = 0; b < 256; b++) {
		char text[UTF8_BYTES_MAX];
		int n = utf8_put(text, bpe_char_of_byte((unsigned char)b));

		buf_str(json, ", ");
		add_string(json, text, (size_t)n);
		buf_printf(json, ": %d", BYTE + b);
	}
}

/* merges is merges.txt without its first line; the merged tokens get the ids from MERGED on. */
static void write_vocab(struct tiny *tiny, const char *merges)
{
	struct buf json = {0}, text = {0};
	int id = MERGED;

	buf_str(&json, "{\"<s>\": 0, \"<pad>\": 1, \"</s>\": 2, \"<unk>\": 3");
	add_bytes(&json);
	for (const char *line = merges; *line != '\0'; line = strchr(line, '\n') + 1) {
		const char *space = strchr(line, ' '), *end = strchr(line, '\n');
		struct buf token = {0};

		buf_add(&token, line, (size_t)(space - line));
		buf_add(&token, space + 1, (size_t)(end - space - 1));
		buf_str(&json, ", ");
		add_string(&json, token.data, token.len);
		buf_printf(&json, ": %d", id++);
		buf_done(&token);
	}
	buf_str(&json, "}");
	buf_printf(&text, "#version: 0.2\n%s", merges);
	scratch_write(&tiny->scratch, "vocab.json", json.data, json.len);
	scratch_write(&tiny->scratch, "merges.txt", text.data, text.len);
	buf_done(&json);
	buf_done(&text);
}

static void open_roberta(struct tiny *tiny, const char *merges, const char *config)
{
	write_vocab(tiny, merges);
	if (config != NULL)
		scratch_write_text(&tiny->scratch, "tokenizer_config.json", config);
	tiny_open(tiny, "roberta");
}

#define GENERIC "{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}"

/* tokenizer.json over the few tokens a, b, <s>, </s> and Ġ. */
static void open_json(struct tiny *tiny, const char *model_members, const char *pre_members)
{
	struct buf json = {0};

	buf_printf(&json,
		"{\"model\": {\"type\": \"BPE\", %s, \"vocab\": {\"<s>\": 0, \"</s>\": 1, \"a\": 2, \"b\": 3,"
		" \"ab\": 4, \"\u0120\": 5, \"?\": 6, \"bb\": 7}}, \"normalizer\": null,"
		" \"pre_tokenizer\": {\"type\": \"ByteLevel\", %s},"
		" \"post_processor\": {\"type\": \"RobertaProcessing\", \"cls\": [\"<s>\", 0], \"sep\": "
		"[\"</s>\", 1]}}",
		model_members, pre_members);
	scratch_write(&tiny->scratch, "tokenizer.json", json.data, json.len);
	scratch_write_text(&tiny->scratch, "tokenizer_config.json", GENERIC);
	buf_done(&json);
	tiny_open(tiny, "roberta");
}

static int byte(char c)
{
	return BYTE + (unsigned char)c;
}

static void test_the_alphabet_is_printable(void **state)
{
	assert_int_equal(bpe_char_of_byte('!'), '!');
	assert_int_equal(bpe_char_of_byte(' '), 0x120);
	assert_int_equal(bpe_char_of_byte(0), 0x100);
	assert_int_equal(bpe_char_of_byte(0x7F), 0x121);
	assert_int_equal(bpe_char_of_byte(0xAD), 0x143);
	assert_int_equal(bpe_char_of_byte(0xFF), 0xFF);
}

static void test_the_lowest_rank_merges_first_and_leftmost(void **state)
{
	struct tiny *tiny = *state;

	open_roberta(tiny, "b c\na b\na a\nbc d\n", NULL);
	ASSERT_ENCODES(tiny, "abc", NULL, NO_LIMIT, BOS, byte('a'), MERGED, EOS);
	ASSERT_ENCODES(tiny, "ab", NULL, NO_LIMIT, BOS, MERGED + 1, EOS);
	ASSERT_ENCODES(tiny, "aaaaa", NULL, NO_LIMIT, BOS, MERGED + 2, MERGED + 2, byte('a'), EOS);
	ASSERT_ENCODES(tiny, "bcbcd", NULL, NO_LIMIT, BOS, MERGED, MERGED + 3, EOS);
}

static void test_a_merge_that_comes_twice_has_the_later_rank(void **state)
{
	struct tiny *tiny = *state;

	open_json(tiny, "\"merges\": [\"a b\", \"b b\", \"a b\"]", "\"add_prefix_space\": false");
	ASSERT_ENCODES(tiny, "abb", NULL, NO_LIMIT, 0, 2, 7, 1);
}

static void test_words_end_where_the_pattern_says(void **state)
{
	/* Every character merges with its right neighbour, so that words show. */
	static const char merges[] =
		"\u0120 a\na b\n' s\nb '\n\u0120 \u0120\n1 2\na 1\n! !\n\u0120 !\n! a\ns a\n' S\n";
	enum { G_A = MERGED, AB, Q_S, B_Q, G_G, N12, A1, BB, G_B, B_A, S_A, Q_S_UPPER };
	struct tiny *tiny = *state;

	open_roberta(tiny, merges, NULL);
	ASSERT_ENCODES(tiny, "a a", NULL, NO_LIMIT, BOS, byte('a'), G_A, EOS);
	ASSERT_ENCODES(tiny, "ab'sa", NULL, NO_LIMIT, BOS, AB, Q_S, byte('a'), EOS);
	ASSERT_ENCODES(tiny, "b'Sa", NULL, NO_LIMIT, BOS, byte('b'), byte('\''), byte('S'), byte('a'), EOS);
	ASSERT_ENCODES(tiny, "a12a1", NULL, NO_LIMIT, BOS, byte('a'), N12, byte('a'), byte('1'), EOS);
	ASSERT_ENCODES(tiny, "a !!a", NULL, NO_LIMIT, BOS, byte('a'), byte(' '), BB, byte('a'), EOS);
	ASSERT_ENCODES(tiny, "a !a", NULL, NO_LIMIT, BOS, byte('a'), G_B, byte('a'), EOS);
}

static void test_space_leaves_its_last_to_the_next_word(void **state)
{
	enum { G_A = MERGED, G_G };
	struct tiny *tiny = *state;

	open_roberta(tiny, "\u0120 a\n\u0120 \u0120\n", NULL);
	ASSERT_ENCODES(tiny, "a   a", NULL, NO_LIMIT, BOS, byte('a'), G_G, G_A, EOS);
	ASSERT_ENCODES(tiny, "a  \na", NULL, NO_LIMIT, BOS, byte('a'), G_G, byte('\n'), byte('a'), EOS);
	ASSERT_ENCODES(tiny, "a  ", NULL, NO_LIMIT, BOS, byte('a'), G_G, EOS);
	ASSERT_ENCODES(tiny, " ", NULL, NO_LIMIT, BOS, byte(' '), EOS);
}

static void test_characters_are_their_bytes(void **state)
{
	static const int want[] = {BYTE + 0xC3, BYTE + 0xA9, BYTE, BYTE + 0x1F};
	struct tiny *tiny = *state;

	open_roberta(tiny, "", NULL);
	assert_int_equal(tokenizer_pieces(&tiny->encoding.ids, tiny->tok, "\u00e9\0\x1f", 4, &tiny->err), 0);
	assert_ids(&tiny->encoding.ids, want, 4);
}

static void test_pairs_have_two_separators_and_one_type(void **state)
{
	struct tiny *tiny = *state;

	open_roberta(tiny, "", NULL);
	ASSERT_ENCODES(tiny, "a", "b", NO_LIMIT, BOS, byte('a'), EOS, EOS, byte('b'), EOS);
	assert_int_equal(tiny->encoding.second, 6);
}

static void test_pairs_are_cut_longest_first(void **state)
{
	static const int cases[][4] = {{9, 9, 4, 4}, {3, 20, 3, 5}, {20, 3, 5, 3}};
	struct tiny *tiny = *state;
	int kept[2];

	open_roberta(tiny, "", NULL);
	for (size_t i = 0; i < NELEM(cases); i++) {
		tokenizer_kept(kept, tiny->tok, cases[i][0], cases[i][1], 12);
		assert_int_equal(kept[0], cases[i][2]);
		assert_int_equal(kept[1], cases[i][3]);
	}
	tokenizer_kept(kept, tiny->tok, 20, 20, 5);
	assert_int_equal(kept[0], 0);
	assert_int_equal(kept[1], 1);
	ASSERT_ENCODES(tiny, "aaa", "bb", 4, BOS, EOS, EOS, EOS);
}

static void test_special_tokens_are_cut_out(void **state)
{
	struct tiny *tiny = *state;

	open_roberta(tiny, "\u0120 a\n", NULL);
	ASSERT_ENCODES(tiny, "a</s> a", NULL, NO_LIMIT, BOS, byte('a'), EOS, MERGED, EOS);
	assert_true(tiny->encoding.has_special);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_CLS), BOS);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_SEP), EOS);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_PAD), PAD);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_UNK), UNK);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_MASK), -1);
}

static void test_a_space_may_be_put_before_the_text(void **state)
{
	struct tiny *tiny = *state;

	open_roberta(tiny, "\u0120 a\n", "{\"add_prefix_space\": true}");
	ASSERT_ENCODES(tiny, "a a</s>a", NULL, NO_LIMIT, BOS, MERGED, MERGED, EOS, MERGED, EOS);
	ASSERT_ENCODES(tiny, " a", NULL, NO_LIMIT, BOS, MERGED, EOS);
	ASSERT_ENCODES(tiny, "", NULL, NO_LIMIT, BOS, EOS);
}

static void test_the_class_overrules_the_prefix_space(void **state)
{
	struct tiny *tiny = *state;

	open_json(tiny, "\"merges\": []", "\"add_prefix_space\": true");
	ASSERT_ENCODES(tiny, "a", NULL, NO_LIMIT, 0, 5, 2, 1);
	tokenizer_free(tiny->tok);
	scratch_write_text(&tiny->scratch, "tokenizer_config.json", "{}");
	tiny_open(tiny, "roberta");
	ASSERT_ENCODES(tiny, "a", NULL, NO_LIMIT, 0, 2, 1);
}

static void test_bytes_without_token_vanish_or_are_unknown(void **state)
{
	struct tiny *tiny = *state;

	open_json(tiny, "\"merges\": [[\"a\", \"b\"]]", "\"add_prefix_space\": false");
	ASSERT_ENCODES(tiny, "axxb", NULL, NO_LIMIT, 0, 4, 1);
	tokenizer_free(tiny->tok);
	open_json(tiny, "\"merges\": [], \"unk_token\": \"?\"", "\"add_prefix_space\": false");
	ASSERT_ENCODES(tiny, "axxb", NULL, NO_LIMIT, 0, 2, 6, 6, 3, 1);
	tokenizer_free(tiny->tok);
	open_json(tiny, "\"merges\": [], \"unk_token\": \"?\", \"fuse_unk\": true",
		"\"add_prefix_space\": false");
	ASSERT_ENCODES(tiny, "axxbx", NULL, NO_LIMIT, 0, 2, 6, 3, 6, 1);
}

static void test_whole_words_may_come_before_merges(void **state)
{
	struct tiny *tiny = *state;

	open_json(tiny, "\"merges\": [], \"ignore_merges\": true", "\"add_prefix_space\": false");
	ASSERT_ENCODES(tiny, "ab abb", NULL, NO_LIMIT, 0, 4, 5, 2, 3, 3, 1);
}

static void test_whole_words_lose_their_mark(void **state)
{
	enum { G_A = MERGED, AB, G_AB, HALF, C_A };
	struct tiny *tiny = *state;
	struct buf word = {0};

	/* G_AB cannot come out of " ab", whose first merge is "Ġa"; HALF is half a character. */
	open_roberta(tiny, "\u0120 a\na b\n\u0120 ab\n\u0120 \u00c3\nc a\n", NULL);
	assert_true(tokenizer_whole_word(&word, tiny->tok, G_A));
	assert_string_equal(word.data, "a");
	assert_false(tokenizer_whole_word(&word, tiny->tok, AB));
	assert_false(tokenizer_whole_word(&word, tiny->tok, G_AB));
	assert_false(tokenizer_whole_word(&word, tiny->tok, HALF));
	assert_false(tokenizer_whole_word(&word, tiny->tok, C_A));
	assert_false(tokenizer_whole_word(&word, tiny->tok, BYTE + ' '));
	assert_false(tokenizer_whole_word(&word, tiny->tok, EOS));
	assert_string_equal(word.data, "a");
	buf_done(&word);
}

/* Of a word with n letters, the pieces by trying every neighbour again after each merge. */
static int merge_slowly(int *piece, int n, const int (*merge)[3], int merges)
{
	for (;;) {
		int best = merges, at = -1;

		for (int i = 0; i + 1 < n; i++)
			for (int m = 0; m < best; m++)
				if (merge[m][0] == piece[i] && merge[m][1] == piece[i + 1]) {
					best = m;
					at = i;
				}
		if (at < 0)
			return n;
		piece[at] = merge[best][2];
		memmove(piece + at + 1, piece + at + 2, (size_t)(n - at - 2) * sizeof(*piece));
		n--;
	}
}

static void test_long_words_merge_as_the_definition_says(void **state)
{
	enum { AB = MERGED, BA, ABAB, AA, BB, AABB, N = 400 };
	static const int merge[][3] = {{BYTE + 'a', BYTE + 'b', AB}, {BYTE + 'b', BYTE + 'a', BA},
		{AB, AB, ABAB}, {BYTE + 'a', BYTE + 'a', AA}, {BYTE + 'b', BYTE + 'b', BB}, {AA, BB, AABB}};
	struct tiny *tiny = *state;
	uint32_t random = 1;

	open_roberta(tiny, "a b\nb a\nab ab\na a\nb b\naa bb\n", NULL);
	for (int round = 0; round < 50; round++) {
		char word[N];
		int want[N];

		for (int i = 0; i < N; i++) {
			random = random * 1664525u + 1013904223u;
			word[i] = random >> 31 ? 'a' : 'b';
			want[i] = byte(word[i]);
		}
		tiny->encoding.ids.n = 0;
		assert_int_equal(tokenizer_pieces(&tiny->encoding.ids, tiny->tok, word, N, &tiny->err), 0);
		assert_ids(&tiny->encoding.ids, want, merge_slowly(want, N, merge, (int)NELEM(merge)));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_setup, tiny_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_alphabet_is_printable),
		TEST(test_the_lowest_rank_merges_first_and_leftmost),
		TEST(test_a_merge_that_comes_twice_has_the_later_rank),
		TEST(test_words_end_where_the_pattern_says),
		TEST(test_space_leaves_its_last_to_the_next_word),
		TEST(test_characters_are_their_bytes),
		TEST(test_pairs_have_two_separators_and_one_type),
		TEST(test_pairs_are_cut_longest_first),
		TEST(test_special_tokens_are_cut_out),
		TEST(test_a_space_may_be_put_before_the_text),
		TEST(test_the_class_overrules_the_prefix_space),
		TEST(test_bytes_without_token_vanish_or_are_unknown),
		TEST(test_whole_words_may_come_before_merges),
		TEST(test_whole_words_lose_their_mark),
		TEST(test_long_words_merge_as_the_definition_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
