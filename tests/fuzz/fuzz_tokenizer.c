/*
 * Any text as tokenizer.json; what is accepted encodes a text. And any text through a sound tokenizer: every id
 * is of the vocabulary, and the length keeps to its limit.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "worker/data/tokenizer.h"

enum { VOCAB = 16, MAX_LENGTH = 12 };

static void encode(const struct tokenizer *tok, const char *text, size_t len)
{
	struct encoding encoding = {0};
	struct err err;

	if (tokenizer_encode(&encoding, tok, text, len, NULL, 0, MAX_LENGTH, &err) == 0) {
		if (encoding.ids.n > MAX_LENGTH)
			abort();
		for (int i = 0; i < encoding.ids.n; i++)
			if (encoding.ids.id[i] < 0 || encoding.ids.id[i] >= VOCAB)
				abort();
	}
	encoding_done(&encoding);
}

static void hostile_tokenizer(const uint8_t *data, size_t size)
{
	static const char text[] = "A not-so-b\xc3\xa4"
				   "d film [SEP], \xe6\x98\xa0\xe7\x94\xbb.";
	struct tokenizer *tok = NULL;
	struct err err;

	if (tokenizer_open(&tok, fuzz_file("tokenizer.json", data, size), "bert", VOCAB, &err) == 0)
		encode(tok, text, strlen(text));
	tokenizer_free(tok);
}

static void hostile_text(const uint8_t *data, size_t size)
{
	static const char vocab[] =
		"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\na\nfilm\nplot\nwas\ngood\nbad\nnot\nvery\n##s\n.\n";
	static struct tokenizer *tok;
	struct err err;

	if (tok == NULL && tokenizer_open(&tok, fuzz_file("vocab.txt", (const uint8_t *)vocab, strlen(vocab)),
				   "bert", VOCAB, &err) != 0)
		abort();
	encode(tok, (const char *)data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	hostile_tokenizer(data, size);
	hostile_text(data, size);
	return 0;
}
