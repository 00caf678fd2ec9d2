/*
 * tokenize: token ids for test_tokenizer.py.
 *
 * usage: tokenize DIRECTORY MODEL_TYPE VOCAB_SIZE <lines
 * Each line is {"text", "pair" (or null), "max_length"}; the answer is
 * {"ids", "second", "kept", "dropped", "has_special"}.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "worker/data/tokenizer.h"

static int die(const struct err *err)
{
	fprintf(stderr, "%s: %s: %s\n", err_name(err->code), err->where, err->text);
	return err_exit(err->code);
}

static void answer(const struct encoding *encoding)
{
	printf("{\"ids\":[");
	for (int i = 0; i < encoding->ids.n; i++)
		printf("%s%d", i > 0 ? "," : "", encoding->ids.id[i]);
	printf("],\"second\":%d,\"kept\":[%d,%d],\"dropped\":[%d,%d],\"has_special\":%s}\n", encoding->second,
		encoding->kept[0], encoding->kept[1], encoding->dropped[0], encoding->dropped[1],
		encoding->has_special ? "true" : "false");
}

static int encode_line(
	struct encoding *encoding, const struct tokenizer *tok, const char *line, size_t len, struct err *err)
{
	/* Not json_parse, which refuses NUL. */
	json_t *request = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
	const json_t *text, *pair;
	int rc;

	if (request == NULL)
		return err_set(err, ERR_USAGE, "stdin", "expected a JSON object a line");
	text = json_object_get(request, "text");
	pair = json_object_get(request, "pair");
	rc = tokenizer_encode(encoding, tok, json_string_value(text), json_string_length(text),
		json_string_value(pair), json_string_length(pair),
		(int)json_integer_value(json_object_get(request, "max_length")), err);
	json_decref(request);
	return rc;
}

int main(int argc, char **argv)
{
	struct encoding encoding = {0};
	struct tokenizer *tok;
	struct err err;
	char *line = NULL;
	size_t cap = 0;
	ssize_t len;
	int dirfd, rc = 0;

	if (argc != 4)
		return 64;
	dirfd = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (dirfd < 0 || tokenizer_open(&tok, dirfd, argv[2], atoi(argv[3]), &err) != 0)
		return dirfd < 0 ? 66 : die(&err);
	while (rc == 0 && (len = getline(&line, &cap, stdin)) > 0) {
		rc = encode_line(&encoding, tok, line, (size_t)len, &err);
		if (rc == 0)
			answer(&encoding);
	}
	if (rc != 0)
		rc = die(&err);
	free(line);
	encoding_done(&encoding);
	tokenizer_free(tok);
	return rc;
}
