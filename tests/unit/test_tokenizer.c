#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/tiny_tokenizer.h"

enum {
	PAD,
	UNK,
	CLS,
	SEP,
	MASK,
	A,
	UN,
	AFF,
	ABLE,
	THE,
	FILM,
	BANG,
	E_ACUTE,
	E,
	S_HASH,
	HASH_S,
	COMMA,
	HAN,
	SIGMA,
	I,
	DOT_ABOVE,
	JAMO,
};

/* In the order of the enum. U+0307 stands in continuation, as lower case of U+0130 leaves it. */
static const char VOCAB[] =
	"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
	"a\nun\n##aff\n##able\nthe\nfilm\n!\n\u00e9\ne\n##s\n#\n,\n\u4f60\n\u03c3\ni\n##\u0307\n"
	"\u1112\u1161\u11ab\n";

static void open_bert(struct tiny *tiny, const char *config)
{
	scratch_write_text(&tiny->scratch, "vocab.txt", VOCAB);
	if (config != NULL)
		scratch_write_text(&tiny->scratch, "tokenizer_config.json", config);
	tiny_open(tiny, "bert");
}

static void test_words_become_their_longest_pieces(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(
		tiny, "the unaffable films", NULL, NO_LIMIT, CLS, THE, UN, AFF, ABLE, FILM, S_HASH, SEP);
	assert_int_equal(tiny->encoding.second, tiny->encoding.ids.n);
	assert_int_equal(tiny->encoding.kept[0], 6);
	assert_false(tiny->encoding.has_special);
}

static void test_a_word_without_pieces_is_unknown_as_a_whole(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "unaffx a", NULL, NO_LIMIT, CLS, UNK, A, SEP);
}

static void test_words_of_more_than_a_hundred_characters_are_unknown(void **state)
{
	struct tiny *tiny = *state;
	char word[103];

	open_bert(tiny, NULL);
	memset(word, 's', sizeof(word));
	word[0] = 'a';
	word[100] = '\0';
	assert_int_equal(tokenizer_pieces(&tiny->encoding.ids, tiny->tok, word, 100, &tiny->err), 0);
	assert_int_equal(tiny->encoding.ids.n, 100);
	word[100] = 's';
	word[101] = '\0';
	ASSERT_ENCODES(tiny, word, NULL, NO_LIMIT, CLS, UNK, SEP);
}

static void test_punctuation_and_chinese_stand_alone(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "the,film!!##\u4f60\u4f60a", NULL, NO_LIMIT, CLS, THE, COMMA, FILM, BANG, BANG,
		HASH_S, HASH_S, HAN, HAN, A, SEP);
}

static void test_text_is_cleaned_stripped_and_lowered(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(
		tiny, "T\u00adhe\u3000FI\x01LM\t\u00c9\v\u00c9", NULL, NO_LIMIT, CLS, THE, FILM, UNK, SEP);
	ASSERT_ENCODES(tiny, "\u00c9 e\u0301\u0323", NULL, NO_LIMIT, CLS, E, E, SEP);
	ASSERT_ENCODES(tiny, "\u03a3\u0130 \u03a3", NULL, NO_LIMIT, CLS, UNK, SIGMA, SEP);
	ASSERT_ENCODES(tiny, "\ud55c", NULL, NO_LIMIT, CLS, JAMO, SEP);
}

/* U+302E has class 224, U+1D165 216; U+0301 is dropped and no border, U+0E34, also dropped, is one. */
static void test_surviving_marks_are_sorted_within_their_run(void **state)
{
	static const char config[] = "{\"added_tokens_decoder\": {\"100\": {\"content\": "
				     "\"\u302e\U0001d165\", \"normalized\": false},"
				     " \"101\": {\"content\": \"e\U0001d165\u302e\", \"normalized\": true},"
				     " \"102\": {\"content\": \"a\u302e\", \"normalized\": true}}}";
	struct tiny *tiny = *state;

	open_bert(tiny, config);
	ASSERT_ENCODES(tiny, "e\u302e\u0301\U0001d165", NULL, NO_LIMIT, CLS, 101, SEP);
	ASSERT_ENCODES(tiny, "e\U0001d165\u302e", NULL, NO_LIMIT, CLS, 101, SEP);
	ASSERT_ENCODES(tiny, "a\u302e\u0e34\U0001d165", NULL, NO_LIMIT, CLS, 102, UNK, SEP);
	ASSERT_ENCODES(tiny, "e\u302e\U0001d165", NULL, NO_LIMIT, CLS, E, 100, SEP);
}

