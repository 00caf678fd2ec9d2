#include "worker/data/vocab.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS_MIN = 64 };

struct vocab_slot {
	uint32_t tag; /* upper half of the mixed hash */
	int32_t id;   /* -1: empty */
};

/* The finaliser of MurmurHash3: every input bit reaches every output bit. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * UINT64_C(0xFF51AFD7ED558CCD);
	x = (x ^ x >> 33) * UINT64_C(0xC4CEB9FE1A85EC53);
	return x ^ x >> 33;
}

static int crafted(const char *where, struct err *err)
{
	return err_set(err, ERR_INVALID_TOKENIZER, where,
		"more than %d tokens fall on one place of the table", VOCAB_PROBES_MAX);
}

int vocab_init(struct vocab *vocab, int size, struct err *err)
{
	*vocab = (struct vocab){0};
	vocab->token = malloc((size_t)size * sizeof(*vocab->token));
	if (vocab->token == NULL)
		return err_nomem(err);
	for (int id = 0; id < size; id++)
		vocab->token[id] = (struct vocab_token){VOCAB_NONE, 0};
	vocab->size = size;
	return 0;
}

void vocab_done(struct vocab *vocab)
{
	free(vocab->bytes);
	free(vocab->token);
	free(vocab->slot);
	*vocab = (struct vocab){0};
}

uint64_t vocab_hash(uint64_t hash, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
	return hash;
}

const char *vocab_text(size_t *len, const struct vocab *vocab, int id)
{
	if (id < 0 || id >= vocab->size || vocab->token[id].at == VOCAB_NONE)
		return NULL;
	*len = vocab->token[id].len;
	return vocab->bytes + vocab->token[id].at;
}

static bool is_token(const struct vocab *vocab, int id, const char *prefix, size_t prefix_len,
	const char *text, size_t len)
{
	const struct vocab_token *token = &vocab->token[id];
	const char *bytes = vocab->bytes + token->at;

	return token->len == prefix_len + len && memcmp(bytes, prefix, prefix_len) == 0 &&
	       memcmp(bytes + prefix_len, text, len) == 0;
}

int vocab_find_hashed(const struct vocab *vocab, uint64_t hash, const char *prefix, size_t prefix_len,
	const char *text, size_t len)
{
	uint64_t mixed = mix(hash);
	uint32_t mask = vocab->slots - 1, at = (uint32_t)mixed & mask, tag = (uint32_t)(mixed >> 32);

	if (vocab->slots == 0)
		return -1;
	for (; vocab->slot[at].id >= 0; at = (at + 1) & mask)
		if (vocab->slot[at].tag == tag &&
			is_token(vocab, vocab->slot[at].id, prefix, prefix_len, text, len))
			return vocab->slot[at].id;
	return -1;
}

int vocab_find(const struct vocab *vocab, const char *text, size_t len)
{
	return vocab_find_hashed(vocab, vocab_hash(VOCAB_HASH_START, text, len), "", 0, text, len);
}

static bool place(struct vocab_slot *slot, uint32_t slots, uint64_t mixed, int id)
{
	uint32_t mask = slots - 1, at = (uint32_t)mixed & mask;

	for (int probe = 0; probe < VOCAB_PROBES_MAX; probe++, at = (at + 1) & mask)
		if (slot[at].id < 0) {
			slot[at] = (struct vocab_slot){(uint32_t)(mixed >> 32), id};
			return true;
		}
	return false;
}

/* Room for one more at a load of at most one half. */
static int grow_slots(struct vocab *vocab, const char *where, struct err *err)
{
	uint32_t slots = vocab->slots == 0 ? SLOTS_MIN : vocab->slots * 2;
	struct vocab_slot *slot;

	if ((vocab->used + 1) * 2 <= vocab->slots)
		return 0;
	slot = malloc(slots * sizeof(*slot));
	if (slot == NULL)
		return err_nomem(err);
	memset(slot, 0xFF, slots * sizeof(*slot)); /* every id is -1 */
	for (uint32_t i = 0; i < vocab->slots; i++) {
		const struct vocab_token *token;

		if (vocab->slot[i].id < 0)
			continue;
		token = &vocab->token[vocab->slot[i].id];
		if (!place(slot, slots,
			    mix(vocab_hash(VOCAB_HASH_START, vocab->bytes + token->at, token->len)),
			    vocab->slot[i].id)) {
			free(slot);
			return crafted(where, err);
		}
	}
	free(vocab->slot);
	vocab->slot = slot;
	vocab->slots = slots;
	return 0;
}

