/*
 * tokenizer_json: tokenizer.json, the file that says the whole pipeline.
 *
 *   $.added_tokens[]   {id, content, single_word, lstrip, rstrip, normalized, special}
 *   $.normalizer       null | BertNormalizer
 *   $.pre_tokenizer    BertPreTokenizer | ByteLevel
 *   $.model            WordPiece {vocab, unk_token, continuing_subword_prefix, max_input_chars_per_word}
 *                      | BPE {vocab, merges, unk_token, fuse_unk, ignore_merges}
 *   $.post_processor   TemplateProcessing | BertProcessing | RobertaProcessing
 *   $.truncation, $.padding, $.decoder, $.version: not read
 *
 * Each of the three may also be a Sequence of one. What we would not reproduce is ERR_UNSUPPORTED_FORMAT.
 */
#include <stdio.h>
#include <string.h>

#include "worker/data/tokenizer_impl.h"

enum { PATH_MAX_BYTES = 160 };

static const char FILE_AND_ROOT[] = "tokenizer.json: $";

static int unsupported(struct err *err, const char *where, const char *what)
{
	return err_set(err, ERR_UNSUPPORTED_FORMAT, where, "a tokenizer with %s is not supported", what);
}

static int wrong_type(struct err *err, const char *where, const char *key, const char *want)
{
	char place[PATH_MAX_BYTES + 64];

	snprintf(place, sizeof(place), "%s%s%s", where, key[0] ? "." : "", key);
	return err_set(err, ERR_INVALID_TOKENIZER, place, "expected %s", want);
}

int member_bool(
	bool *out, const json_t *object, const char *key, bool absent, const char *where, struct err *err)
{
	const json_t *value = json_object_get(object, key);

	*out = json_is_boolean(value) ? json_is_true(value) : absent;
	if (value != NULL && !json_is_null(value) && !json_is_boolean(value))
		return wrong_type(err, where, key, "true or false");
	return 0;
}

int member_string(const char **out, const json_t *object, const char *key, const char *absent,
	const char *where, struct err *err)
{
	const json_t *value = json_object_get(object, key);

	*out = json_is_string(value) ? json_string_value(value) : absent;
	if (value != NULL && !json_is_null(value) && !json_is_string(value))
		return wrong_type(err, where, key, "a string");
	return 0;
}

/* A flag that must have this value, because we do nothing else. */
static int member_is(const json_t *object, const char *key, bool want, const char *what, const char *where,
	struct err *err)
{
	bool value;
	int rc = member_bool(&value, object, key, want, where, err);

	if (rc != 0 || value == want)
		return rc;
	return unsupported(err, where, what);
}

static int member_id(
	int *out, const json_t *value, const struct tokenizer *tok, const char *where, struct err *err)
{
	if (!json_is_integer(value))
		return wrong_type(err, where, "", "a token id");
	if (json_integer_value(value) < 0 || json_integer_value(value) >= tok->vocab.size)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"token id %lld is outside of the model's vocabulary of %d",
			(long long)json_integer_value(value), tok->vocab.size);
	*out = (int)json_integer_value(value);
	return 0;
}

/*
 * The one component under root.key: `list` is what a Sequence of this kind calls its members. *out is NULL
 * where there is none; *type is its "type".
 */
static int component(const json_t **out, const char **type, const json_t *root, const char *key,
	const char *list, const char *where, struct err *err)
{
	const json_t *value = json_object_get(root, key), *members;

	*out = NULL;
	*type = "";
	if (value == NULL || json_is_null(value))
		return 0;
	if (!json_is_object(value))
		return wrong_type(err, where, "", "an object");
	members = json_object_get(value, list);
	if (json_is_array(members)) {
		if (json_array_size(members) != 1)
			return unsupported(err, where, "a sequence of several steps");
		value = json_array_get(members, 0);
		if (!json_is_object(value))
			return wrong_type(err, where, list, "objects");
	}
	*out = value;
	return member_string(type, value, "type", "", where, err);
}