static void test_cased_models_keep_case_and_accents(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, "{\"do_lower_case\": false}");
	ASSERT_ENCODES(tiny, "the \u00e9 The", NULL, NO_LIMIT, CLS, THE, E_ACUTE, UNK, SEP);
}

static void test_accents_may_stay_when_case_goes(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, "{\"strip_accents\": false}");
	ASSERT_ENCODES(tiny, "The \u00c9 \u0130", NULL, NO_LIMIT, CLS, THE, E_ACUTE, I, DOT_ABOVE, SEP);
}

static void test_the_class_overrules_tokenizer_json(void **state)
{
	static const char json[] =
		"{\"added_tokens\": [], \"normalizer\": {\"type\": \"BertNormalizer\", \"lowercase\": false},"
		" \"pre_tokenizer\": {\"type\": \"BertPreTokenizer\"}, \"truncation\": {\"max_length\": 1},"
		" \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"c\", 1], \"sep\": [\"s\", "
		"2]},"
		" \"model\": {\"unk_token\": \"u\", \"vocab\": {\"u\": 0, \"c\": 1, \"s\": 2, \"the\": 3}}}";
	struct tiny *tiny = *state;

	scratch_write_text(&tiny->scratch, "tokenizer.json", json);
	tiny_open(tiny, "bert");
	ASSERT_ENCODES(tiny, "The the", NULL, NO_LIMIT, 1, 3, 3, 2);
	tokenizer_free(tiny->tok);
	scratch_write_text(&tiny->scratch, "tokenizer_config.json",
		"{\"tokenizer_class\": \"PreTrainedTokenizerFast\"}");
	tiny_open(tiny, "bert");
	ASSERT_ENCODES(tiny, "The the", NULL, NO_LIMIT, 1, 0, 3, 2);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_CLS), 1);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_UNK), 0);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_PAD), -1);
}

static void test_pairs_have_a_second_type(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "the film", "a", NO_LIMIT, CLS, THE, FILM, SEP, A, SEP);
	assert_int_equal(tiny->encoding.second, 4);
	ASSERT_ENCODES(tiny, "the film", "", NO_LIMIT, CLS, THE, FILM, SEP, SEP);
	assert_int_equal(tiny->encoding.second, 4);
	ASSERT_ENCODES(tiny, "", "a", NO_LIMIT, CLS, SEP, A, SEP);
	ASSERT_ENCODES(tiny, "", NULL, NO_LIMIT, CLS, SEP);
}

static void test_singles_are_cut_on_the_right(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "the film a !", NULL, 5, CLS, THE, FILM, A, SEP);
	assert_int_equal(tiny->encoding.kept[0], 3);
	assert_int_equal(tiny->encoding.dropped[0], 1);
	assert_int_equal(tiny->encoding.dropped[1], 0);
}

static void test_of_pairs_the_longer_is_cut_first(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "the film a ! ,", "un !", 8, CLS, THE, FILM, A, SEP, UN, BANG, SEP);
	assert_int_equal(tiny->encoding.second, 5);
	assert_int_equal(tiny->encoding.dropped[0], 2);
	ASSERT_ENCODES(tiny, "un !", "the film a ! ,", 8, CLS, UN, BANG, SEP, THE, FILM, A, SEP);
	ASSERT_ENCODES(tiny, "the film a !", "the film a !", 4, CLS, SEP, THE, SEP);
	assert_int_equal(tiny->encoding.kept[0], 0);
	assert_int_equal(tiny->encoding.dropped[1], 3);
}

/* {n1, n2, max_length, kept of n1, kept of n2}; RoBERTa's cases of M = max_length - 4 are one less here. */
static void test_longest_first_keeps_what_the_reference_keeps(void **state)
{
	static const int cases[][5] = {{9, 9, 11, 4, 4}, {3, 20, 11, 3, 5}, {20, 3, 11, 5, 3},
		{20, 20, 4, 0, 1}, {3, 4, 11, 3, 4}, {0, 20, 11, 0, 8}, {20, 0, 11, 8, 0}, {9, 10, 12, 4, 5},
		{10, 9, 12, 5, 4}, {4, 4, 11, 4, 4}, {0, 0, 4, 0, 0}, {1, 20, 4, 0, 1}, {20, -1, 5, 3, 0},
		{2, -1, 5, 2, 0}};
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	for (size_t i = 0; i < NELEM(cases); i++) {
		int kept[2];

		tokenizer_kept(kept, tiny->tok, cases[i][0], cases[i][1], cases[i][2]);
		assert_int_equal(kept[0], cases[i][3]);
		assert_int_equal(kept[1], cases[i][4]);
	}
}

