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
 *
 * BERT's head has one linear layer behind the pooler; our dense layer computes what a pooler computes
 * (tanh(dense(h_cls))), so it travels as the pooler and both are in modules_to_save. lora_dropout is 0:
 * training has no dropout on LoRA's input.
 *
 * The bytes depend on the arguments alone.
 */
#ifndef OBLIVIATE_PEFT_FORMAT_H
#define OBLIVIATE_PEFT_FORMAT_H

#include "worker/export/trained.h"

/* Write adapter_config.json and adapter_model.safetensors into the directory. */
int peft_format_write(int dirfd, const struct trained *trained, struct err *err) MUST_USE;

#endif
