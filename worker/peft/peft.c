#include "worker/peft/peft.h"

int peft_declare(struct peft *peft, const struct peft_method *method, const struct peft_options *options,
	struct peft_shape shape, struct params *params, const struct kernels *k, struct err *err)
{
	*peft = (struct peft){.method = method,
		.options = *options,
		.shape = shape,
		.params = params,
		.first = params->n,
		.k = k};
	return method->declare(peft, err);
}

void peft_done(struct peft *peft)
{
	arena_done(&peft->arena);
	*peft = (struct peft){0};
}

void peft_prepare(const struct peft *peft)
{
	if (peft != NULL && peft->method->prepare != NULL)
		peft->method->prepare(peft);
}

void peft_finish(const struct peft *peft)
{
	if (peft != NULL && peft->method->finish != NULL)
		peft->method->finish(peft);
}