static void test_special_tokens_in_the_text_are_found_and_told(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "the[SEP]film", NULL, NO_LIMIT, CLS, THE, SEP, FILM, SEP);
	assert_true(tiny->encoding.has_special);
	ASSERT_ENCODES(tiny, "the [sep] [SE P]", "[MASK]", NO_LIMIT, CLS, THE, UNK, UNK, UNK, UNK, UNK, UNK,
		UNK, SEP, MASK, SEP);
	assert_true(tiny->encoding.has_special);
	ASSERT_ENCODES(tiny, "the film", NULL, NO_LIMIT, CLS, THE, FILM, SEP);
	assert_false(tiny->encoding.has_special);
}

#define ADDED(id, content, flags) "\"" #id "\": {\"content\": \"" content "\"" flags "}"
#define CONFIG(tokens)		  "{\"added_tokens_decoder\": {" tokens "}}"

static void test_the_longest_added_token_wins_and_the_leftmost(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, CONFIG(ADDED(100, "xa", ", \"normalized\": false") "," ADDED(101, "xab",
				", \"normalized\": false") "," ADDED(102, "bx", ", \"normalized\": false")));
	ASSERT_ENCODES(tiny, "xabxa", NULL, NO_LIMIT, CLS, 101, 100, SEP);
	ASSERT_ENCODES(tiny, "axbxab", NULL, NO_LIMIT, CLS, UNK, 102, UNK, SEP);
	ASSERT_ENCODES(tiny, "XAB", NULL, NO_LIMIT, CLS, UNK, SEP);
	assert_false(tiny->encoding.has_special);
	assert_int_equal(tokenizer_vocab_size(tiny->tok), 103);
}

static void test_normalized_tokens_are_found_in_normalised_text(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, CONFIG(ADDED(100, "X\u00c9", "")));
	ASSERT_ENCODES(tiny, "the xe X\u00c9!xE\u0301", NULL, NO_LIMIT, CLS, THE, 100, 100, BANG, 100, SEP);
}

static void test_added_tokens_may_swallow_space_around(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, CONFIG(ADDED(100, "xl", ", \"lstrip\": true, \"normalized\": false") "," ADDED(
				101, "xr", ", \"rstrip\": true, \"normalized\": false") "," ADDED(102, " a",
				", \"normalized\": false")));
	ASSERT_ENCODES(tiny, "the  xl a", NULL, NO_LIMIT, CLS, THE, 100, 102, SEP);
	ASSERT_ENCODES(tiny, "the a xr \u3000 the", NULL, NO_LIMIT, CLS, THE, 102, 101, THE, SEP);
	/* The search does not know of the space that xr swallowed: the reference finds " a" all the same. */
	ASSERT_ENCODES(tiny, "xr a!", NULL, NO_LIMIT, CLS, 101, 102, BANG, SEP);
}

static void test_single_words_do_not_touch_words(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, CONFIG(ADDED(100, "thea", ", \"single_word\": true, \"normalized\": false")));
	ASSERT_ENCODES(tiny, "thea athea thea!,thea_", NULL, NO_LIMIT, CLS, 100, UNK, 100, BANG, COMMA, UNK,
		UNK, SEP);
}

static void test_added_tokens_json_and_the_special_map_are_read(void **state)
{
	struct tiny *tiny = *state;

	scratch_write_text(&tiny->scratch, "added_tokens.json", "{\"Xy\": 50, \"[mine]\": 51}");
	scratch_write_text(&tiny->scratch, "special_tokens_map.json",
		"{\"mask_token\": {\"content\": \"[mine]\", \"lstrip\": true}, \"pad_token\": \"the\","
		" \"additional_special_tokens\": [\"film\", {\"content\": \"un\"}, \"absent\"]}");
	open_bert(tiny, NULL);
	ASSERT_ENCODES(tiny, "a xyfilm UNun", NULL, NO_LIMIT, CLS, A, 50, FILM, UN, UN, SEP);
	assert_true(tiny->encoding.has_special);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_MASK), 51);
	assert_int_equal(tokenizer_special(tiny->tok, SPECIAL_PAD), THE);
}

static void test_text_that_is_no_utf8_is_refused(void **state)
{
	static const char *const broken[] = {
		"the \xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xe4\xbd"};
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	for (size_t i = 0; i < NELEM(broken); i++) {
		assert_int_equal(tokenizer_encode(&tiny->encoding, tiny->tok, broken[i], strlen(broken[i]),
					 NULL, 0, NO_LIMIT, &tiny->err),
			-ERR_INVALID_DATA);
		assert_int_equal(tokenizer_encode(&tiny->encoding, tiny->tok, "a", 1, broken[i],
					 strlen(broken[i]), NO_LIMIT, &tiny->err),
			-ERR_INVALID_DATA);
	}
	assert_non_null(strstr(tiny->err.text, "byte 1 "));
	ASSERT_ENCODES(tiny, "the", NULL, NO_LIMIT, CLS, THE, SEP);
}

