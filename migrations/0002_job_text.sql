-- What makes a page of 100 jobs among 100,000 quick.

-- The part of a job's object that never changes (its spec as the interface shows it), as text. Null is what an older
-- version wrote, or what a migration that changes the fields of a job has emptied; it is then made anew at each reading.
ALTER TABLE jobs ADD COLUMN view TEXT;

-- Lists are filtered by metadata.
CREATE TABLE job_metadata (
	key     TEXT NOT NULL,
	value   TEXT NOT NULL,
	job_seq INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
	PRIMARY KEY (key, value, job_seq)
) STRICT, WITHOUT ROWID;
INSERT INTO job_metadata (key, value, job_seq)
	SELECT pair.key, pair.value, jobs.seq FROM jobs, json_each(jobs.metadata) AS pair WHERE pair.type = 'text';
