/* store_key: rows of API keys, and of the answers kept for idempotency. */
#include <time.h>

#include "server/store_internal.h"

enum { ANSWER_AGE_S = 24 * 60 * 60 };

int store_key_add(struct store *store, const struct key_row *row, struct err *err)
{
	return store_run(
		store, SQL_KEY_ADD, NULL, err, "sssi", row->id, row->name, row->hash, row->created_at);
}

static void read_row(struct key_row *out, sqlite3_stmt *row)
{
	*out = (struct key_row){0};
	store_text(out->id, sizeof(out->id), row, 0);
	store_text(out->name, sizeof(out->name), row, 1);
	store_text(out->hash, sizeof(out->hash), row, 2);
	out->created_at = sqlite3_column_int64(row, 3);
	out->is_revoked = sqlite3_column_type(row, 4) != SQLITE_NULL;
}

int store_key_get(struct key_row *out, struct store *store, const char *id, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_KEY_GET, err, "s", id);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, NULL, "no such key: '%s'", id);
	if (rc != STORE_ROW)
		return rc;
	read_row(out, row);
	sqlite3_reset(row);
	return 0;
}

int store_key_revoke(struct store *store, const char *id, struct err *err)
{
	int changes = 0;
	int rc = store_run(store, SQL_KEY_REVOKE, &changes, err, "si", id, (int64_t)time(NULL));

	if (rc == 0 && changes == 0)
		rc = err_set(err, ERR_NOT_FOUND, NULL, "no such key: '%s'", id);
	return rc;
}

int store_key_exists(bool *out, struct store *store, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(&row, store, SQL_KEY_EXISTS, err, "");

	*out = rc == STORE_ROW;
	if (rc == STORE_ROW) {
		sqlite3_reset(row);
		rc = 0;
	}
	return rc;
}

int store_key_each(
	struct store *store, void (*each)(void *arg, const struct key_row *row), void *arg, struct err *err)
{
	struct key_row key;
	sqlite3_stmt *row;
	int rc = store_query(&row, store, SQL_KEY_LIST, err, "");

	if (rc != 0)
		return rc;
	while ((rc = store_next(row, err)) == STORE_ROW) {
		read_row(&key, row);
		each(arg, &key);
	}
	sqlite3_reset(row);
	return rc;
}

int store_answer_get(
	struct answer_row *out, struct store *store, const char *api_key, const char *key, struct err *err)
{
	sqlite3_stmt *row;
	int rc = store_one(
		&row, store, SQL_ANSWER_GET, err, "ssi", api_key, key, (int64_t)time(NULL) - ANSWER_AGE_S);

	if (rc == 0)
		return err_set(err, ERR_NOT_FOUND, NULL, "no answer kept for this key");
	if (rc != STORE_ROW)
		return rc;
	*out = (struct answer_row){0};
	store_text(out->fingerprint, sizeof(out->fingerprint), row, 0);
	out->status = sqlite3_column_int(row, 1);
	buf_add(&out->body, sqlite3_column_blob(row, 2), (size_t)sqlite3_column_bytes(row, 2));
	sqlite3_reset(row);
	return out->body.failed ? err_nomem(err) : 0;
}

int store_answer_put(struct store *store, const char *api_key, const char *key, const char *fingerprint,
	int status, const char *body, size_t len, struct err *err)
{
	int64_t now = time(NULL);
	int rc = store_run(store, SQL_ANSWER_FORGET, NULL, err, "i", now - ANSWER_AGE_S);

	if (rc == 0)
		rc = store_run(store, SQL_ANSWER_PUT, NULL, err, "sssibi", api_key, key, fingerprint,
			(int64_t)status, body, len, now);
	return rc;
}
