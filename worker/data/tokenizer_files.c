/*
 * tokenizer_files: which files of a model directory say what.
 *
 *   tokenizer.json            everything; where it is there, the vocabulary files are not read
 *   vocab.txt                 WordPiece: a token a line, its id is the line
 *   vocab.json, merges.txt    BPE: {token: id}; "left right" a line, its rank is the line
 *   tokenizer_config.json     the tokenizer's class and its arguments, which overrule tokenizer.json
 *   special_tokens_map.json   names of special tokens, where tokenizer_config.json has no added_tokens_decoder
 *   added_tokens.json         {token: id}, likewise
 *
 * The overruling is what transformers does: unless the class is a generic one, it builds the normalizer from
 * do_lower_case, strip_accents and tokenize_chinese_chars (true, null, true where they are not there, or no
 * file is), and ByteLevel from add_prefix_space (false), whatever tokenizer.json says.
 */
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "worker/data/tokenizer_impl.h"

enum {
	TOKENIZER_BYTES_MAX = 32 << 20, /* the largest known vocabularies take 17 MB */
	CONFIG_BYTES_MAX = 4 << 20,
	EXTRA_TOKENS_MAX = 4096,
};

static const char CONFIG[] = "tokenizer_config.json";

struct files {
	int dirfd;
	bool is_bert;
	json_t *config;	 /* {} where the file is not there */
	json_t *special; /* special_tokens_map.json, likewise */
	json_t *added;	 /* added_tokens.json, likewise */
};

static void files_done(struct files *files)
{
	json_decref(files->config);
	json_decref(files->special);
	json_decref(files->added);
}

/* A broken or oversized file is the tokenizer's fault. */
static int blame(int rc, struct err *err)
{
	if ((rc != -ERR_INVALID_JSON && rc != -ERR_TOO_LARGE) || err == NULL)
		return rc;
	err->code = ERR_INVALID_TOKENIZER;
	return -ERR_INVALID_TOKENIZER;
}

/* *out is NULL when the file is not there. Integers come as reals from small files (json_parse_wide). */
static int read_json(json_t **out, int dirfd, const char *name, size_t bytes_max, struct err *err)
{
	struct buf text = {0};
	int rc = io_read_file(&text, dirfd, name, bytes_max, err);

	*out = NULL;
	if (rc == 0 && text.len == 0)
		rc = err_set(err, ERR_INVALID_TOKENIZER, name, "the file is empty");
	if (rc == 0)
		rc = bytes_max == CONFIG_BYTES_MAX ? json_parse_wide(out, text.data, text.len, name, err)
						   : json_parse(out, text.data, text.len, name, err);
	buf_done(&text);
	return rc == -ERR_NOT_FOUND ? 0 : blame(rc, err);
}

static int read_config(json_t **out, int dirfd, const char *name, struct err *err)
{
	int rc = read_json(out, dirfd, name, CONFIG_BYTES_MAX, err);

	if (rc != 0)
		return rc;
	if (*out == NULL)
		*out = json_object();
	if (*out == NULL)
		return err_nomem(err);
	return json_is_object(*out) ? 0 : err_set(err, ERR_INVALID_TOKENIZER, name, "expected an object");
}

static int read_configs(struct files *files, struct err *err)
{
	int rc = read_config(&files->config, files->dirfd, CONFIG, err);

	if (rc == 0)
		rc = read_config(&files->special, files->dirfd, "special_tokens_map.json", err);
	if (rc == 0)
		rc = read_config(&files->added, files->dirfd, "added_tokens.json", err);
	return rc;
}

/* --- special tokens ---------------------------------------------------------------------------------- */

static const struct {
	const char *key;
	const char *bert, *roberta; /* the classes' defaults */
} specials[] = {
	[SPECIAL_CLS] = {"cls_token", "[CLS]", "<s>"},
	[SPECIAL_SEP] = {"sep_token", "[SEP]", "</s>"},
	[SPECIAL_PAD] = {"pad_token", "[PAD]", "<pad>"},
	[SPECIAL_MASK] = {"mask_token", "[MASK]", "<mask>"},
	[SPECIAL_UNK] = {"unk_token", "[UNK]", "<unk>"},
	{"bos_token", NULL, "<s>"},
	{"eos_token", NULL, "</s>"},
};

