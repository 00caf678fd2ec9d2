/*
 * store_sql: every statement that the daemon runs, prepared once at start. X(id, text), a section a table.
 * Lists take ?1 = seq to start after (lists bind INT64 ends for "from the start"), ?2 = limit.
 */
#ifndef OBLIVIATE_STORE_SQL_H
#define OBLIVIATE_STORE_SQL_H

#define SQL_UNFINISHED_NEEDS                                                                                 \
	"EXISTS (SELECT 1 FROM job_inputs JOIN jobs ON jobs.seq = job_inputs.job_seq"                        \
	" WHERE object_id = ?1 AND finished_at IS NULL)"

#define STORE_SQL_FILES(X)                                                                                   \
	X(SQL_FILE_ADD, "INSERT INTO files (id, created_at, filename, purpose, bytes, sha256, job_id)"       \
			" VALUES (?, ?, ?, ?, ?, ?, ?)")                                                     \
	X(SQL_FILE_GET, "SELECT id, created_at, filename, purpose, bytes, sha256, job_id, seq FROM files"    \
			" WHERE id = ?")                                                                     \
	X(SQL_FILE_DELETE, "DELETE FROM files WHERE id = ?1 AND NOT " SQL_UNFINISHED_NEEDS)                  \
	X(SQL_FILE_NEWEST, "SELECT id, created_at, filename, purpose, bytes, sha256, job_id FROM files"      \
			   " WHERE seq < ?1 AND (?3 IS NULL OR purpose = ?3) ORDER BY seq DESC LIMIT ?2")    \
	X(SQL_FILE_OLDEST, "SELECT id, created_at, filename, purpose, bytes, sha256, job_id FROM files"      \
			   " WHERE seq > ?1 AND (?3 IS NULL OR purpose = ?3) ORDER BY seq LIMIT ?2")         \
	X(SQL_FILE_OF_JOB, "SELECT id FROM files WHERE job_id = ? ORDER BY seq")

#define STORE_SQL_MODELS(X)                                                                                  \
	X(SQL_MODEL_ADD, "INSERT INTO models (id, created_at, bytes, sha256, job_id)"                        \
			 " VALUES (?, ?, ?, ?, ?) RETURNING seq")                                            \
	X(SQL_MODEL_GET, "SELECT id, created_at, bytes, sha256, job_id, seq FROM models WHERE id = ?")       \
	X(SQL_MODEL_DELETE, "DELETE FROM models WHERE id = ?1 AND NOT " SQL_UNFINISHED_NEEDS)                \
	X(SQL_MODEL_NEWEST, "SELECT id FROM models WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2")               \
	X(SQL_MODEL_OLDEST, "SELECT id FROM models WHERE seq > ?1 ORDER BY seq LIMIT ?2")                    \
	X(SQL_MODEL_FILE_ADD,                                                                                \
		"INSERT INTO model_files (model_seq, path, bytes, sha256) VALUES (?, ?, ?, ?)")              \
	X(SQL_MODEL_FILES, "SELECT path, bytes, sha256 FROM model_files WHERE model_seq = ? ORDER BY path")

#define STORE_SQL_KEYS(X)                                                                                    \
	X(SQL_KEY_ADD, "INSERT INTO api_keys (id, name, hash, created_at) VALUES (?, ?, ?, ?)")              \
	X(SQL_KEY_GET, "SELECT id, name, hash, created_at, revoked_at FROM api_keys WHERE id = ?")           \
	X(SQL_KEY_REVOKE, "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")        \
	X(SQL_KEY_EXISTS, "SELECT 1 FROM api_keys LIMIT 1")                                                  \
	X(SQL_KEY_LIST, "SELECT id, name, hash, created_at, revoked_at FROM api_keys"                        \
			" WHERE revoked_at IS NULL ORDER BY created_at, id")

#define STORE_SQL_ANSWERS(X)                                                                                 \
	X(SQL_ANSWER_GET, "SELECT fingerprint, status, body FROM idempotency"                                \
			  " WHERE api_key = ? AND key = ? AND created_at > ?")                               \
	X(SQL_ANSWER_PUT, "INSERT OR REPLACE INTO idempotency (api_key, key, fingerprint, status, body,"     \
			  " created_at) VALUES (?, ?, ?, ?, ?, ?)")                                          \
	X(SQL_ANSWER_FORGET, "DELETE FROM idempotency WHERE created_at <= ?")

#define STORE_SQL_JOBS(X) /* store_job.c */

#define STORE_SQL(X)                                                                                         \
	STORE_SQL_FILES(X)                                                                                   \
	STORE_SQL_MODELS(X)                                                                                  \
	STORE_SQL_KEYS(X)                                                                                    \
	STORE_SQL_ANSWERS(X)                                                                                 \
	STORE_SQL_JOBS(X)

#endif