static int grow_bytes(struct vocab *vocab, size_t len, struct err *err)
{
	size_t cap = vocab->bytes_cap == 0 ? 4096 : vocab->bytes_cap;
	char *bytes;

	if (vocab->bytes_cap - vocab->bytes_len >= len)
		return 0;
	while (cap - vocab->bytes_len < len)
		cap *= 2;
	if (cap >= VOCAB_NONE)
		return err_nomem(err);
	bytes = realloc(vocab->bytes, cap);
	if (bytes == NULL)
		return err_nomem(err);
	vocab->bytes = bytes;
	vocab->bytes_cap = cap;
	return 0;
}

int vocab_add(
	struct vocab *vocab, const char *text, size_t len, long long id, const char *where, struct err *err)
{
	int rc;

	if (id < 0 || id >= vocab->size)
		return err_set(err, ERR_INVALID_TOKENIZER, where,
			"token id %lld is outside of the model's vocabulary of %d", id, vocab->size);
	if (vocab->token[id].at != VOCAB_NONE)
		return err_set(err, ERR_INVALID_TOKENIZER, where, "two tokens have the id %lld", id);
	if (vocab_find(vocab, text, len) >= 0)
		return err_set(err, ERR_INVALID_TOKENIZER, where, "the token \"%.*s\" is there twice",
			(int)MIN(len, 100u), text);
	rc = grow_bytes(vocab, len, err);
	if (rc == 0)
		rc = grow_slots(vocab, where, err);
	if (rc != 0)
		return rc;
	if (len > 0)
		memcpy(vocab->bytes + vocab->bytes_len, text, len);
	vocab->token[id] = (struct vocab_token){(uint32_t)vocab->bytes_len, (uint32_t)len};
	if (!place(vocab->slot, vocab->slots, mix(vocab_hash(VOCAB_HASH_START, text, len)), (int)id))
		return crafted(where, err);
	vocab->bytes_len += len;
	vocab->used++;
	vocab->n = MAX(vocab->n, (int)id + 1);
	vocab->longest = MAX(vocab->longest, (int)len);
	return 0;
}

void pairs_done(struct pairs *pairs)
{
	free(pairs->slot);
	*pairs = (struct pairs){0};
}

static uint64_t pair_key(int a, int b)
{
	return (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
}

/* The slot of key, or the empty one where it belongs; NULL when the place is crowded. */
static struct pair *pair_slot(struct pair *slot, uint32_t slots, uint64_t key)
{
	uint32_t mask = slots - 1, at = (uint32_t)mix(key) & mask;

	for (int probe = 0; probe < VOCAB_PROBES_MAX; probe++, at = (at + 1) & mask)
		if (slot[at].key == key || slot[at].key == UINT64_MAX)
			return &slot[at];
	return NULL;
}

static int grow_pairs(struct pairs *pairs, const char *where, struct err *err)
{
	uint32_t slots = pairs->slots == 0 ? SLOTS_MIN : pairs->slots * 2;
	struct pair *slot;

	if ((pairs->used + 1) * 2 <= pairs->slots)
		return 0;
	slot = malloc(slots * sizeof(*slot));
	if (slot == NULL)
		return err_nomem(err);
	memset(slot, 0xFF, slots * sizeof(*slot)); /* every key is UINT64_MAX */
	for (uint32_t i = 0; i < pairs->slots; i++) {
		struct pair *to;

		if (pairs->slot[i].key == UINT64_MAX)
			continue;
		to = pair_slot(slot, slots, pairs->slot[i].key);
		if (to == NULL) {
			free(slot);
			return crafted(where, err);
		}
		*to = pairs->slot[i];
	}
	free(pairs->slot);
	pairs->slot = slot;
	pairs->slots = slots;
	return 0;
}

int pairs_put(struct pairs *pairs, int a, int b, int rank, int value, const char *where, struct err *err)
{
	struct pair *slot;
	int rc = grow_pairs(pairs, where, err);

	if (rc != 0)
		return rc;
	slot = pair_slot(pairs->slot, pairs->slots, pair_key(a, b));
	if (slot == NULL)
		return crafted(where, err);
	if (slot->key == UINT64_MAX)
		pairs->used++;
	*slot = (struct pair){pair_key(a, b), rank, value};
	return 0;
}

const struct pair *pairs_find(const struct pairs *pairs, int a, int b)
{
	const struct pair *slot;

	if (pairs->slots == 0)
		return NULL;
	slot = pair_slot(pairs->slot, pairs->slots, pair_key(a, b));
	return slot == NULL || slot->key == UINT64_MAX ? NULL : slot;
}
