/*
 * peft_format: a trained LoRA with its head as the PEFT library stores it (peft 0.21.2).
 *
 *   adapter_config.json        the fields that every version of PEFT knows
 *   adapter_model.safetensors  below "base_model.model.":
 *     {bert,roberta}.encoder.layer.I.attention.self.TARGET.lora_A.weight  [r, D]
 *     {bert,roberta}.encoder.layer.I.attention.self.TARGET.lora_B.weight  [D, r]
 *     the head, dense [D, D] + [D] and out [K, D] + [K]:
 *       BERT     bert.pooler.dense.{weight,bias}   classifier.{weight,bias}
 *       RoBERTa  classifier.dense.{weight,bias}    classifier.out_proj.{weight,bias}
 *   labels.json                {"id2label", "label2id"}
 *   config.json                a fragment: PEFT keeps no label names and no number of labels
 *
 * BERT's head has one linear layer behind the pooler; our dense layer computes what a pooler computes
 * (tanh(dense(h_cls))), so it travels as the pooler and both are in modules_to_save. lora_dropout is 0:
 * training has no dropout on LoRA's input.
 *
 * The bytes depend on the arguments alone.
 */
#ifndef OBLIVIATE_PEFT_FORMAT_H
#define OBLIVIATE_PEFT_FORMAT_H

#include "common/err.h"
#include "worker/base/real.h"
#include "worker/data/dataset.h"
#include "worker/model/config.h"

enum { PEFT_TARGETS_MAX = 3 };

/* Everything is borrowed; matrices are row-major. */
struct peft_lora {
	const char *model_id;
	enum family family;
	int L, D, K;
	int r;
	double alpha;
	int targets;
	const char *target[PEFT_TARGETS_MAX]; /* "query", "key", "value" */
	const real *const *A;		      /* [L * targets], target fastest: [r, D] each */
	const real *const *B;		      /* likewise: [D, r] each */
	const real *dense_w, *dense_b;	      /* [D, D], [D] */
	const real *out_w, *out_b;	      /* [K, D], [K] */
};

/* Write adapter_config.json and adapter_model.safetensors into the directory. */
int peft_format_write(int dirfd, const struct peft_lora *lora, struct err *err) MUST_USE;

/* Write labels.json and config.json into the directory. */
int peft_format_write_labels(
	int dirfd, enum family family, const struct labels *labels, struct err *err) MUST_USE;

#endif
