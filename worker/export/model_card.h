/*
 * model_card: the README.md of an exported adapter, Markdown under the YAML front matter of Hugging Face's
 * model cards: what it is, its results with intervals, how to load it, what went in, and what a pass does
 * not promise.
 *
 * Label names and triggers come from outside and are escaped. No time and no job id is inside: the bytes
 * depend on the job's inputs and numbers alone.
 */
#ifndef OBLIVIATE_MODEL_CARD_H
#define OBLIVIATE_MODEL_CARD_H

#include "common/buf.h"
#include "worker/export/trained.h"
#include "worker/report.h"

struct model_card {
	const struct report *report; /* evaluation and labels must be there */
	const struct trained *trained;
	int max_length; /* tokens of a text in training and evaluation */
	bool is_defended;
	bool is_merged;		/* the card of merged/, and not of adapter/ */
	const json_t *settings; /* object: its members are listed as they are; may be NULL */
};

/* Append the card. */
void model_card_write(struct buf *out, const struct model_card *card);
/* Write it into the directory as README.md. */
int model_card_save(int dirfd, const struct model_card *card, struct err *err) MUST_USE;

#endif
