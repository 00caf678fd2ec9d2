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

#include "worker/export/tensor_list.h"
#include "worker/export/trained.h"

#define PEFT_FORMAT_TENSORS "adapter_model.safetensors"

/* A LoRA's tensors by their names in the file, A and B of each map in turn; 2 lora_maps of them. */
void peft_format_add(struct tensor_list *list, const struct trained *trained);

/* Write adapter_config.json and adapter_model.safetensors into the directory. */
int peft_format_write(int dirfd, const struct trained *trained, struct err *err) MUST_USE;

#endif
