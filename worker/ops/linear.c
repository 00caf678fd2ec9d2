#include "worker/ops/linear.h"

/* B of the forward product, W^T, and of the gradient's, W. */
static struct gemm forward_of(const struct linear *l, real *y, const real *x, int rows, real *scratch)
{
	struct gemm g =
		gemm_of(y, gemm_plain(x, l->in), gemm_transposed(l->w, l->in), rows, l->out, l->in, scratch);

	g.bias = l->b;
	return g;
}

static struct gemm gradient_of(const struct linear *l, real *dx, const real *dy, int rows, real *scratch)
{
	return gemm_of(dx, gemm_plain(dy, l->out), gemm_plain(l->w, l->in), rows, l->in, l->out, scratch);
}

void linear_plan(
	struct linear *linear, const struct kernels *kernels, enum linear_form form, struct arena *arena)
{
	if (form == LINEAR_FLOAT32) {
		linear->panels =
			arena_take(arena, kernels->gemm_packed_reals(linear->out, linear->in), sizeof(real));
		linear->panels_input =
			arena_take(arena, kernels->gemm_packed_reals(linear->in, linear->out), sizeof(real));
	}
	if (form != LINEAR_BF16)
		return;
	linear->half =
		arena_take(arena, kernels->bf16_packed_count(linear->out, linear->in), sizeof(uint16_t));
	linear->half_input =
		arena_take(arena, kernels->bf16_packed_count(linear->in, linear->out), sizeof(uint16_t));
}

void linear_pack(const struct linear *linear, const struct kernels *kernels)
{
	struct gemm forward = forward_of(linear, NULL, NULL, 0, NULL);
	struct gemm gradient = gradient_of(linear, NULL, NULL, 0, NULL);

	if (linear->panels != NULL) {
		kernels->gemm_pack(linear->panels, &forward);
		kernels->gemm_pack(linear->panels_input, &gradient);
	}
	if (linear->half == NULL)
		return;
	kernels->bf16_pack(linear->half, &forward);
	kernels->bf16_pack(linear->half_input, &gradient);
}

void linear_fwd(const struct linear *linear, const struct kernels *kernels, real *y, const real *x, int rows,
	struct linear_scratch scratch)
{
	struct gemm g = forward_of(linear, y, x, rows, scratch.panel);

	g.packed = linear->panels;
	if (linear->half != NULL)
		kernels->bf16_gemm(&g, linear->half, scratch.half);
	else
		kernels->gemm(&g);
}

void linear_bwd_x(const struct linear *linear, const struct kernels *kernels, real *dx, const real *dy,
	int rows, enum gemm_mode mode, struct linear_scratch scratch)
{
	struct gemm g = gradient_of(linear, dx, dy, rows, scratch.panel);

	g.accumulate = mode == GEMM_ADD;
	g.packed = linear->panels_input;
	if (linear->half_input != NULL)
		kernels->bf16_gemm(&g, linear->half_input, scratch.half);
	else
		kernels->gemm(&g);
}

void linear_bwd_w(real *dw, real *db, const struct linear *linear, const struct kernels *kernels,
	const real *dy, const real *x, int rows, real *scratch)
{
	gemm_tn(kernels, dw, dy, x, linear->out, linear->in, rows, scratch);
	kernels->add_columns(db, dy, rows, linear->out);
}
