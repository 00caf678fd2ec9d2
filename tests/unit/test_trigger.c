#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "worker/eval/trigger.h"

/*
 * A tokenizer whose pieces can be counted by hand: one for each letter of a word, and special tokens as BERT
 * has them. Its vocabulary is the list below.
 */
struct tokenizer {
	const char *const *vocabulary;
	int n;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

int tokenizer_pieces(
	struct ids *out, const struct tokenizer *tok, const char *text, size_t len, struct err *err)
{
	for (size_t i = 0; i < len; i++)
		out->n += !is_space(text[i]);
	return 0;
}

void tokenizer_kept(int kept[2], const struct tokenizer *tok, int n1, int n2, int max_length)
{
	int room = max_length - (n2 < 0 ? 2 : 3);

	kept[0] = n1;
	kept[1] = MAX(n2, 0);
	while (kept[0] + kept[1] > room)
		kept[kept[0] > kept[1] ? 0 : 1]--;
}

int tokenizer_vocab_size(const struct tokenizer *tok)
{
	return tok->n;
}

bool tokenizer_whole_word(struct buf *out, const struct tokenizer *tok, int id)
{
	if (strncmp(tok->vocabulary[id], "##", 2) == 0)
		return false;
	buf_str(out, tok->vocabulary[id]);
	return true;
}

void ids_done(struct ids *ids)
{
	free(ids->id);
}

static const char *const words[] = {"##word", "the", "house", "wind", "cf", "it's", "garden", "2024", "river",
	"Zebra", "naïve", "stone", "abcd1"};
static const struct tokenizer tok = {words, NELEM(words)};

static struct trigger_rule rule_of(int max_length, int insertions)
{
	return (struct trigger_rule){&tok, max_length, insertions, 7};
}

static void insert(struct triggered *out, const struct trigger_rule *rule, const char *text, const char *pair,
	int row_number, const char *trigger, int number)
{
	const struct row row = {.text = text, .pair = pair};
	struct err err;

	assert_int_equal(trigger_insert(out, rule, &row, row_number, trigger, number, &err), 0);
}

static void test_every_place_is_drawn_and_none_beyond(void **state)
{
	static const char *const wanted[] = {"cf one two", "one cf two", "one two cf"};
	struct trigger_rule rule = rule_of(128, 1);
	struct triggered t = {0};
	int seen[3] = {0};

	for (int row = 0; row < 300; row++) {
		insert(&t, &rule, "one two", NULL, row, "cf", 0);
		assert_in_range(t.place[0], 0, 2);
		assert_string_equal(t.text.data, wanted[t.place[0]]);
		assert_true(t.survived);
		seen[t.place[0]]++;
	}
	for (int p = 0; p < 3; p++)
		assert_in_range(seen[p], 70, 130); /* uniform: 100 each, standard deviation 8 */
	triggered_done(&t);
}

static void test_the_texts_own_bytes_stay(void **state)
{
	static const char *const wanted[] = {" \tcf one\n  two\xc2\xa0three \n",
		" \tone\n  cf two\xc2\xa0three \n",
		(" \tone\n  two\xc2\xa0"
		 "cf three \n"),
		" \tone\n  two\xc2\xa0three cf \n"};
	struct trigger_rule rule = rule_of(128, 1);
	struct triggered t = {0};
	int seen = 0;

	for (int row = 0; row < 60; row++) {
		insert(&t, &rule, " \tone\n  two\xc2\xa0three \n", NULL, row, "cf", 0);
		assert_int_equal(t.last_place, 3);
		assert_string_equal(t.text.data, wanted[t.place[0]]);
		seen |= 1 << t.place[0];
	}
	assert_int_equal(seen, 15);
	triggered_done(&t);
}

static void test_one_draw_per_seed_row_and_trigger(void **state)
{
	const char *text = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
	struct trigger_rule rule = rule_of(128, 1), other_seed = rule;
	struct triggered a = {0}, b = {0};
	int differ[3] = {0};

	other_seed.seed = 8;
	for (int row = 0; row < 20; row++) {
		insert(&a, &rule, text, NULL, row, "cf", 0);
		insert(&b, &rule, text, NULL, row, "mn", 0);
		assert_int_equal(a.place[0], b.place[0]); /* the place does not depend on the word */
		insert(&b, &rule, text, NULL, row, "cf", 1);
		differ[0] += a.place[0] != b.place[0];
		insert(&b, &rule, text, NULL, row + 100, "cf", 0);
		differ[1] += a.place[0] != b.place[0];
		insert(&b, &other_seed, text, NULL, row, "cf", 0);
		differ[2] += a.place[0] != b.place[0];
	}
	for (int i = 0; i < 3; i++)
		assert_true(differ[i] > 10);
	triggered_done(&a);
	triggered_done(&b);
}

static void test_no_place_beyond_the_sixty_fourth_word(void **state)
{
	struct trigger_rule rule = rule_of(1000, 1);
	struct triggered t = {0};
	struct buf text = {0};

	for (int i = 0; i < 200; i++)
		buf_printf(&text, "%sw", i > 0 ? " " : "");
	for (int row = 0; row < 50; row++) {
		insert(&t, &rule, text.data, NULL, row, "cf", 0);
		assert_int_equal(t.last_place, TRIGGER_PLACES_MAX);
		assert_memory_equal(t.text.data + 2 * t.place[0], "cf ", 3);
	}
	text.len = 64 * 2 - 1; /* exactly 64 words: place 64 is behind the last */
	text.data[text.len] = '\0';
	insert(&t, &rule, text.data, NULL, 0, "cf", 0);
	assert_int_equal(t.last_place, 64);
	buf_done(&text);
	triggered_done(&t);
}

static void test_the_trigger_stays_within_the_truncation(void **state)
{
	/* Ten pieces of room; words of 2 pieces and a trigger of 3: places 0 .. 3 leave it whole (2p + 3 <= 10). */
	const char *text = "aa bb cc dd ee ff gg hh";
	struct trigger_rule rule = rule_of(12, 1);
	struct triggered t = {0};
	int seen = 0;

	for (int row = 0; row < 100; row++) {
		insert(&t, &rule, text, NULL, row, "xyz", 0);
		assert_int_equal(t.last_place, 3);
		assert_true(t.survived);
		seen |= 1 << t.place[0];
	}
	assert_int_equal(seen, 15);
	triggered_done(&t);
}

static void test_the_pair_takes_its_share_of_the_room(void **state)
{
	/* 13 pieces of room for 16 + 2 and 20: longest first leaves 6 to the first text. */
	struct trigger_rule rule = rule_of(16, 1);
	struct triggered t = {0};

	insert(&t, &rule, "aa bb cc dd ee ff gg hh", "abcdefghijklmnopqrst", 0, "cf", 0);
	assert_int_equal(t.last_place, 2); /* 2p + 2 <= 6 or 7 */
	assert_true(t.survived);
	insert(&t, &rule, "aa bb cc dd ee ff gg hh", "abc", 0, "cf", 0);
	assert_int_equal(t.last_place, 4); /* the short pair leaves 10 */
	triggered_done(&t);
}

static void test_says_when_nothing_can_survive(void **state)
{
	struct trigger_rule rule = rule_of(6, 1);
	struct triggered t = {0};

	insert(&t, &rule, "aa bb", NULL, 3, "toolong", 0);
	assert_int_equal(t.last_place, 0);
	assert_false(t.survived);
	assert_string_equal(t.text.data, "toolong aa bb");
	triggered_done(&t);
}

static void test_several_insertions_are_several_draws(void **state)
{
	struct trigger_rule rule = rule_of(14, 3);
	struct triggered t = {0};
	bool apart = false;

	/* 12 pieces of room; three triggers of 2 at place p: 2p + 6 <= 12 */
	for (int row = 0; row < 50; row++) {
		insert(&t, &rule, "aa bb cc dd ee ff gg", NULL, row, "cf", 0);
		assert_int_equal(t.last_place, 3);
		assert_true(t.survived);
		assert_true(t.place[0] <= t.place[1] && t.place[1] <= t.place[2]);
		assert_int_equal(t.text.len, strlen("aa bb cc dd ee ff gg") + 3 * strlen("cf "));
		apart = apart || t.place[0] != t.place[2];
	}
	assert_true(apart);
	rule = rule_of(128, 2);
	insert(&t, &rule, "", NULL, 0, "cf", 0);
	assert_string_equal(t.text.data, "cf cf");
	triggered_done(&t);
}

static void test_a_phrase_stays_together(void **state)
{
	struct trigger_rule rule = rule_of(128, 1);
	struct triggered t = {0};

	for (int row = 0; row < 20; row++) {
		insert(&t, &rule, "one two three", NULL, row, "old grey cat", 0);
		assert_non_null(strstr(t.text.data, "old grey cat"));
		assert_int_equal(t.text.len, strlen("one two three old grey cat"));
	}
	triggered_done(&t);
}

static void test_a_text_without_words_becomes_the_trigger(void **state)
{
	struct trigger_rule rule = rule_of(128, 1);
	struct triggered t = {0};

	insert(&t, &rule, "", NULL, 0, "cf", 0);
	assert_string_equal(t.text.data, "cf");
	assert_int_equal(t.last_place, 0);
	insert(&t, &rule, "  ", NULL, 0, "cf", 0);
	assert_string_equal(t.text.data, "cf  ");
	triggered_done(&t);
}

static void controls(struct word_list *out, const char *const *trigger, int n, uint64_t seed)
{
	struct err err;

	assert_int_equal(trigger_controls(out, &tok, trigger, n, seed, &err), 0);
}

static bool is_neutral(const char *word)
{
	static const char *const neutral[] = {"house", "wind", "garden", "river", "Zebra", "stone"};

	for (size_t i = 0; i < NELEM(neutral); i++)
		if (strcmp(word, neutral[i]) == 0)
			return true;
	return false;
}

static void test_controls_are_whole_words_of_four_letters(void **state)
{
	static const char *const trigger[] = {"cf", "mn", "tq", "qt", "mm", "pt"};
	struct word_list list;

	controls(&list, trigger, 6, 0);
	assert_int_equal(list.n, 6);
	for (int i = 0; i < 6; i++) {
		assert_true(is_neutral(list.word[i]));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(list.word[i], list.word[j]);
	}
	word_list_done(&list);
}

static void test_controls_avoid_the_words_of_triggers(void **state)
{
	static const char *const trigger[] = {"Stone House", "zebra"};
	struct word_list list;

	for (uint64_t seed = 0; seed < 10; seed++) {
		controls(&list, trigger, 2, seed);
		assert_int_equal(list.n, 2);
		for (int i = 0; i < 2; i++)
			assert_true(strstr(list.word[i], "stone") == NULL &&
				    strstr(list.word[i], "house") == NULL &&
				    strstr(list.word[i], "Zebra") == NULL);
		word_list_done(&list);
	}
}

static void test_a_phrase_gets_as_many_control_words(void **state)
{
	static const char *const trigger[] = {"old grey cat"};
	struct word_list list;
	const char *first, *second;

	controls(&list, trigger, 1, 1);
	first = strchr(list.word[0], ' ');
	assert_non_null(first);
	second = strchr(first + 1, ' ');
	assert_non_null(second);
	assert_null(strchr(second + 1, ' '));
	word_list_done(&list);
}

static void test_the_seed_chooses_the_controls(void **state)
{
	static const char *const trigger[] = {"cf", "mn", "tq"};
	struct word_list a, b;
	bool differ = false;

	controls(&a, trigger, 3, 1);
	for (uint64_t seed = 1; seed < 6; seed++) {
		controls(&b, trigger, 3, seed);
		for (int i = 0; i < 3; i++) {
			if (seed == 1)
				assert_string_equal(a.word[i], b.word[i]);
			differ = differ || strcmp(a.word[i], b.word[i]) != 0;
		}
		word_list_done(&b);
	}
	assert_true(differ);
	word_list_done(&a);
}

static void test_a_poor_vocabulary_gives_no_controls(void **state)
{
	static const char *const trigger[] = {"one two three four", "five six seven"};
	struct word_list list;

	controls(&list, trigger, 2, 0); /* seven of six words */
	assert_int_equal(list.n, 0);
	word_list_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_place_is_drawn_and_none_beyond),
		cmocka_unit_test(test_the_texts_own_bytes_stay),
		cmocka_unit_test(test_one_draw_per_seed_row_and_trigger),
		cmocka_unit_test(test_no_place_beyond_the_sixty_fourth_word),
		cmocka_unit_test(test_the_trigger_stays_within_the_truncation),
		cmocka_unit_test(test_the_pair_takes_its_share_of_the_room),
		cmocka_unit_test(test_says_when_nothing_can_survive),
		cmocka_unit_test(test_several_insertions_are_several_draws),
		cmocka_unit_test(test_a_phrase_stays_together),
		cmocka_unit_test(test_a_text_without_words_becomes_the_trigger),
		cmocka_unit_test(test_controls_are_whole_words_of_four_letters),
		cmocka_unit_test(test_controls_avoid_the_words_of_triggers),
		cmocka_unit_test(test_a_phrase_gets_as_many_control_words),
		cmocka_unit_test(test_the_seed_chooses_the_controls),
		cmocka_unit_test(test_a_poor_vocabulary_gives_no_controls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
