/*
 * repair: the adapter that a job starts from, another job's of the same base and method (peft.init_from).
 *
 *   init.json          its adapter_config.json    in the data directory; hostile: every shape is checked
 *   init.safetensors   its tensors                against this job's, and every value must be finite
 *
 *   lora     is folded into the base's weights in memory; a new LoRA is trained on top. Exported are both as
 *            one, of rank r_old + r (lora_join), which on the base itself computes what was measured.
 *   adapter  is where training starts: a new adapter's tensors get its values. Bottleneck and activation
 *            must be the same.
 *   prefix   stays as it is, flat, and what the new MLP makes is added to it. Exported is the sum. The
 *            length must be the same.
 *
 * The head is new in each case. Faults are ERR_INVALID_DATA with the file, ERR_INVALID_VALUE "peft. ..." where
 * the job asks for another shape than the adapter has.
 */
#ifndef OBLIVIATE_REPAIR_H
#define OBLIVIATE_REPAIR_H

#include "common/spec.h"
#include "worker/export/tensor_list.h"
#include "worker/export/trained.h"
#include "worker/model/fold.h"

/* Zero is the empty state: nothing to start from. */
struct repair {
	struct trained trained; /* the old one; its arrays are those below, or the job's params */
	const real **A, **B;
	real *values;		 /* all tensors as they were read, one after the other */
	struct tensor_list list; /* their places in the job's params (adapter) */
	struct fold fold;	 /* lora */
};

/*
 * Read what the spec names, if anything. peft is declared, its params are there. On failure repair_done still
 * applies.
 */
int repair_open(struct repair *out, const struct spec *spec, const struct config *config,
	const struct weights *base, struct peft *peft, int data_fd, struct err *err) MUST_USE;
void repair_done(struct repair *repair);

/* The weights to train on: the base's, or those with the old LoRA in them. */
const struct weights *repair_weights(const struct repair *repair, const struct weights *base);

/* At the start of a run, after the method's own initial values. */
void repair_start(const struct repair *repair);

/* The old LoRA, or NULL. */
const struct lora *repair_lora(const struct repair *repair);

#endif
