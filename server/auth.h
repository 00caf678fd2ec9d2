/*
 * auth: API keys. A key is "sk-obl-<id>-<secret>": the id finds the row, and the row holds the SHA-256 of the whole key,
 * compared in constant time. The secret has 192 bits of the kernel's generator, so one round of SHA-256 is enough.
 */
#ifndef OBLIVIATE_AUTH_H
#define OBLIVIATE_AUTH_H

#include "server/store.h"

enum { AUTH_KEY_BYTES = 96 };

/* Make a key and its row; `secret` is shown once and kept nowhere. */
int auth_create(char secret[AUTH_KEY_BYTES], struct store *store, const char *name, struct err *err) MUST_USE;

/*
 * Check the value of an Authorization header (NULL: none). 0 with the key's id in key_id, "" where no key was ever made
 * and the listener is loopback; else ERR_UNAUTHORIZED.
 */
int auth_check(char key_id[STORE_ID_BYTES], struct store *store, const char *authorization, bool is_loopback,
	struct err *err) MUST_USE;

#endif
