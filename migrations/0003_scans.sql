-- Scans are jobs of a type of their own and are listed by themselves; there are few of them among many jobs.

CREATE INDEX jobs_scans ON jobs (seq) WHERE type = 'scan';
