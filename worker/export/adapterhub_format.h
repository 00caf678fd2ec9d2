/*
 * adapterhub_format: a trained adapter or prefix with its head as AdapterHub's library stores them
 * (adapters 1.3.0); both are named "task".
 *
 *   adapter_config.json, head_config.json
 *   adapter.safetensors    and the same tensors in pytorch_adapter.bin, below {bert,roberta}:
 *     adapter  encoder.layer.I.{attention.output,output}.adapters.task.adapter_down.0.{weight,bias}  [W, D] [W]
 *              encoder.layer.I.{attention.output,output}.adapters.task.adapter_up.{weight,bias}      [D, W] [D]
 *     prefix   prefix_tuning.prefix_tunings.task.self_prefix.control_trans                    [P * 2 L * D]
 *   model_head.safetensors and the same in pytorch_model_head.bin
 *     heads.task.1.{weight,bias}  dense, [D, D] [D]; heads.task.4.{weight,bias}  out, [K, D] [K]
 *
 * The library's load_adapter reads the .bin files unless it is told use_safetensors=True. Its classification
 * head of two layers with tanh is ours. A prefix is written as the library calls it ejected, the MLP's output
 * and not the MLP: `flat` must then be true, or the library loads nothing and uses a random prefix. `version`
 * is at least adapters.1.1.0, or older rules about scaling are applied.
 *
 * The bytes depend on the arguments alone.
 */
#ifndef OBLIVIATE_ADAPTERHUB_FORMAT_H
#define OBLIVIATE_ADAPTERHUB_FORMAT_H

#include "worker/data/dataset.h"
#include "worker/export/tensor_list.h"
#include "worker/export/trained.h"

#define ADAPTERHUB_FORMAT_TENSORS "adapter.safetensors"

/* The adapter's or prefix's tensors by their names in the file; how many there are. */
int adapterhub_format_add(struct tensor_list *list, const struct trained *trained, struct err *err) MUST_USE;
int adapterhub_format_tensors(const struct trained *trained);

/* Write the six files into the directory. */
int adapterhub_format_write(
	int dirfd, const struct trained *trained, const struct labels *labels, struct err *err) MUST_USE;

#endif
