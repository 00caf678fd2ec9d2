#include "server/auth.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "server/id.h"

static const char key_prefix[] = "sk-obl-";
static const char id_prefix[] = "key-";

int auth_create(char secret[AUTH_KEY_BYTES], struct store *store, const char *name, struct err *err)
{
	struct key_row row = {.created_at = time(NULL)};
	char tail[2 * ID_DIGITS + 1];
	int rc;

	id_new(row.id, sizeof(row.id), id_prefix);
	id_new(tail, sizeof(tail), "");
	id_new(tail + ID_DIGITS, sizeof(tail) - ID_DIGITS, "");
	snprintf(row.name, sizeof(row.name), "%s", name);
	snprintf(secret, AUTH_KEY_BYTES, "%s%.*s-%s", key_prefix, ID_DIGITS, row.id + sizeof(id_prefix) - 1,
		tail);
	rc = sha256_of(row.hash, secret, strlen(secret), err);
	return rc == 0 ? store_key_add(store, &row, err) : rc;
}

static int check_key(char key_id[STORE_ID_BYTES], struct store *store, const char *key, struct err *err)
{
	char hash[SHA256_HEX_BYTES], id[STORE_ID_BYTES];
	struct key_row row;
	int rc;

	if (strncmp(key, key_prefix, sizeof(key_prefix) - 1) != 0 || strlen(key) >= AUTH_KEY_BYTES)
		return err_set(err, ERR_UNAUTHORIZED, NULL, "Incorrect API key provided");
	snprintf(id, sizeof(id), "%s%.*s", id_prefix, ID_DIGITS, key + sizeof(key_prefix) - 1);
	rc = store_key_get(&row, store, id, err);
	if (rc != 0 && rc != -ERR_NOT_FOUND)
		return rc;
	if (rc == 0)
		rc = sha256_of(hash, key, strlen(key), err);
	if (rc != 0 || row.is_revoked || CRYPTO_memcmp(hash, row.hash, SHA256_HEX_BYTES) != 0)
		return err_set(err, ERR_UNAUTHORIZED, NULL, "Incorrect API key provided");
	snprintf(key_id, STORE_ID_BYTES, "%s", row.id);
	return 0;
}

int auth_check(char key_id[STORE_ID_BYTES], struct store *store, const char *authorization, bool is_loopback,
	struct err *err)
{
	static const char scheme[] = "Bearer ";
	bool is_needed = true;
	int rc = store_key_exists(&is_needed, store, err);

	key_id[0] = '\0';
	if (rc != 0)
		return rc;
	if (!is_needed && is_loopback)
		return 0;
	if (authorization == NULL || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return err_set(err, ERR_UNAUTHORIZED, NULL,
			"You didn't provide an API key: send it as 'Authorization: Bearer KEY'");
	return check_key(key_id, store, authorization + sizeof(scheme) - 1, err);
}
