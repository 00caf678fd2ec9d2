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
