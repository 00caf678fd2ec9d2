-- The store's first shape. seq is the order of creation (never reused: it is what lists page by and what
-- event streams resume from); id is the public name. Times are seconds since 1970.

CREATE TABLE api_keys (
	id         TEXT PRIMARY KEY NOT NULL,
	name       TEXT NOT NULL,
	hash       TEXT NOT NULL CHECK (length(hash) = 64),
	created_at INTEGER NOT NULL,
	revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
	api_key     TEXT NOT NULL,
	key         TEXT NOT NULL,
	fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
	status      INTEGER NOT NULL,
	body        BLOB NOT NULL,
	created_at  INTEGER NOT NULL,
	PRIMARY KEY (api_key, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE jobs (
	seq              INTEGER PRIMARY KEY AUTOINCREMENT,
	id               TEXT NOT NULL UNIQUE,
	type             TEXT NOT NULL DEFAULT 'fine_tuning' CHECK (type IN ('fine_tuning', 'scan')),
	status           TEXT NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'validating_files', 'running',
	                 'paused', 'succeeded', 'failed', 'cancelled')),
	created_at       INTEGER NOT NULL,
	started_at       INTEGER,
	finished_at      INTEGER CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
	spec             TEXT NOT NULL CHECK (json_valid(spec)),     -- all defaults resolved
	metadata         TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata)),
	is_stopping      INTEGER NOT NULL DEFAULT 0 CHECK (is_stopping IN (0, 1)), -- a worker told to stop may be there
	attempts         INTEGER NOT NULL DEFAULT 0,                 -- times claimed
	crashes          INTEGER NOT NULL DEFAULT 0,                 -- in a row without getting past crash_place
	crash_place      INTEGER NOT NULL DEFAULT 0,
	trained_tokens   INTEGER,
	estimated_finish INTEGER,
	fine_tuned_model TEXT,
	report           TEXT CHECK (report IS NULL OR json_valid(report)),
	error_code       TEXT,
	error_message    TEXT,
	error_param      TEXT
) STRICT;
CREATE INDEX jobs_queued ON jobs (seq) WHERE status = 'queued';
CREATE INDEX jobs_unfinished ON jobs (seq) WHERE finished_at IS NULL;
CREATE INDEX jobs_stopping ON jobs (seq) WHERE is_stopping = 1;

-- What a job reads. An object that an unfinished job needs is not deleted.
CREATE TABLE job_inputs (
	job_seq   INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
	role      TEXT NOT NULL CHECK (role IN ('model', 'training_file', 'validation_file', 'test_file', 'init_from')),
	object_id TEXT NOT NULL,
	PRIMARY KEY (job_seq, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_inputs_object ON job_inputs (object_id);

CREATE TABLE events (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	job_seq    INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
	created_at INTEGER NOT NULL,
	level      TEXT NOT NULL CHECK (level IN ('info', 'warn', 'error')),
	type       TEXT NOT NULL CHECK (type IN ('message', 'metrics')),
	message    TEXT NOT NULL,
	data       TEXT CHECK (data IS NULL OR json_valid(data))
) STRICT;
CREATE INDEX events_job ON events (job_seq, seq);

CREATE TABLE checkpoints (
	seq         INTEGER PRIMARY KEY AUTOINCREMENT,
	id          TEXT NOT NULL UNIQUE,
	job_seq     INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
	created_at  INTEGER NOT NULL,
	name        TEXT NOT NULL,                               -- fine_tuned_model_checkpoint
	step_number INTEGER NOT NULL,
	metrics     TEXT NOT NULL CHECK (json_valid(metrics)),
	UNIQUE (job_seq, step_number)
) STRICT;

-- What a job made, as its worker said and the server checked.
CREATE TABLE artifacts (
	job_seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
	path    TEXT NOT NULL,
	bytes   INTEGER NOT NULL,
	sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
	PRIMARY KEY (job_seq, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT NOT NULL UNIQUE,
	created_at INTEGER NOT NULL,
	filename   TEXT NOT NULL,
	purpose    TEXT NOT NULL CHECK (purpose IN ('fine-tune', 'fine-tune-results', 'user_data')),
	bytes      INTEGER NOT NULL CHECK (bytes >= 0),
	sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
	job_id     TEXT
) STRICT;
CREATE INDEX files_job ON files (job_id) WHERE job_id IS NOT NULL;

CREATE TABLE models (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT,
	id         TEXT NOT NULL UNIQUE,
	created_at INTEGER NOT NULL,
	bytes      INTEGER NOT NULL CHECK (bytes >= 0),
	sha256     TEXT NOT NULL CHECK (length(sha256) = 64),
	job_id     TEXT                                          -- of a fine-tuned model
) STRICT;

CREATE TABLE model_files (
	model_seq INTEGER NOT NULL REFERENCES models (seq) ON DELETE CASCADE,
	path      TEXT NOT NULL,
	bytes     INTEGER NOT NULL CHECK (bytes >= 0),
	sha256    TEXT NOT NULL CHECK (length(sha256) = 64),
	PRIMARY KEY (model_seq, path)
) STRICT, WITHOUT ROWID;
