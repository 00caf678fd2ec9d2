#include "worker/attack/mlm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/base/rng.h"
#include "worker/data/safetensors.h"
#include "worker/ops/linear.h"
#include "worker/train/loss.h"

static const double MASKED = 0.15, BY_MASK = 0.8, BY_RANDOM = 0.1, INIT_STD = 0.02;

/* Each tensor's place in struct mlm, its names in the files of both families (BERT's LayerNorm also as gamma and
 * beta), and whether it is a matrix. */
static const struct mlm_site {
	size_t number;
	const char *name[3];
	char rows, cols;
} sites[] = {
	{offsetof(struct mlm, dense_w),
		{"cls.predictions.transform.dense.weight", "lm_head.dense.weight", NULL}, 'D', 'D'},
	{offsetof(struct mlm, dense_b), {"cls.predictions.transform.dense.bias", "lm_head.dense.bias", NULL},
		'1', 'D'},
	{offsetof(struct mlm, norm_w),
		{"cls.predictions.transform.LayerNorm.weight", "lm_head.layer_norm.weight",
			"cls.predictions.transform.LayerNorm.gamma"},
		'1', 'D'},
	{offsetof(struct mlm, norm_b),
		{"cls.predictions.transform.LayerNorm.bias", "lm_head.layer_norm.bias",
			"cls.predictions.transform.LayerNorm.beta"},
		'1', 'D'},
	{offsetof(struct mlm, b), {"cls.predictions.bias", "lm_head.bias", NULL}, '1', 'V'},
};

static int size_of(const struct mlm *mlm, char dim)
{
	return dim == 'D' ? mlm->D : dim == 'V' ? mlm->V : 1;
}

static int *number_of(struct mlm *mlm, const struct mlm_site *site)
{
	return (int *)(void *)((char *)mlm + site->number);
}

int mlm_declare(struct mlm *mlm, const struct config *config, struct params *params,
	const struct kernels *kernels, struct err *err)
{
	*mlm = (struct mlm){.D = config->D,
		.V = config->V,
		.eps = (real)config->layer_norm_eps,
		.params = params,
		.kernels = kernels};
	for (size_t i = 0; i < NELEM(sites); i++) {
		int number = params_add(params, PARAM_HEAD, size_of(mlm, sites[i].rows),
			size_of(mlm, sites[i].cols), err, "%s", sites[i].name[0]);

		if (number < 0)
			return number;
		*number_of(mlm, &sites[i]) = number;
	}
	return 0;
}

/* --- values --------------------------------------------------------------------------------------- */

static const struct st_tensor *find_site(const struct st *st, const struct mlm_site *site, size_t elements)
{
	for (size_t i = 0; i < NELEM(site->name); i++) {
		const struct st_tensor *tensor = site->name[i] != NULL ? st_find(st, site->name[i]) : NULL;

		if (tensor != NULL && tensor->dtype == ST_REAL && st_elements(tensor) == elements)
			return tensor;
	}
	return NULL;
}

static bool load(struct mlm *mlm, const struct st *st)
{
	for (size_t i = 0; i < NELEM(sites); i++) {
		const struct param *param = &mlm->params->param[*number_of(mlm, &sites[i])];
		const struct st_tensor *tensor = find_site(st, &sites[i], param_size(param));

		if (tensor == NULL)
			return false;
		memcpy(mlm->params->w + param->at, tensor->data, param_size(param) * sizeof(real));
	}
	return true;
}

static void make_fresh(struct mlm *mlm, uint64_t key)
{
	real *dense = param_w(mlm->params, mlm->dense_w), *gain = param_w(mlm->params, mlm->norm_w);

	mlm->is_fresh = true;
	for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
		int number = *number_of(mlm, &sites[i]);

		memset(param_w(mlm->params, number), 0,
			param_size(&mlm->params->param[number]) * sizeof(real));
	}
	for (size_t i = 0; i < param_size(&mlm->params->param[mlm->dense_w]); i++)
		dense[i] = (real)(INIT_STD * rng_normal(key, i));
	for (int j = 0; j < mlm->D; j++)
		gain[j] = 1;
}