/* --- model ------------------------------------------------------------------------------------------- */

int tokenizer_add_vocab(struct tokenizer *tok, const json_t *vocab, const char *where, struct err *err)
{
	const char *text;
	json_t *id;

	if (!json_is_object(vocab))
		return wrong_type(err, where, "", "an object of tokens and ids");
	json_object_foreach((json_t *)vocab, text, id)
	{
		int rc;

		if (!json_is_integer(id))
			return err_set(err, ERR_INVALID_TOKENIZER, where,
				"the id of \"%.100s\" is not an integer", text);
		rc = vocab_add(&tok->vocab, text, strlen(text), json_integer_value(id), where, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int tokenizer_add_merge(struct tokenizer *tok, int rank, const char *left, size_t left_len, const char *right,
	size_t right_len, const char *where, struct err *err)
{
	uint64_t hash = vocab_hash(vocab_hash(VOCAB_HASH_START, left, left_len), right, right_len);
	int a = vocab_find(&tok->vocab, left, left_len), b = vocab_find(&tok->vocab, right, right_len);
	int merged = vocab_find_hashed(&tok->vocab, hash, left, left_len, right, right_len);

	if (a < 0 || b < 0 || merged < 0)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"the merge of \"%.*s\" and \"%.*s\" needs a token that is not in the vocabulary",
			(int)MIN(left_len, 100u), left, (int)MIN(right_len, 100u), right);
	return pairs_put(&tok->bpe.merges, a, b, rank, merged, where, err);
}

/* ["a", "b"], or "a b" in older files. */
static int read_merge(
	struct tokenizer *tok, const json_t *merge, int rank, const char *where, struct err *err)
{
	const char *left = json_string_value(json_array_get(merge, 0)), *right, *space;

	if (json_is_array(merge)) {
		right = json_string_value(json_array_get(merge, 1));
		if (left == NULL || right == NULL || json_array_size(merge) != 2)
			return wrong_type(err, where, "", "two strings");
		return tokenizer_add_merge(tok, rank, left, strlen(left), right, strlen(right), where, err);
	}
	left = json_string_value(merge);
	space = left != NULL ? strchr(left, ' ') : NULL;
	if (space == NULL || strchr(space + 1, ' ') != NULL)
		return wrong_type(err, where, "", "two tokens with a space between");
	return tokenizer_add_merge(
		tok, rank, left, (size_t)(space - left), space + 1, strlen(space + 1), where, err);
}

static int read_merges(struct tokenizer *tok, const json_t *merges, const char *where, struct err *err)
{
	char place[PATH_MAX_BYTES];

	if (!json_is_array(merges))
		return wrong_type(err, where, "merges", "a list");
	if (json_array_size(merges) > VOCAB_SIZE_MAX)
		return err_set(err, ERR_INVALID_TOKENIZER, where, "more than %d merges", VOCAB_SIZE_MAX);
	for (size_t i = 0; i < json_array_size(merges); i++) {
		int rc;

		snprintf(place, sizeof(place), "%s.merges[%zu]", where, i);
		rc = read_merge(tok, json_array_get(merges, i), (int)i, place, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* continuing_subword_prefix and end_of_word_suffix mark word borders in other vocabularies; ByteLevel has none. */
static int check_no_affixes(const json_t *model, const char *where, struct err *err)
{
	static const char *const keys[] = {"continuing_subword_prefix", "end_of_word_suffix"};

	for (size_t i = 0; i < NELEM(keys); i++) {
		const char *affix;
		int rc = member_string(&affix, model, keys[i], "", where, err);

		if (rc != 0)
			return rc;
		if (affix[0] != '\0')
			return unsupported(err, where, keys[i]);
	}
	return 0;
}

static int read_bpe(struct tokenizer *tok, const json_t *model, const char *where, struct err *err)
{
	const json_t *dropout = json_object_get(model, "dropout");
	const char *unknown;
	int rc = check_no_affixes(model, where, err);

	tok->model = &tokenizer_bpe;
	if (rc == 0 && dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0)
		rc = unsupported(err, where, "dropout");
	if (rc == 0)
		rc = member_is(model, "byte_fallback", false, "byte_fallback", where, err);
	if (rc == 0)
		rc = member_bool(&tok->bpe.fuse_unknown, model, "fuse_unk", false, where, err);
	if (rc == 0)
		rc = member_bool(&tok->bpe.whole_words, model, "ignore_merges", false, where, err);
	if (rc == 0)
		rc = member_string(&unknown, model, "unk_token", NULL, where, err);
	if (rc == 0)
		rc = read_merges(tok, json_object_get(model, "merges"), where, err);
	if (rc != 0)
		return rc;
	bpe_bytes(&tok->bpe, &tok->vocab);
	tok->bpe.unknown = unknown == NULL ? -1 : vocab_find(&tok->vocab, unknown, strlen(unknown));
	if (unknown != NULL && tok->bpe.unknown < 0)
		return err_set(
			err, ERR_INVALID_TOKENIZER, where, "\"%.100s\" is not in the vocabulary", unknown);
	return 0;
}

static int read_wordpiece(struct tokenizer *tok, const json_t *model, const char *where, struct err *err)
{
	const json_t *chars = json_object_get(model, "max_input_chars_per_word");
	const char *unknown, *prefix;
	int rc = member_string(&unknown, model, "unk_token", "[UNK]", where, err);

	tok->model = &tokenizer_wordpiece;
	if (rc == 0)
		rc = member_string(&prefix, model, "continuing_subword_prefix", "##", where, err);
	if (rc != 0)
		return rc;
	if (strlen(prefix) > WORDPIECE_PREFIX_MAX)
		return unsupported(err, where, "a long continuing_subword_prefix");
	if (chars != NULL && (!json_is_integer(chars) || json_integer_value(chars) < 0))
		return wrong_type(err, where, "max_input_chars_per_word", "a number");
	if (chars != NULL && json_integer_value(chars) > WORDPIECE_CHARS_MAX)
		return unsupported(err, where, "a large max_input_chars_per_word");
	memcpy(tok->wordpiece.prefix, prefix, strlen(prefix) + 1);
	tok->wordpiece.chars_max = chars == NULL ? 100 : (int)json_integer_value(chars);
	tok->wordpiece.unknown = vocab_find(&tok->vocab, unknown, strlen(unknown));
	if (tok->wordpiece.unknown < 0)
		return err_set(
			err, ERR_INVALID_TOKENIZER, where, "\"%.100s\" is not in the vocabulary", unknown);
	return 0;
}

static int read_model(struct tokenizer *tok, const json_t *root, struct err *err)
{
	static const struct {
		const char *type;
		int (*read)(struct tokenizer *tok, const json_t *model, const char *where, struct err *err);
	} models[] = {{"WordPiece", read_wordpiece}, {"BPE", read_bpe}};
	static const char where[] = "tokenizer.json: $.model";
	const json_t *model = json_object_get(root, "model");
	const char *type;
	int rc;

	if (!json_is_object(model))
		return wrong_type(err, where, "", "an object");
	/* Old files have no type: merges tell the two apart. */
	type = json_object_get(model, "merges") != NULL ? "BPE" : "WordPiece";
	rc = member_string(&type, model, "type", type, where, err);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < NELEM(models); i++) {
		if (strcmp(type, models[i].type) != 0)
			continue;
		rc = tokenizer_add_vocab(
			tok, json_object_get(model, "vocab"), "tokenizer.json: $.model.vocab", err);
		return rc != 0 ? rc : models[i].read(tok, model, where, err);
	}
	return err_set(
		err, ERR_UNSUPPORTED_FORMAT, where, "models are WordPiece and BPE, not \"%.100s\"", type);
}

/* --- normalizer and pre-tokenizer -------------------------------------------------------------------- */

static int read_normalizer(struct tokenizer *tok, const json_t *root, struct err *err)
{
	static const char where[] = "tokenizer.json: $.normalizer";
	struct normalizer *normalizer = &tok->normalizer;
	const json_t *value;
	const char *type;
	int rc = component(&value, &type, root, "normalizer", "normalizers", where, err);

	if (rc != 0 || value == NULL)
		return rc;
	if (strcmp(type, "BertNormalizer") != 0)
		return err_set(err, ERR_UNSUPPORTED_FORMAT, where,
			"the normalizer is BertNormalizer or null, not \"%.100s\"", type);
	rc = member_bool(&normalizer->clean, value, "clean_text", true, where, err);
	if (rc == 0)
		rc = member_bool(&normalizer->chinese, value, "handle_chinese_chars", true, where, err);
	if (rc == 0)
		rc = member_bool(&normalizer->lower, value, "lowercase", true, where, err);
	if (rc == 0)
		rc = member_bool(&normalizer->strip, value, "strip_accents", normalizer->lower, where, err);
	return rc;
}

static int read_pre_tokenizer(struct tokenizer *tok, const json_t *root, struct err *err)
{
	static const char where[] = "tokenizer.json: $.pre_tokenizer";
	const char *want = tok->model == &tokenizer_bpe ? "ByteLevel" : "BertPreTokenizer", *type;
	const json_t *value;
	int rc = component(&value, &type, root, "pre_tokenizer", "pretokenizers", where, err);

	if (rc != 0)
		return rc;
	if (strcmp(type, want) != 0)
		return err_set(err, ERR_UNSUPPORTED_FORMAT, where,
			"with this model the pre-tokenizer is %s, not \"%.100s\"", want, type);
	if (tok->model != &tokenizer_bpe)
		return 0;
	rc = member_is(value, "use_regex", true, "use_regex false", where, err);
	if (rc != 0)
		return rc;
	return member_bool(&tok->bpe.add_prefix_space, value, "add_prefix_space", true, where, err);
}

/* --- post-processor ---------------------------------------------------------------------------------- */

static void add_part(struct template *template, int kind, int id, int type)
{
	template->part[template->n].kind = kind;
	template->part[template->n].id = id;
	template->part[template->n++].type = type;
	template->tokens += kind == PART_TOKEN;
}

void tokenizer_set_templates(struct tokenizer *tok, int cls, int sep, bool is_bert)
{
	int second = is_bert ? 1 : 0;

	add_part(&tok->single, PART_TOKEN, cls, 0);
	add_part(&tok->single, PART_A, 0, 0);
	add_part(&tok->single, PART_TOKEN, sep, 0);
	tok->pair = tok->single;
	if (!is_bert)
		add_part(&tok->pair, PART_TOKEN, sep, 0);
	add_part(&tok->pair, PART_B, 0, second);
	add_part(&tok->pair, PART_TOKEN, sep, second);
}

/* {"SpecialToken": {"id": "[CLS]"}}: the ids stand under post_processor.special_tokens."[CLS]".ids. */
static int read_template_token(struct template *template, const struct tokenizer *tok, const json_t *tokens,
	const json_t *value, int type, const char *where, struct err *err)
{
	const char *name = json_string_value(json_object_get(value, "id"));
	const json_t *ids = json_object_get(name != NULL ? json_object_get(tokens, name) : NULL, "ids");

	if (!json_is_array(ids))
		return err_set(err, ERR_INVALID_TOKENIZER, where, "the special token has no ids");
	for (size_t i = 0; i < json_array_size(ids); i++) {
		int id, rc = member_id(&id, json_array_get(ids, i), tok, where, err);

		if (rc != 0)
			return rc;
		if (template->tokens == TEMPLATE_TOKENS_MAX)
			return unsupported(err, where, "so many special tokens");
		add_part(template, PART_TOKEN, id, type);
	}
	return 0;
}

static int read_template_text(
	struct template *template, const json_t *value, int type, const char *where, struct err *err)
{
	const char *name = json_string_value(json_object_get(value, "id"));
	int before = template->n - template->tokens;
	bool is_a = name != NULL && strcmp(name, "A") == 0;

	if (name == NULL || (!is_a && strcmp(name, "B") != 0))
		return err_set(err, ERR_INVALID_TOKENIZER, where, "the sequence is A or B");
	if (before != (is_a ? 0 : 1))
		return unsupported(err, where, "this order of texts");
	add_part(template, is_a ? PART_A : PART_B, 0, type);
	return 0;
}

static int read_template_part(struct template *template, const struct tokenizer *tok, const json_t *tokens,
	const json_t *part, const char *where, struct err *err)
{
	const json_t *token = json_object_get(part, "SpecialToken"),
		     *text = json_object_get(part, "Sequence");
	const json_t *type = json_object_get(token != NULL ? token : text, "type_id");
	int last = template->n > 0 ? template->part[template->n - 1].type : 0;

	if (!json_is_integer(type))
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"expected SpecialToken or Sequence with a type_id");
	if (json_integer_value(type) < last || json_integer_value(type) > 1)
		return unsupported(err, where, "such type ids");
	return token != NULL ? read_template_token(template, tok, tokens, token,
				       (int)json_integer_value(type), where, err)
			     : read_template_text(template, text, (int)json_integer_value(type), where, err);
}

static int read_template(struct template *template, const struct tokenizer *tok, const json_t *value,
	const char *key, int texts, struct err *err)
{
	const json_t *parts = json_object_get(value, key), *tokens = json_object_get(value, "special_tokens");
	char where[PATH_MAX_BYTES];

	snprintf(where, sizeof(where), "%s.post_processor.%s", FILE_AND_ROOT, key);
	if (!json_is_array(parts))
		return wrong_type(err, where, "", "a list");
	for (size_t i = 0; i < json_array_size(parts); i++) {
		int rc;

		snprintf(where, sizeof(where), "%s.post_processor.%s[%zu]", FILE_AND_ROOT, key, i);
		rc = read_template_part(template, tok, tokens, json_array_get(parts, i), where, err);
		if (rc != 0)
			return rc;
	}
	snprintf(where, sizeof(where), "%s.post_processor.%s", FILE_AND_ROOT, key);
	if (template->n - template->tokens != texts)
		return unsupported(err, where, "this number of texts");
	return 0;
}

static int read_templates(struct tokenizer *tok, const json_t *value, struct err *err)
{
	int rc = read_template(&tok->single, tok, value, "single", 1, err);

	return rc != 0 ? rc : read_template(&tok->pair, tok, value, "pair", 2, err);
}

/* {"sep": ["</s>", 2], "cls": ["<s>", 0]} */
static int read_cls_sep(struct tokenizer *tok, const json_t *value, bool is_bert, struct err *err)
{
	static const char where[] = "tokenizer.json: $.post_processor";
	int cls, sep, rc;

	rc = member_id(&cls, json_array_get(json_object_get(value, "cls"), 1), tok, where, err);
	if (rc == 0)
		rc = member_id(&sep, json_array_get(json_object_get(value, "sep"), 1), tok, where, err);
	if (rc == 0)
		tokenizer_set_templates(tok, cls, sep, is_bert);
	return rc;
}

static int read_bert(struct tokenizer *tok, const json_t *value, struct err *err)
{
	return read_cls_sep(tok, value, true, err);
}

static int read_roberta(struct tokenizer *tok, const json_t *value, struct err *err)
{
	return read_cls_sep(tok, value, false, err);
}

/* Of a Sequence, the ByteLevel members only move offsets, which we do not have. */
static const json_t *without_byte_level(const json_t *value)
{
	const json_t *members = json_object_get(value, "processors"), *found = NULL;

	for (size_t i = 0; i < json_array_size(members); i++) {
		const json_t *member = json_array_get(members, i);
		const char *type = json_string_value(json_object_get(member, "type"));

		if (type != NULL && strcmp(type, "ByteLevel") == 0)
			continue;
		if (found != NULL)
			return value;
		found = member;
	}
	return found != NULL ? found : value;
}

static int read_post_processor(struct tokenizer *tok, const json_t *root, struct err *err)
{
	static const struct {
		const char *type;
		int (*read)(struct tokenizer *tok, const json_t *value, struct err *err);
	} processors[] = {{"TemplateProcessing", read_templates}, {"BertProcessing", read_bert},
		{"RobertaProcessing", read_roberta}};
	static const char where[] = "tokenizer.json: $.post_processor";
	const json_t *value = without_byte_level(json_object_get(root, "post_processor"));
	const char *type;
	int rc = member_string(&type, value, "type", "", where, err);

	if (rc != 0)
		return rc;
	for (size_t i = 0; i < NELEM(processors); i++)
		if (strcmp(type, processors[i].type) == 0)
			return processors[i].read(tok, value, err);
	return err_set(err, ERR_UNSUPPORTED_FORMAT, where,
		"the post-processor is TemplateProcessing, BertProcessing or RobertaProcessing, not "
		"\"%.100s\"",
		type);
}

/* --- added tokens ------------------------------------------------------------------------------------ */

int tokenizer_add_token(struct tokenizer *tok, const struct added_token *token, const char *text, size_t len,
	const char *where, struct err *err)
{
	int known = vocab_find(&tok->vocab, text, len);
	size_t other_len;

	if (len == 0)
		return err_set(err, ERR_INVALID_TOKENIZER, where, "an added token is empty");
	if (known >= 0 && known != token->id)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"\"%.100s\" has id %d here and %d in the vocabulary", text, token->id, known);
	if (known < 0 && vocab_text(&other_len, &tok->vocab, token->id) != NULL)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"id %d of \"%.100s\" belongs to another token of the vocabulary", token->id, text);
	return added_put(&tok->added, token, text, len, where, err);
}

static int read_added_token(struct tokenizer *tok, const json_t *value, const char *where, struct err *err)
{
	struct added_token token = {0};
	const char *text;
	int rc = member_string(&text, value, "content", NULL, where, err);

	if (rc == 0 && text == NULL)
		rc = wrong_type(err, where, "content", "a string");
	if (rc == 0)
		rc = member_id(&token.id, json_object_get(value, "id"), tok, where, err);
	if (rc == 0)
		rc = member_bool(&token.is_special, value, "special", false, where, err);
	if (rc == 0)
		rc = member_bool(&token.single_word, value, "single_word", false, where, err);
	if (rc == 0)
		rc = member_bool(&token.lstrip, value, "lstrip", false, where, err);
	if (rc == 0)
		rc = member_bool(&token.rstrip, value, "rstrip", false, where, err);
	if (rc == 0)
		rc = member_bool(&token.normalized, value, "normalized", !token.is_special, where, err);
	return rc != 0 ? rc : tokenizer_add_token(tok, &token, text, strlen(text), where, err);
}

static int read_added_tokens(struct tokenizer *tok, const json_t *root, struct err *err)
{
	const json_t *tokens = json_object_get(root, "added_tokens");
	char where[PATH_MAX_BYTES];

	if (tokens != NULL && !json_is_null(tokens) && !json_is_array(tokens))
		return wrong_type(err, FILE_AND_ROOT, "added_tokens", "a list");
	for (size_t i = 0; i < json_array_size(tokens); i++) {
		int rc;

		snprintf(where, sizeof(where), "%s.added_tokens[%zu]", FILE_AND_ROOT, i);
		rc = read_added_token(tok, json_array_get(tokens, i), where, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int tokenizer_json_read(struct tokenizer *tok, const json_t *root, struct err *err)
{
	static int (*const sections[])(struct tokenizer * tok, const json_t *root, struct err *err) = {
		read_model, read_normalizer, read_pre_tokenizer, read_post_processor, read_added_tokens};

	if (!json_is_object(root))
		return wrong_type(err, FILE_AND_ROOT, "", "an object");
	for (size_t i = 0; i < NELEM(sections); i++) {
		int rc = sections[i](tok, root, err);

		if (rc != 0)
			return rc;
	}
	return 0;
}
