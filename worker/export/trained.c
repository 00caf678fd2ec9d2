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
