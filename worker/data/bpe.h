/*
 * bpe: byte-level byte-pair encoding, ByteLevel and BPE of tokenizers 0.23.3.
 *
 * The text is cut into words by a fixed pattern; the bytes of a word are its first symbols; of all neighbours
 * that may merge, those of the lowest rank do, leftmost first. O(n log n) in the length of a word.
 */
#ifndef OBLIVIATE_BPE_H
#define OBLIVIATE_BPE_H

#include "common/buf.h"
#include "worker/data/vocab.h"

struct bpe {
	struct pairs merges; /* (left, right) -> rank, merged token */
	int byte[256];	     /* id of each byte's token, or -1 */
	int unknown;	     /* stands for a byte that has none; -1: such bytes vanish */
	bool fuse_unknown;   /* neighbouring unknown bytes are one token */
	bool whole_words;    /* a word that is a token is not merged ("ignore_merges") */
	bool add_prefix_space;
};

/* Fill bpe->byte from the vocabulary. */
void bpe_bytes(struct bpe *bpe, const struct vocab *vocab);

/* The alphabet of byte-level vocabularies: each byte stands as one printable character. */
uint32_t bpe_char_of_byte(unsigned char byte);

#endif