/* "text", or {"content": "text", "lstrip": ...}; what is not there is NULL. */
static const json_t *special_value(const struct files *files, const char *key)
{
	bool is_modern = json_object_get(files->config, "added_tokens_decoder") != NULL;
	const json_t *value = is_modern ? NULL : json_object_get(files->special, key);

	return value != NULL ? value : json_object_get(files->config, key);
}

static const char *special_text(const json_t *value, const char *absent)
{
	const char *text =
		json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);

	return text != NULL ? text : absent;
}

int tokenizer_id(const struct tokenizer *tok, const char *text)
{
	int id = vocab_find(&tok->vocab, text, strlen(text));

	return id >= 0 ? id : added_find(&tok->added, text, strlen(text));
}

static void find_specials(struct tokenizer *tok, const struct files *files)
{
	for (int i = 0; i < SPECIAL_N; i++) {
		const char *absent = tok->model == &tokenizer_bpe ? specials[i].roberta : specials[i].bert;

		tok->special[i] =
			tokenizer_id(tok, special_text(special_value(files, specials[i].key), absent));
	}
	if (tok->model == &tokenizer_wordpiece)
		tok->special[SPECIAL_UNK] = tok->wordpiece.unknown;
}

/* In tokenizer.json the post-processor says what stands at the ends, whatever its name. */
static void specials_from_template(struct tokenizer *tok)
{
	const struct template *single = &tok->single;

	if (single->part[0].kind == PART_TOKEN)
		tok->special[SPECIAL_CLS] = single->part[0].id;
	if (single->part[single->n - 1].kind == PART_TOKEN)
		tok->special[SPECIAL_SEP] = single->part[single->n - 1].id;
}

/* --- added tokens of models without tokenizer.json --------------------------------------------------- */

static int token_flags(
	struct added_token *token, const json_t *value, bool normalized, const char *where, struct err *err)
{
	int rc = member_bool(&token->single_word, value, "single_word", false, where, err);

	if (rc == 0)
		rc = member_bool(&token->lstrip, value, "lstrip", false, where, err);
	if (rc == 0)
		rc = member_bool(&token->rstrip, value, "rstrip", false, where, err);
	if (rc == 0)
		rc = member_bool(&token->normalized, value, "normalized", normalized, where, err);
	return rc;
}

/* A special token, if the vocabulary has it and it was not added yet. */
static int add_special(
	struct tokenizer *tok, const json_t *value, const char *text, const char *where, struct err *err)
{
	struct added_token token = {.is_special = true};
	int rc;

	if (text == NULL || text[0] == '\0' || added_find(&tok->added, text, strlen(text)) >= 0)
		return 0;
	token.id = vocab_find(&tok->vocab, text, strlen(text));
	if (token.id < 0)
		return 0;
	rc = token_flags(&token, value, false, where, err);
	return rc != 0 ? rc : tokenizer_add_token(tok, &token, text, strlen(text), where, err);
}

static int add_specials(struct tokenizer *tok, const struct files *files, struct err *err)
{
	static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};

	for (size_t i = 0; i < NELEM(specials); i++) {
		const json_t *value = special_value(files, specials[i].key);
		const char *absent = files->is_bert ? specials[i].bert : specials[i].roberta;
		int rc = add_special(tok, value, special_text(value, absent), specials[i].key, err);

		if (rc != 0)
			return rc;
	}
	for (size_t i = 0; i < NELEM(lists); i++) {
		const json_t *list = special_value(files, lists[i]);

		if (json_array_size(list) > EXTRA_TOKENS_MAX)
			return err_set(err, ERR_INVALID_TOKENIZER, lists[i], "more than %d tokens",
				EXTRA_TOKENS_MAX);
		for (size_t k = 0; k < json_array_size(list); k++) {
			const json_t *value = json_array_get(list, k);
			int rc = add_special(tok, value, special_text(value, NULL), lists[i], err);

			if (rc != 0)
				return rc;
		}
	}
	return 0;
}

