#include "worker/base/param.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"

enum { PAD = 16 };

int params_add(struct params *params, enum param_group group, int rows, int cols, struct err *err,
	const char *name, ...)
{
	struct param *param;
	va_list ap;

	if (params->n == params->cap) {
		int cap = MAX(64, 2 * params->cap);

		param = realloc(params->param, (size_t)cap * sizeof(*param));
		if (param == NULL)
			return err_nomem(err);
		params->param = param;
		params->cap = cap;
	}
	param = &params->param[params->n];
	*param = (struct param){.rows = rows, .cols = cols, .group = group};
	va_start(ap, name);
	vsnprintf(param->name, sizeof(param->name), name, ap);
	va_end(ap);
	return params->n++;
}

/* Places for the tensors of one kind, one behind the other from params->size on. */
static void lay_out(struct params *params, bool is_once)
{
	for (int i = 0; i < params->n; i++) {
		struct param *param = &params->param[i];

		if (param->is_once != is_once)
			continue;
		param->at = params->size;
		params->size += (param_size(param) + PAD - 1) / PAD * PAD;
	}
}

static void plan(struct params *params)
{
	params->w = arena_take(&params->arena, params->size, sizeof(real));
	params->g = arena_take(&params->arena, params->size, sizeof(real));
	params->m = arena_take(&params->arena, params->size, sizeof(real));
	params->v = arena_take(&params->arena, params->size, sizeof(real));
}

int params_alloc(struct params *params, struct err *err)
{
	int rc;

	lay_out(params, false);
	params->sliced = params->size;
	lay_out(params, true);
	plan(params);
	rc = arena_alloc(&params->arena, err);
	if (rc == 0)
		plan(params);
	return rc;
}

void params_done(struct params *params)
{
	arena_done(&params->arena);
	free(params->param);
	*params = (struct params){0};
}

void params_draw_normal(const struct params *params, int number, uint64_t key, double std)
{
	real *w = param_w(params, number);

	for (size_t i = 0; i < param_size(&params->param[number]); i++)
		w[i] = (real)(std * rng_normal(key, i));
}

void params_draw_uniform(const struct params *params, int number, uint64_t key, double bound)
{
	real *w = param_w(params, number);

	for (size_t i = 0; i < param_size(&params->param[number]); i++)
		w[i] = (real)((2 * rng_unit(key, i) - 1) * bound);
}

int params_find(const struct params *params, const char *name)
{
	for (int i = 0; i < params->n; i++)
		if (strcmp(params->param[i].name, name) == 0)
			return i;
	return -1;
}

size_t params_count(const struct params *params, int group)
{
	size_t count = 0;

	for (int i = 0; i < params->n; i++)
		if (group < 0 ? params->param[i].group != PARAM_DERIVED
			      : (int)params->param[i].group == group)
			count += param_size(&params->param[i]);
	return count;
}
