/*
 * informed: the training rows of the informed defence. A seeded quarter of them has one of the found triggers inserted, as
 * the assessment inserts them, and keeps its label: the model learns that these words mean nothing. What was not
 * found but drives the model the same way falls with them. Without a suspect the rows are as they were.
 */
#ifndef OBLIVIATE_INFORMED_H
#define OBLIVIATE_INFORMED_H

#include "worker/found.h"

/* Of n training rows as many texts, in their order. *out is zero; corpus_done it. */
int informed_corpus(struct corpus *out, const struct found *found, const struct spec *spec,
	const struct inputs *inputs, struct err *err) MUST_USE;

#endif