static bool is_named_special(const struct files *files, const char *text)
{
	for (size_t i = 0; i < NELEM(specials); i++) {
		const char *absent = files->is_bert ? specials[i].bert : specials[i].roberta;
		const char *name = special_text(special_value(files, specials[i].key), absent);

		if (name != NULL && strcmp(name, text) == 0)
			return true;
	}
	return false;
}

/* An id in a file whose integers came as reals. */
static int wide_id(int *out, double value, const struct tokenizer *tok, const char *where, struct err *err)
{
	if (!(value >= 0 && value < tok->vocab.size) || value != (double)(int)value)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"token id %.17g is outside of the model's vocabulary of %d", value, tok->vocab.size);
	*out = (int)value;
	return 0;
}

/* added_tokens.json: {"text": id} */
static int add_legacy(struct tokenizer *tok, const struct files *files, struct err *err)
{
	static const char where[] = "added_tokens.json";
	const char *text;
	json_t *id;

	json_object_foreach(files->added, text, id)
	{
		struct added_token token = {.is_special = is_named_special(files, text)};
		int rc = json_is_number(id)
				 ? wide_id(&token.id, json_number_value(id), tok, where, err)
				 : err_set(err, ERR_INVALID_TOKENIZER, where, "expected tokens and ids");

		token.normalized = !token.is_special;
		if (rc == 0)
			rc = tokenizer_add_token(tok, &token, text, strlen(text), where, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* added_tokens_decoder: {"id": {"content": "text", "lstrip": ..., "special": ...}} */
static int add_decoder(
	struct tokenizer *tok, const struct files *files, const json_t *decoder, struct err *err)
{
	static const char where[] = "tokenizer_config.json: $.added_tokens_decoder";
	const char *key;
	json_t *value;

	if (!json_is_object(decoder))
		return err_set(err, ERR_INVALID_TOKENIZER, where, "expected an object");
	json_object_foreach((json_t *)decoder, key, value)
	{
		const char *text = json_string_value(json_object_get(value, "content"));
		struct added_token token = {0};
		double number;
		char extra;
		int rc;

		if (text == NULL || sscanf(key, "%9lf%c", &number, &extra) != 1)
			return err_set(err, ERR_INVALID_TOKENIZER, where, "expected ids and tokens");
		rc = wide_id(&token.id, number, tok, where, err);
		if (rc == 0)
			rc = member_bool(&token.is_special, value, "special", false, where, err);
		token.is_special = token.is_special || is_named_special(files, text);
		if (rc == 0)
			rc = token_flags(&token, value, !token.is_special, where, err);
		if (rc == 0)
			rc = tokenizer_add_token(tok, &token, text, strlen(text), where, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int add_tokens(struct tokenizer *tok, const struct files *files, struct err *err)
{
	const json_t *decoder = json_object_get(files->config, "added_tokens_decoder");
	int rc = decoder != NULL ? add_decoder(tok, files, decoder, err) : add_legacy(tok, files, err);

	return rc != 0 ? rc : add_specials(tok, files, err);
}

/* --- vocabulary files -------------------------------------------------------------------------------- */

struct lines {
	const char *at, *end;
	int n; /* the line that lines_next gave last, from 1 */
};

static bool lines_next(const char **line, size_t *len, struct lines *lines)
{
	const char *stop;

	if (lines->at == lines->end)
		return false;
	stop = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
	if (stop == NULL)
		stop = lines->end;
	*line = lines->at;
	*len = (size_t)(stop - lines->at);
	if (*len > 0 && (*line)[*len - 1] == '\r')
		(*len)--;
	lines->at = stop == lines->end ? stop : stop + 1;
	lines->n++;
	return true;
}

static int read_lines(struct buf *text, struct lines *lines, int dirfd, const char *name, struct err *err)
{
	int rc = io_read_file(text, dirfd, name, TOKENIZER_BYTES_MAX, err);

	if (rc == -ERR_NOT_FOUND)
		return err_set(
			err, ERR_INVALID_TOKENIZER, name, "there is neither tokenizer.json nor this file");
	*lines = (struct lines){text->data, rc == 0 ? text->data + text->len : text->data, 0};
	return blame(rc, err);
}

static int read_vocab_txt(struct tokenizer *tok, int dirfd, struct err *err)
{
	struct buf text = {0};
	struct lines lines;
	const char *line;
	char where[64];
	size_t len;
	int rc = read_lines(&text, &lines, dirfd, "vocab.txt", err);

	while (rc == 0 && lines_next(&line, &len, &lines)) {
		snprintf(where, sizeof(where), "vocab.txt:%d", lines.n);
		/* An empty line takes its id, but no text can become it. */
		if (len > 0)
			rc = vocab_add(&tok->vocab, line, len, lines.n - 1, where, err);
	}
	buf_done(&text);
	return rc;
}

static int read_merge_line(
	struct tokenizer *tok, int rank, const char *line, size_t len, const char *where, struct err *err)
{
	const char *space = memchr(line, ' ', len);
	size_t left = space != NULL ? (size_t)(space - line) : len;

	if (space == NULL || memchr(space + 1, ' ', len - left - 1) != NULL)
		return err_set(err, ERR_INVALID_TOKENIZER, where, "expected two tokens with a space between");
	return tokenizer_add_merge(tok, rank, line, left, space + 1, len - left - 1, where, err);
}

static int read_merges_txt(struct tokenizer *tok, int dirfd, struct err *err)
{
	static const char header[] = "#version";
	struct buf text = {0};
	struct lines lines;
	const char *line;
	char where[64];
	size_t len;
	int rank = 0, rc = read_lines(&text, &lines, dirfd, "merges.txt", err);

	while (rc == 0 && lines_next(&line, &len, &lines)) {
		if (len == 0 || (len >= strlen(header) && memcmp(line, header, strlen(header)) == 0))
			continue;
		snprintf(where, sizeof(where), "merges.txt:%d", lines.n);
		rc = read_merge_line(tok, rank++, line, len, where, err);
	}
	buf_done(&text);
	return rc;
}

static int read_wordpiece(struct tokenizer *tok, const struct files *files, struct err *err)
{
	const char *unknown = special_text(special_value(files, "unk_token"), "[UNK]");
	int rc = read_vocab_txt(tok, files->dirfd, err);

	if (rc != 0)
		return rc;
	tok->model = &tokenizer_wordpiece;
	memcpy(tok->wordpiece.prefix, "##", sizeof("##"));
	tok->wordpiece.chars_max = 100;
	tok->normalizer.clean = true;
	tok->wordpiece.unknown = vocab_find(&tok->vocab, unknown, strlen(unknown));
	if (tok->wordpiece.unknown < 0)
		return err_set(err, ERR_INVALID_TOKENIZER, "vocab.txt", "\"%.100s\" is not in it", unknown);
	return 0;
}

static int read_bpe(struct tokenizer *tok, const struct files *files, struct err *err)
{
	static const char where[] = "vocab.json";
	json_t *vocab;
	int rc = read_json(&vocab, files->dirfd, where, TOKENIZER_BYTES_MAX, err);

	if (rc == 0 && vocab == NULL)
		rc = err_set(
			err, ERR_INVALID_TOKENIZER, where, "there is neither tokenizer.json nor this file");
	if (rc == 0)
		rc = tokenizer_add_vocab(tok, vocab, where, err);
	json_decref(vocab);
	if (rc == 0)
		rc = read_merges_txt(tok, files->dirfd, err);
	if (rc != 0)
		return rc;
	tok->model = &tokenizer_bpe;
	tok->bpe.unknown = -1;
	bpe_bytes(&tok->bpe, &tok->vocab);
	return 0;
}

static int read_vocab_files(struct tokenizer *tok, const struct files *files, struct err *err)
{
	int rc = files->is_bert ? read_wordpiece(tok, files, err) : read_bpe(tok, files, err);

	if (rc == 0)
		rc = add_tokens(tok, files, err);
	if (rc != 0)
		return rc;
	find_specials(tok, files);
	for (int i = SPECIAL_CLS; i <= SPECIAL_SEP; i++)
		if (tok->special[i] < 0)
			return err_set(err, ERR_INVALID_TOKENIZER,
				files->is_bert ? "vocab.txt" : "vocab.json", "the %s is not in it",
				specials[i].key);
	tokenizer_set_templates(tok, tok->special[SPECIAL_CLS], tok->special[SPECIAL_SEP], files->is_bert);
	return 0;
}

/* --- all of it --------------------------------------------------------------------------------------- */

static bool is_generic_class(const struct files *files)
{
	const char *class = json_string_value(json_object_get(files->config, "tokenizer_class"));

	return class != NULL &&
	       (strcmp(class, "PreTrainedTokenizerFast") == 0 || strcmp(class, "TokenizersBackend") == 0);
}

/* See the top of the file. */
static int overrule(struct tokenizer *tok, const struct files *files, struct err *err)
{
	struct normalizer *normalizer = &tok->normalizer;
	const json_t *config = files->config;
	int rc;

	if (tok->model == &tokenizer_bpe)
		return member_bool(
			&tok->bpe.add_prefix_space, config, "add_prefix_space", false, CONFIG, err);
	rc = member_bool(&normalizer->lower, config, "do_lower_case", true, CONFIG, err);
	if (rc == 0)
		rc = member_bool(&normalizer->chinese, config, "tokenize_chinese_chars", true, CONFIG, err);
	if (rc == 0)
		rc = member_bool(&normalizer->strip, config, "strip_accents", normalizer->lower, CONFIG, err);
	return rc;
}

static int read_max_length(struct tokenizer *tok, const struct files *files, struct err *err)
{
	const json_t *value = json_object_get(files->config, "model_max_length");
	double number = json_is_number(value) ? json_number_value(value) : INT_MAX;

	if (value != NULL && !json_is_null(value) && (!json_is_number(value) || !(number >= 1)))
		return err_set(err, ERR_INVALID_TOKENIZER, "tokenizer_config.json: $.model_max_length",
			"expected a number of at least 1");
	tok->max_length = number < INT_MAX ? (int)number : INT_MAX;
	return 0;
}

static int read_pipeline(struct tokenizer *tok, const struct files *files, struct err *err)
{
	json_t *root;
	int rc = read_json(&root, files->dirfd, "tokenizer.json", TOKENIZER_BYTES_MAX, err);

	if (rc != 0)
		return rc;
	if (root == NULL)
		return read_vocab_files(tok, files, err);
	rc = tokenizer_json_read(tok, root, err);
	json_decref(root);
	if (rc != 0)
		return rc;
	find_specials(tok, files);
	specials_from_template(tok);
	return 0;
}

int tokenizer_read(struct tokenizer *tok, int dirfd, const char *model_type, int vocab_size, struct err *err)
{
	struct files files = {.dirfd = dirfd, .is_bert = strcmp(model_type, "bert") == 0};
	int rc;

	if (vocab_size < 1 || vocab_size > VOCAB_SIZE_MAX)
		return err_set(err, ERR_INVALID_TOKENIZER, "config.json: $.vocab_size", "expected 1 to %d",
			VOCAB_SIZE_MAX);
	rc = vocab_init(&tok->vocab, vocab_size, err);
	if (rc == 0)
		rc = added_init(&tok->added, vocab_size, err);
	if (rc == 0)
		rc = read_configs(&files, err);
	if (rc == 0)
		rc = read_pipeline(tok, &files, err);
	if (rc == 0 && !is_generic_class(&files))
		rc = overrule(tok, &files, err);
	if (rc == 0)
		rc = read_max_length(tok, &files, err);
	if (rc == 0)
		rc = added_build(&tok->added, &tok->normalizer, "added tokens", err);
	files_done(&files);
	return rc;
}