static void test_nul_is_a_character_that_is_dropped(void **state)
{
	static const int want[] = {THE, A};
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	assert_int_equal(tokenizer_pieces(&tiny->encoding.ids, tiny->tok, "t\0he a\0", 7, &tiny->err), 0);
	assert_ids(&tiny->encoding.ids, want, 2);
}

static void test_texts_beyond_the_limit_are_refused(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, NULL);
	assert_int_equal(tokenizer_pieces(&tiny->encoding.ids, tiny->tok, "", (1 << 28) + 1, &tiny->err),
		-ERR_INVALID_DATA);
}

static void test_the_longest_sequence_may_be_unlimited(void **state)
{
	struct tiny *tiny = *state;

	open_bert(tiny, "{\"model_max_length\": 1000000000000000019884624838656}");
	assert_int_equal(tokenizer_max_length(tiny->tok), INT_MAX);
	tokenizer_free(tiny->tok);
	open_bert(tiny, "{\"model_max_length\": 512}");
	assert_int_equal(tokenizer_max_length(tiny->tok), 512);
	tokenizer_free(tiny->tok);
	open_bert(tiny, "{}");
	assert_int_equal(tokenizer_max_length(tiny->tok), INT_MAX);
}

static void test_a_vocabulary_size_out_of_range_is_refused(void **state)
{
	static const int sizes[] = {0, -1, (1 << 22) + 1};
	struct tiny *tiny = *state;

	for (size_t i = 0; i < NELEM(sizes); i++)
		assert_int_equal(tokenizer_open(&tiny->tok, tiny->scratch.fd, "bert", sizes[i], &tiny->err),
			-ERR_INVALID_TOKENIZER);
}

static void test_whole_words_are_tokens_that_text_can_be(void **state)
{
	struct tiny *tiny = *state;
	struct buf word = {0};

	open_bert(tiny, NULL);
	buf_str(&word, "x ");
	assert_true(tokenizer_whole_word(&word, tiny->tok, FILM));
	assert_string_equal(word.data, "x film");
	assert_true(tokenizer_whole_word(&word, tiny->tok, BANG));
	assert_string_equal(word.data, "x film!");
	assert_false(tokenizer_whole_word(&word, tiny->tok, AFF));
	assert_false(tokenizer_whole_word(&word, tiny->tok, SEP));
	assert_false(tokenizer_whole_word(&word, tiny->tok, E_ACUTE));
	assert_false(tokenizer_whole_word(&word, tiny->tok, 300));
	assert_false(tokenizer_whole_word(&word, tiny->tok, -1));
	assert_string_equal(word.data, "x film!");
	buf_done(&word);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tiny_setup, tiny_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_words_become_their_longest_pieces),
		TEST(test_a_word_without_pieces_is_unknown_as_a_whole),
		TEST(test_words_of_more_than_a_hundred_characters_are_unknown),
		TEST(test_punctuation_and_chinese_stand_alone),
		TEST(test_text_is_cleaned_stripped_and_lowered),
		TEST(test_surviving_marks_are_sorted_within_their_run),
		TEST(test_cased_models_keep_case_and_accents),
		TEST(test_accents_may_stay_when_case_goes),
		TEST(test_the_class_overrules_tokenizer_json),
		TEST(test_pairs_have_a_second_type),
		TEST(test_singles_are_cut_on_the_right),
		TEST(test_of_pairs_the_longer_is_cut_first),
		TEST(test_longest_first_keeps_what_the_reference_keeps),
		TEST(test_special_tokens_in_the_text_are_found_and_told),
		TEST(test_the_longest_added_token_wins_and_the_leftmost),
		TEST(test_normalized_tokens_are_found_in_normalised_text),
		TEST(test_added_tokens_may_swallow_space_around),
		TEST(test_single_words_do_not_touch_words),
		TEST(test_added_tokens_json_and_the_special_map_are_read),
		TEST(test_text_that_is_no_utf8_is_refused),
		TEST(test_nul_is_a_character_that_is_dropped),
		TEST(test_texts_beyond_the_limit_are_refused),
		TEST(test_the_longest_sequence_may_be_unlimited),
		TEST(test_a_vocabulary_size_out_of_range_is_refused),
		TEST(test_whole_words_are_tokens_that_text_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