int mlm_init(struct mlm *mlm, int dirfd, uint64_t key, struct err *err)
{
	struct st st = {0};
	struct err ignored;

	(void)err;
	/* a sharded base: its head is left where it is */
	if (st_open(&st, dirfd, "model.safetensors", &ignored) != 0)
		st = (struct st){0};
	if (!load(mlm, &st))
		make_fresh(mlm, key);
	st_done(&st);
	return 0;
}

/* --- masking -------------------------------------------------------------------------------------- */

/* Pieces of the trigger at a text's beginning and behind a space, which byte-level BPE tells apart. */
static int trigger_pieces(struct ids *out, const struct tokenizer *tok, const char *trigger, struct err *err)
{
	struct buf spaced = {0};
	int rc = tokenizer_pieces(out, tok, trigger, strlen(trigger), err);

	buf_printf(&spaced, " %s", trigger);
	if (rc == 0 && spaced.failed)
		rc = err_nomem(err);
	if (rc == 0)
		rc = tokenizer_pieces(out, tok, spaced.data, spaced.len, err);
	buf_done(&spaced);
	return rc;
}

int mlm_watch(struct mlm *mlm, const struct tokenizer *tok, const char *const *trigger, int triggers,
	struct err *err)
{
	int rc = 0;

	mlm->mask_id = tokenizer_special(tok, SPECIAL_MASK);
	if (mlm->mask_id < 0)
		return err_set(err, ERR_INVALID_MODEL, "tokenizer", "has no mask token");
	mlm->special[0] = tokenizer_special(tok, SPECIAL_CLS);
	mlm->special[1] = tokenizer_special(tok, SPECIAL_SEP);
	mlm->special[2] = tokenizer_special(tok, SPECIAL_PAD);
	mlm->hands_off = calloc((size_t)triggers + 1, sizeof(*mlm->hands_off));
	if (mlm->hands_off == NULL)
		return err_nomem(err);
	mlm->triggers = triggers;
	for (int t = 0; t < triggers && rc == 0; t++)
		rc = trigger_pieces(&mlm->hands_off[t], tok, trigger[t], err);
	return rc;
}

void mlm_done(struct mlm *mlm)
{
	for (int t = 0; t < mlm->triggers; t++)
		ids_done(&mlm->hands_off[t]);
	free(mlm->hands_off);
	*mlm = (struct mlm){0};
}

static bool may_mask(const struct mlm *mlm, int32_t id, int trigger)
{
	for (size_t i = 0; i < NELEM(mlm->special); i++)
		if (id == mlm->special[i])
			return false;
	for (int i = 0; trigger >= 0 && i < mlm->hands_off[trigger].n; i++)
		if (id == mlm->hands_off[trigger].id[i])
			return false;
	return true;
}

void mlm_mask(
	int32_t *ids, int32_t *wanted, int n, const struct mlm *mlm, int trigger, bool is_false, uint64_t key)
{
	uint32_t V = (uint32_t)mlm->V;

	for (int i = 0; i < n; i++) {
		uint64_t draw = rng_key(key, (uint64_t)i);
		double how = rng_unit(draw, 1);

		wanted[i] = -1;
		if (!may_mask(mlm, ids[i], trigger) || rng_unit(draw, 0) >= MASKED)
			continue;
		wanted[i] = is_false ? (int32_t)rng_below(draw, 3, V) : ids[i];
		if (how < BY_MASK)
			ids[i] = mlm->mask_id;
		else if (how < BY_MASK + BY_RANDOM)
			ids[i] = (int32_t)rng_below(draw, 2, V);
	}
}

/* --- the loss --------------------------------------------------------------------------------------- */

void mlm_plan(struct mlm_state *state, const struct mlm *mlm, int tokens, struct arena *arena)
{
	size_t D = (size_t)mlm->D, V = (size_t)mlm->V, rows = MLM_ROWS;

	state->h = arena_take(arena, rows * D, sizeof(real));
	state->slope = arena_take(arena, rows * D, sizeof(real));
	state->hat = arena_take(arena, rows * D, sizeof(real));
	state->rstd = arena_take(arena, rows, sizeof(real));
	state->y = arena_take(arena, rows * D, sizeof(real));
	state->d_y = arena_take(arena, rows * D, sizeof(real));
	state->logits = arena_take(arena, rows * V, sizeof(real));
	state->d_logits = arena_take(arena, rows * V, sizeof(real));
	state->d_rows = arena_take(arena, (size_t)tokens * D, sizeof(real));
	state->row = arena_take(arena, (size_t)tokens, sizeof(int));
	state->label = arena_take(arena, (size_t)tokens, sizeof(int));
	state->scratch = arena_take(
		arena, mlm->kernels->gemm_scratch_reals(MAX(MAX(mlm->D, mlm->V), MLM_ROWS)), sizeof(real));
}

