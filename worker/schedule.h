/*
 * schedule: the training runs of a job, in their order.
 *
 *   KIND        PHASE        RUNS
 *   undefended  undefended   one for each seed with compare_undefended; mode auto needs the first seed's anyway
 *   search      search       PATH_LOOKS of the first seed, in mode auto
 *   defended    train        one for each seed; in mode auto the first seed's is the look that was chosen
 *
 * Runs are numbered from 0. What a run is follows from the spec and from the looks so far: a job that goes on
 * from a checkpoint finds the same runs. Pure functions.
 */
#ifndef OBLIVIATE_SCHEDULE_H
#define OBLIVIATE_SCHEDULE_H

#include "common/spec.h"
#include "worker/train/path.h"

enum task_kind { TASK_UNDEFENDED, TASK_SEARCH, TASK_DEFENDED, TASK_KINDS };

struct schedule {
	int seeds;
	int undefended; /* runs */
	bool is_auto;
};

/* One run. */
struct task {
	enum task_kind kind;
	int seed;	 /* index into the job's seeds */
	double strength; /* factor on amplify and attention */
	int place;	 /* among the runs of its kind, from 0; in mode auto defended runs count from 1 */
};

struct schedule schedule_of(const struct spec *spec);
int64_t schedule_seed(const struct spec *spec, int index);

/* All runs of the job. */
int schedule_runs(const struct schedule *schedule);
/* Runs that a phase counts; the chosen look counts as the first defended run. */
int schedule_runs_of(const struct schedule *schedule, enum task_kind kind);

/* false: there is no such run, the job is trained. Looks of earlier runs must be in *path. */
bool schedule_task(struct task *out, const struct schedule *schedule, const struct path *path, int run);

/* Numbers of a seed's runs; the undefended one is -1 where it is not trained. After the search. */
int schedule_undefended(const struct schedule *schedule, int seed);
int schedule_defended(const struct schedule *schedule, const struct path *path, int seed);
/* Factor on amplify and attention of what is exported. After the search. */
double schedule_strength(const struct schedule *schedule, const struct path *path);

#endif
