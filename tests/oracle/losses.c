/*
 * losses: the losses of attacks over arrays that Python drew, for the oracles.
 *
 *   losses contrast IN OUT TEMPERATURE   IN: x [n, D], class [n];  OUT: loss, d_x
 *   losses mlm IN OUT EPS                IN: h [T, D], word [V, D], row [n], label [n], and the head's tensors by
 *                                        their names in BERT's files;  OUT: loss, right, d_h, d_word, d_NAME
 *
 * IN and OUT are safetensors; numbers are F32 and I32. A test program: it trusts its input.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/attack/contrast.h"
#include "worker/attack/mlm.h"
#include "worker/data/safetensors.h"

enum { OUTPUTS_MAX = 16 };

struct outputs {
	struct st_tensor tensor[OUTPUTS_MAX];
	char name[OUTPUTS_MAX][128];
	int n;
};

static void must(int rc, const struct err *err)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "losses: %s: %s\n", err->where, err->text);
	exit(1);
}

static const struct st_tensor *find(const struct st *st, const char *name)
{
	const struct st_tensor *tensor = st_find(st, name);
	struct err err = {0};

	if (tensor == NULL) {
		must(err_set(&err, ERR_MISSING_FIELD, name, "no such tensor"), &err);
		exit(1);
	}
	return tensor;
}

static void *copy(const struct st *st, const char *name)
{
	const struct st_tensor *tensor = find(st, name);
	void *memory = malloc(st_elements(tensor) * 4 + 4);

	if (memory == NULL)
		exit(1);
	return memcpy(memory, tensor->data, st_elements(tensor) * 4);
}

static real *zeros(size_t n)
{
	real *memory = calloc(n + 1, sizeof(*memory));

	if (memory == NULL)
		exit(1);
	return memory;
}

static void put(struct outputs *out, const char *name, enum st_dtype dtype, size_t n, const void *data)
{
	snprintf(out->name[out->n], sizeof(out->name[0]), "%s", name);
	out->tensor[out->n] = (struct st_tensor){
		.name = out->name[out->n], .dtype = dtype, .rank = 1, .shape = {n}, .data = data};
	out->n++;
}

static void contrast(struct outputs *out, const struct st *in, double temperature)
{
	static double loss;
	const struct st_tensor *x = find(in, "x");
	int n = (int)x->shape[0], D = (int)x->shape[1];
	real *d = zeros(st_elements(x));

	loss = contrast_loss(d, copy(in, "x"), copy(in, "class"), n, D, temperature, 1);
	put(out, "loss", ST_F64, 1, &loss);
	put(out, "d_x", ST_F32, st_elements(x), d);
}

static void load_head(const struct mlm *mlm, const struct st *in)
{
	for (int i = 0; i < mlm->params->n; i++) {
		const struct param *param = &mlm->params->param[i];

		memcpy(param_w(mlm->params, i), find(in, param->name)->data,
			param_size(param) * sizeof(real));
	}
}

static void mlm(struct outputs *out, const struct st *in, double eps)
{
	static double loss;
	static int32_t right;
	static struct params params;
	const struct st_tensor *h = find(in, "h"), *word = find(in, "word");
	struct config config = {.D = (int)h->shape[1], .V = (int)word->shape[0], .layer_norm_eps = eps};
	struct mlm_guesses guesses = {copy(in, "row"), copy(in, "label"), (int)st_elements(find(in, "row"))};
	struct mlm_grads grads = {.rows = zeros(st_elements(h)), .word = zeros(st_elements(word))};
	struct mlm_state state = {0};
	struct arena arena = {0};
	struct mlm head;
	struct err err = {0};
	int count = 0;

	must(mlm_declare(&head, &config, &params, kernels_best(), &err), &err);
	must(params_alloc(&params, &err), &err);
	load_head(&head, in);
	mlm_plan(&state, &head, (int)h->shape[0], &arena);
	must(arena_alloc(&arena, &err), &err);
	mlm_plan(&state, &head, (int)h->shape[0], &arena);
	grads.params = params.g;
	loss = mlm_loss(
		&count, &state, &head, copy(in, "h"), copy(in, "word"), guesses, 1.0 / guesses.n, &grads);
	right = count;
	put(out, "loss", ST_F64, 1, &loss);
	put(out, "right", ST_I32, 1, &right);
	put(out, "d_h", ST_F32, st_elements(h), grads.rows);
	put(out, "d_word", ST_F32, st_elements(word), grads.word);
	for (int i = 0; i < params.n; i++) {
		char name[128];

		snprintf(name, sizeof(name), "d_%s", params.param[i].name);
		put(out, name, ST_F32, param_size(&params.param[i]), params.g + params.param[i].at);
	}
}

static const struct {
	const char *name;
	void (*run)(struct outputs *out, const struct st *in, double number);
} commands[] = {{"contrast", contrast}, {"mlm", mlm}};

int main(int argc, char **argv)
{
	static struct outputs out;
	struct st in;
	struct err err = {0};

	if (argc != 5) {
		fprintf(stderr, "usage: losses contrast|mlm IN OUT NUMBER\n");
		return 64;
	}
	must(st_open(&in, AT_FDCWD, argv[2], &err), &err);
	for (size_t i = 0; i < NELEM(commands); i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			commands[i].run(&out, &in, strtod(argv[4], NULL));
	must(st_write(open(".", O_RDONLY | O_DIRECTORY), argv[3], out.tensor, out.n, NULL, 0, &err), &err);
	return out.n > 0 ? 0 : 64;
}
