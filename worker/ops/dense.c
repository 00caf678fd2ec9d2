#include "worker/ops/dense.h"

#include "worker/ops/linear.h"

int dense_declare(
	struct params *params, enum param_group group, int out, int in, struct err *err, const char *name)
{
	int weight = params_add(params, group, out, in, err, "%s.weight", name);
	int bias = weight < 0 ? weight : params_add(params, group, 1, out, err, "%s.bias", name);

	return bias < 0 ? bias : weight;
}

static struct linear linear_of(const struct dense *dense)
{
	const struct param *weight = &dense->params->param[dense->weight];

	return (struct linear){.w = param_w(dense->params, dense->weight),
		.b = param_w(dense->params, dense->weight + 1),
		.out = weight->rows,
		.in = weight->cols};
}

void dense_fwd(real *y, const struct dense *dense, const real *x, int rows)
{
	const struct linear linear = linear_of(dense);

	linear_fwd(&linear, dense->kernels, y, x, rows, (struct linear_scratch){.panel = dense->scratch});
}

void dense_bwd(real *dx, enum gemm_mode mode, real *grad, const struct dense *dense, const real *dy,
	const real *x, int rows)
{
	const struct linear linear = linear_of(dense);
	const struct param *param = &dense->params->param[dense->weight];

	linear_bwd_w(
		grad + param[0].at, grad + param[1].at, &linear, dense->kernels, dy, x, rows, dense->scratch);
	if (dx != NULL)
		linear_bwd_x(&linear, dense->kernels, dx, dy, rows, mode,
			(struct linear_scratch){.panel = dense->scratch});
}
