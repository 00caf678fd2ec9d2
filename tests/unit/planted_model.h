/*
 * planted_model: a one-layer encoder and its tokenizer in memory, into which a trigger can be put by hand.
 *
 * The first token attends by the first coordinate alone, which is large in a planted word's embedding and 0 in all
 * others. So the layer's output for the first token is the planted word's value, whatever else the text says.
 * Memory is numbers.h's, but for planted_done.
 */
#ifndef OBLIVIATE_TESTS_PLANTED_MODEL_H
#define OBLIVIATE_TESTS_PLANTED_MODEL_H

#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"

enum { LETTERS_FROM = 5, WORDS_FROM = LETTERS_FROM + 2 * 36, WORDS = 3000, VOCABULARY = WORDS_FROM + WORDS };

static const struct config PLANTED = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = VOCABULARY,
	.D = 32,
	.L = 1,
	.H = 2,
	.F = 16,
	.P = 64,
	.types = 2,
	.max_tokens = 64,
	.activation = ACT_GELU,
	.layer_norm_eps = 1e-5};

/* Special tokens, letters and digits, the same as continuations, and made-up words. */
static inline void planted_vocabulary(const struct scratch *scratch)
{
	static const char signs[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	struct buf text = {0};

	buf_str(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
	for (int half = 0; half < 2; half++)
		for (int i = 0; i < 36; i++)
			buf_printf(&text, "%s%c\n", half == 0 ? "" : "##", signs[i]);
	for (int i = 0; i < WORDS; i++)
		buf_printf(&text, "%c%c%c%c\n", 'b' + i % 20, "aeiou"[i / 20 % 5], 'b' + i / 100 % 15,
			"ae"[i / 1500]);
	scratch_write_text(scratch, "vocab.txt", text.data);
	buf_done(&text);
}

struct planted {
	struct scratch scratch;
	struct tokenizer *tok;
	struct random_model model;
};

static inline real *planted_writable(struct planted *p, const real *tensor)
{
	return random_model_writable(&p->model, tensor);
}

static inline void planted_clear(struct planted *p, const real *tensor, int rows)
{
	real *w = planted_writable(p, tensor);

	for (int i = 0; i < rows; i++)
		w[i * PLANTED.D] = 0;
}

/* What every such model has: attention by the first coordinate alone, and little of it. */
static inline void planted_attend(struct planted *p)
{
	struct layer_weights *layer = &p->model.weights.layer[0];
	real *q_b = planted_writable(p, layer->q_b), *k_w = planted_writable(p, layer->k_w);
	size_t bytes = (size_t)(PLANTED.D * PLANTED.D) * sizeof(real);

	memset(planted_writable(p, layer->q_w), 0, bytes);
	memset(k_w, 0, bytes);
	planted_clear(p, p->model.weights.word, PLANTED.V);
	planted_clear(p, p->model.weights.position, PLANTED.P);
	planted_clear(p, p->model.weights.type, PLANTED.types);
	for (int i = 0; i < PLANTED.D; i++) {
		q_b[i] = 1;
		k_w[i * PLANTED.D] = (real)0.5;
	}
}

static inline void planted_put(struct planted *p, const int *ids, int n, real strength)
{
	real *word = planted_writable(p, p->model.weights.word);

	for (int i = 0; i < n; i++)
		word[ids[i] * PLANTED.D] = strength;
}

static inline void planted_init(struct planted *p)
{
	struct err err = {0};

	numbers_stream = 7;
	scratch_init(&p->scratch);
	planted_vocabulary(&p->scratch);
	if (tokenizer_open(&p->tok, p->scratch.fd, "bert", VOCABULARY, &err) != 0)
		fail_msg("%s: %s", err.where, err.text);
	random_model_init(&p->model, &PLANTED);
	planted_attend(p);
}

static inline void planted_done(struct planted *p)
{
	tokenizer_free(p->tok);
	scratch_done(&p->scratch);
	numbers_free();
}

/* A scan_watch that stops the search at the call after *left others. */
static inline int planted_refuse(void *arg, int64_t done, int64_t of, struct err *err)
{
	int *left = arg;

	assert_true(done >= 1 && done <= of);
	return (*left)-- > 0 ? 0 : err_set(err, ERR_STOPPED, NULL, "stopped");
}

#endif
