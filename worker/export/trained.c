#include "worker/export/trained.h"

const struct family_names family_names[] = {
	[FAMILY_BERT] = {.model_type = "bert",
		.classifier_class = "BertForSequenceClassification",
		.adapter_class = "BertAdapterModel",
		.dense = "bert.pooler.dense",
		.out = "classifier",
		.modules_to_save = {"pooler", "classifier"}},
	[FAMILY_ROBERTA] = {.model_type = "roberta",
		.classifier_class = "RobertaForSequenceClassification",
		.adapter_class = "RobertaAdapterModel",
		.dense = "classifier.dense",
		.out = "classifier.out_proj",
		.modules_to_save = {"classifier", NULL}},
};

const char *trained_activation(enum kernel_activation activation)
{
	static const char *const names[] = {[KERNEL_GELU] = "gelu",
		[KERNEL_GELU_TANH] = "gelu_new",
		[KERNEL_RELU] = "relu",
		[KERNEL_SILU] = "swish",
		[KERNEL_TANH] = "tanh"};

	return names[activation];
}
