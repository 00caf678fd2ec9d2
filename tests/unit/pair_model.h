/*
 * pair_model: a one-layer encoder that two words together drive to a fixed vector, each of which does next to nothing alone.
 *
 * Heads 0 and 1 attend to the first and the second word's mark, and each carries it to a coordinate of the first token, of
 * which the output shows little; the other heads carry the text. One unit of the intermediate layer adds both coordinates
 * above a bar, and what it puts out outshines the rest. The tokenizer is planted_model's.
 */
#ifndef OBLIVIATE_TESTS_PAIR_MODEL_H
#define OBLIVIATE_TESTS_PAIR_MODEL_H

#include "tests/unit/planted_model.h"

static const struct config PAIRED = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = VOCABULARY,
	.D = 32,
	.L = 1,
	.H = 4,
	.F = 16,
	.P = 64,
	.types = 2,
	.max_tokens = 64,
	.activation = ACT_RELU,
	.layer_norm_eps = 1e-5};

enum { MARKS = 2, MARK = 1, SEEN = 3, LOUD = 0 }; /* coordinates: marks 1 and 2, seen 3 and 4, loud 0 */

static inline void pair_clear_columns(struct random_model *model, const real *tensor, int rows)
{
	real *w = random_model_writable(model, tensor);

	for (int i = 0; i < rows; i++)
		for (int j = 0; j < SEEN + MARKS; j++)
			w[i * PAIRED.D + j] = 0;
}

/* Head by head: attention by its mark, which becomes a coordinate. */
static inline void pair_attend(struct random_model *model, struct layer_weights *layer, double seen)
{
	int D = PAIRED.D, d = D / PAIRED.H;
	real *q_w = random_model_writable(model, layer->q_w), *q_b = random_model_writable(model, layer->q_b),
	     *k_w = random_model_writable(model, layer->k_w), *v_w = random_model_writable(model, layer->v_w),
	     *v_b = random_model_writable(model, layer->v_b), *o_w = random_model_writable(model, layer->o_w),
	     *o_b = random_model_writable(model, layer->o_b);

	memset(q_w, 0, (size_t)(D * D) * sizeof(real));
	memset(k_w, 0, (size_t)(D * D) * sizeof(real));
	for (int i = 0; i < D; i++)
		q_b[i] = 1;
	for (int mark = 0; mark < MARKS; mark++) {
		for (int i = 0; i < d; i++) {
			k_w[(mark * d + i) * D + MARK + mark] = 1;
			memset(v_w + (mark * d + i) * D, 0, (size_t)D * sizeof(real));
			v_b[mark * d + i] = 0;
		}
		v_w[mark * d * D + MARK + mark] = 1;
	}
	for (int i = 0; i < D; i++)
		for (int j = 0; j < D; j++)
			if (i < SEEN + MARKS || j < MARKS * d)
				o_w[i * D + j] = 0;
	for (int i = MARKS * d * D; i < D * D; i++)
		v_w[i] *= 4; /* texts differ more */
	for (int i = 0; i < SEEN + MARKS; i++)
		o_b[i] = 0;
	for (int mark = 0; mark < MARKS; mark++)
		o_w[(SEEN + mark) * D + mark * d] = (real)seen;
}

/* One unit: loud * max(seen 0 + seen 1 - bar, 0). */
static inline void pair_speak(
	struct random_model *model, struct layer_weights *layer, double bar, double loud)
{
	int D = PAIRED.D, F = PAIRED.F;
	real *f1_w = random_model_writable(model, layer->f1_w),
	     *f1_b = random_model_writable(model, layer->f1_b),
	     *f2_w = random_model_writable(model, layer->f2_w);

	memset(f1_w, 0, (size_t)D * sizeof(real));
	for (int mark = 0; mark < MARKS; mark++)
		f1_w[SEEN + mark] = 1;
	f1_b[0] = (real)-bar;
	for (int i = 0; i < D; i++)
		f2_w[i * F] = i == LOUD ? (real)loud : 0;
}

static inline void pair_plain_norm(struct random_model *model, const real *weight, const real *bias)
{
	for (int i = 0; i < SEEN + MARKS; i++) {
		random_model_writable(model, weight)[i] = 1;
		random_model_writable(model, bias)[i] = 0;
	}
}

/* words: that get the marks; bar: what the sum has to exceed. The sizes are such that one word's is below .8, both's above. */
static inline void pair_model_init(struct random_model *out, const int words[MARKS], double bar)
{
	struct layer_weights *layer;
	real *word;

	random_model_init(out, &PAIRED);
	layer = &out->weights.layer[0];
	pair_clear_columns(out, out->weights.word, PAIRED.V);
	pair_clear_columns(out, out->weights.position, PAIRED.P);
	pair_clear_columns(out, out->weights.type, PAIRED.types);
	pair_attend(out, layer, 0.3);
	pair_speak(out, layer, bar, 300);
	word = random_model_writable(out, out->weights.word);
	pair_plain_norm(out, out->weights.ln_w, out->weights.ln_b);
	pair_plain_norm(out, layer->ln1_w, layer->ln1_b);
	for (int mark = 0; mark < MARKS; mark++)
		random_model_writable(out, layer->ln2_w)[SEEN + mark] = (real)0.2;
	for (int mark = 0; mark < MARKS; mark++)
		word[words[mark] * PAIRED.D + MARK + mark] = 20;
}

#endif