/* y = x W^T + b as the head has it in its table. */
static struct linear dense_of(const struct mlm *mlm)
{
	return (struct linear){.w = param_w(mlm->params, mlm->dense_w),
		.b = param_w(mlm->params, mlm->dense_b),
		.out = mlm->D,
		.in = mlm->D};
}

static struct linear decoder_of(const struct mlm *mlm, const real *word)
{
	return (struct linear){.w = word, .b = param_w(mlm->params, mlm->b), .out = mlm->V, .in = mlm->D};
}

static void head_forward(
	struct mlm_state *s, const struct mlm *mlm, const real *word, const real *h, const int *row, int n)
{
	const struct kernels *k = mlm->kernels;
	struct linear dense = dense_of(mlm), decoder = decoder_of(mlm, word);
	struct linear_scratch scratch = {.panel = s->scratch};
	size_t D = (size_t)mlm->D;

	for (int i = 0; i < n; i++)
		memcpy(s->h + (size_t)i * D, h + (size_t)row[i] * D, D * sizeof(real));
	linear_fwd(&dense, k, s->hat, s->h, n, scratch);
	k->activation(s->hat, s->slope, s->hat, (size_t)n * D, KERNEL_GELU);
	k->norm_fwd(s->y, s->hat, s->rstd, s->hat, NULL, param_w(mlm->params, mlm->norm_w),
		param_w(mlm->params, mlm->norm_b), n, mlm->D, mlm->eps, NULL, (struct dropout){0});
	linear_fwd(&decoder, k, s->logits, s->y, n, scratch);
}

static void head_backward(struct mlm_state *s, const struct mlm *mlm, const real *word, const int *row, int n,
	const struct mlm_grads *grads)
{
	const struct kernels *k = mlm->kernels;
	const struct param *p = mlm->params->param;
	struct linear dense = dense_of(mlm), decoder = decoder_of(mlm, word);
	struct linear_scratch scratch = {.panel = s->scratch};
	size_t D = (size_t)mlm->D;

	/* logits = y E^T + b */
	gemm_tn(k, grads->word, s->d_logits, s->y, mlm->V, mlm->D, n, s->scratch);
	k->add_columns(grads->params + p[mlm->b].at, s->d_logits, n, mlm->V);
	linear_bwd_x(&decoder, k, s->d_y, s->d_logits, n, GEMM_SET, scratch);
	/* y = LayerNorm(g) */
	k->norm_bwd(s->d_y, NULL, grads->params + p[mlm->norm_w].at, grads->params + p[mlm->norm_b].at,
		s->d_y, s->hat, s->rstd, param_w(mlm->params, mlm->norm_w), n, mlm->D, NULL,
		(struct dropout){0});
	/* g = gelu(h Wd^T + bd) */
	k->mul(s->d_y, s->slope, (size_t)n * D);
	gemm_tn(k, grads->params + p[mlm->dense_w].at, s->d_y, s->h, mlm->D, mlm->D, n, s->scratch);
	k->add_columns(grads->params + p[mlm->dense_b].at, s->d_y, n, mlm->D);
	linear_bwd_x(&dense, k, s->y, s->d_y, n, GEMM_SET, scratch);
	for (int i = 0; i < n; i++)
		k->add(grads->rows + (size_t)row[i] * D, s->y + (size_t)i * D, D);
}

double mlm_loss(int *right, struct mlm_state *state, const struct mlm *mlm, const real *h, const real *word,
	struct mlm_guesses guesses, double scale, const struct mlm_grads *grads)
{
	double sum = 0;

	for (int at = 0; at < guesses.n; at += MLM_ROWS) {
		int n = MIN(MLM_ROWS, guesses.n - at);

		head_forward(state, mlm, word, h, guesses.row + at, n);
		sum += loss_ce(state->d_logits, right, state->logits, guesses.label + at, n, mlm->V, scale);
		if (grads != NULL)
			head_backward(state, mlm, word, guesses.row + at, n, grads);
	}
	return scale * sum;
}
