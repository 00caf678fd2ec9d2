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
	X(SQL_FILE_NEWEST, "SELECT id, created_at, filename, purpose, bytes, sha256, job_id, seq FROM files" \
			   " WHERE seq < ?1 AND (?3 IS NULL OR purpose = ?3) ORDER BY seq DESC LIMIT ?2")    \
	X(SQL_FILE_OLDEST, "SELECT id, created_at, filename, purpose, bytes, sha256, job_id, seq FROM files" \
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

#define SQL_JOB_COLUMNS                                                                                      \
	"seq, id, status, created_at, started_at, finished_at, is_stopping, crashes, crash_place,"           \
	" trained_tokens, estimated_finish, fine_tuned_model, error_code, error_message, error_param, spec"

/* What store_job_text.c makes the interface's object of. */
#define SQL_JOB_TEXT_COLUMNS                                                                                 \
	"jobs.seq, id, status, created_at, finished_at, fine_tuned_model, trained_tokens, estimated_finish," \
	" error_code, error_message, error_param, view, spec, type = 'scan'"

/* Jobs with the pair ?3, ?4 and, where ?5 is an object, with all of its pairs. */
#define SQL_JOB_WITH                                                                                         \
	" FROM job_metadata AS chosen CROSS JOIN jobs ON jobs.seq = chosen.job_seq"                          \
	" WHERE chosen.key = ?3 AND chosen.value = ?4 AND (?5 IS NULL OR NOT EXISTS"                         \
	" (SELECT 1 FROM json_each(?5) AS wanted WHERE NOT EXISTS (SELECT 1 FROM job_metadata AS has"        \
	" WHERE has.key = wanted.key AND has.value = wanted.value AND has.job_seq = chosen.job_seq)))"

#define STORE_SQL_JOBS(X)                                                                                    \
	X(SQL_JOB_ADD, "INSERT INTO jobs (id, type, created_at, spec, metadata, view)"                       \
		       " VALUES (?, ?, ?, ?, ?, ?) RETURNING seq")                                           \
	X(SQL_JOB_INPUT_ADD, "INSERT INTO job_inputs (job_seq, role, object_id) VALUES (?, ?, ?)")           \
	X(SQL_JOB_METADATA_ADD, "INSERT INTO job_metadata (key, value, job_seq) VALUES (?, ?, ?)")           \
	X(SQL_JOB_METADATA_COUNT, "SELECT count(*) FROM (SELECT 1 FROM job_metadata"                         \
				  " WHERE key = ? AND value = ? LIMIT ?)")                                   \
	X(SQL_JOB_GET, "SELECT " SQL_JOB_COLUMNS " FROM jobs WHERE id = ?")                                  \
	X(SQL_JOB_FIND, "SELECT seq, status FROM jobs WHERE id = ?")                                         \
	X(SQL_JOB_IS_OVER, "SELECT finished_at IS NOT NULL FROM jobs WHERE seq = ?")                         \
	X(SQL_JOB_TEXT, "SELECT " SQL_JOB_TEXT_COLUMNS " FROM jobs WHERE id = ?")                            \
	X(SQL_JOB_NEWEST, "SELECT " SQL_JOB_TEXT_COLUMNS " FROM jobs WHERE seq < ?1"                         \
			  " AND type != 'scan' ORDER BY seq DESC LIMIT ?2")                                  \
	X(SQL_JOB_OLDEST, "SELECT " SQL_JOB_TEXT_COLUMNS " FROM jobs WHERE seq > ?1"                         \
			  " AND type != 'scan' ORDER BY seq LIMIT ?2")                                       \
	X(SQL_SCAN_NEWEST, "SELECT " SQL_JOB_TEXT_COLUMNS " FROM jobs WHERE seq < ?1"                        \
			   " AND type = 'scan' ORDER BY seq DESC LIMIT ?2")                                  \
	X(SQL_SCAN_OLDEST, "SELECT " SQL_JOB_TEXT_COLUMNS " FROM jobs WHERE seq > ?1"                        \
			   " AND type = 'scan' ORDER BY seq LIMIT ?2")                                       \
	X(SQL_JOB_NEWEST_WITH, "SELECT " SQL_JOB_TEXT_COLUMNS SQL_JOB_WITH                                   \
			       " AND chosen.job_seq < ?1 ORDER BY chosen.job_seq DESC LIMIT ?2")             \
	X(SQL_JOB_OLDEST_WITH, "SELECT " SQL_JOB_TEXT_COLUMNS SQL_JOB_WITH                                   \
			       " AND chosen.job_seq > ?1 ORDER BY chosen.job_seq LIMIT ?2")                  \
	X(SQL_JOB_COUNT_QUEUED, "SELECT count(*) FROM jobs WHERE status = 'queued'")                         \
	X(SQL_JOB_CLAIM, "UPDATE jobs SET status = 'validating_files', attempts = attempts + 1,"             \
			 " started_at = coalesce(started_at, ?1) WHERE seq = (SELECT seq FROM jobs"          \
			 " WHERE status = 'queued' AND is_stopping = 0 ORDER BY seq LIMIT 1)"                \
			 " RETURNING " SQL_JOB_COLUMNS)                                                      \
	X(SQL_JOB_UNSETTLED, "SELECT id FROM jobs WHERE is_stopping = 1 UNION"                               \
			     " SELECT id FROM jobs WHERE finished_at IS NULL"                                \
			     " AND status IN ('validating_files', 'running')")                               \
	X(SQL_JOB_RUNNING,                                                                                   \
		"UPDATE jobs SET status = 'running' WHERE seq = ? AND status = 'validating_files'")          \
	X(SQL_JOB_REQUEUE, "UPDATE jobs SET is_stopping = 0, crashes = ?2, crash_place = ?3,"                \
			   " estimated_finish = NULL, status = CASE WHEN status IN ('validating_files',"     \
			   " 'running') THEN 'queued' ELSE status END WHERE seq = ?1")                       \
	X(SQL_JOB_STOPPED, "UPDATE jobs SET is_stopping = 0 WHERE seq = ?")                                  \
	X(SQL_JOB_ESTIMATE, "UPDATE jobs SET estimated_finish = ?2 WHERE seq = ?1 AND status = 'running'")   \
	X(SQL_JOB_PAUSE, "UPDATE jobs SET status = 'paused', estimated_finish = NULL,"                       \
			 " is_stopping = is_stopping OR status != 'queued'"                                  \
			 " WHERE id = ? AND status IN ('queued', 'validating_files', 'running')")            \
	X(SQL_JOB_RESUME,                                                                                    \
		"UPDATE jobs SET status = 'queued', crashes = 0 WHERE id = ? AND status = 'paused'")         \
	X(SQL_JOB_CANCEL, "UPDATE jobs SET status = 'cancelled', finished_at = ?2, estimated_finish = NULL," \
			  " is_stopping = is_stopping OR status IN ('validating_files', 'running')"          \
			  " WHERE id = ?1 AND finished_at IS NULL")                                          \
	X(SQL_JOB_FAIL, "UPDATE jobs SET status = 'failed', finished_at = ?2, error_code = ?3,"              \
			" error_message = ?4, error_param = ?5, estimated_finish = NULL, is_stopping = 0"    \
			" WHERE seq = ?1 AND finished_at IS NULL")                                           \
	X(SQL_JOB_SUCCEED, "UPDATE jobs SET status = 'succeeded', finished_at = ?2, fine_tuned_model = ?3,"  \
			   " trained_tokens = ?4, report = ?5, estimated_finish = NULL, is_stopping = 0"     \
			   " WHERE seq = ?1 AND finished_at IS NULL")                                        \
	X(SQL_JOB_REPORT, "SELECT report FROM jobs WHERE id = ? AND report IS NOT NULL")                     \
	X(SQL_EVENT_ADD, "INSERT INTO events (job_seq, created_at, level, type, message, data)"              \
			 " VALUES (?, ?, ?, ?, ?, ?)")                                                       \
	X(SQL_EVENT_GET, "SELECT seq FROM events WHERE seq = ? AND job_seq = ?")                             \
	X(SQL_EVENT_NEWEST, "SELECT seq, created_at, level, type, message, data FROM events"                 \
			    " WHERE seq < ?1 AND job_seq = ?3 ORDER BY seq DESC LIMIT ?2")                   \
	X(SQL_EVENT_OLDEST, "SELECT seq, created_at, level, type, message, data FROM events"                 \
			    " WHERE seq > ?1 AND job_seq = ?3 ORDER BY seq LIMIT ?2")                        \
	X(SQL_CHECKPOINT_ADD, "INSERT OR IGNORE INTO checkpoints (id, job_seq, created_at, name,"            \
			      " step_number, metrics) VALUES (?, ?, ?, ?, ?, ?)")                            \
	X(SQL_CHECKPOINT_GET, "SELECT seq FROM checkpoints WHERE id = ?")                                    \
	X(SQL_CHECKPOINT_NEWEST, "SELECT id, created_at, name, step_number, metrics FROM checkpoints"        \
				 " WHERE seq < ?1 AND job_seq = ?3 ORDER BY seq DESC LIMIT ?2")              \
	X(SQL_CHECKPOINT_OLDEST, "SELECT id, created_at, name, step_number, metrics FROM checkpoints"        \
				 " WHERE seq > ?1 AND job_seq = ?3 ORDER BY seq LIMIT ?2")                   \
	X(SQL_ARTIFACT_ADD, "INSERT OR REPLACE INTO artifacts (job_seq, path, bytes, sha256)"                \
			    " VALUES (?, ?, ?, ?)")                                                          \
	X(SQL_ARTIFACT_GET, "SELECT path, bytes, sha256 FROM artifacts WHERE job_seq = ? AND path = ?")

#define STORE_SQL(X)                                                                                         \
	STORE_SQL_FILES(X)                                                                                   \
	STORE_SQL_MODELS(X)                                                                                  \
	STORE_SQL_KEYS(X)                                                                                    \
	STORE_SQL_ANSWERS(X)                                                                                 \
	STORE_SQL_JOBS(X)

#endif
