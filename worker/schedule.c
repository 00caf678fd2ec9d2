#include "worker/schedule.h"

struct schedule schedule_of(const struct spec *spec)
{
	bool is_defended = spec->defense.present;
	struct schedule s = {
		.seeds = MAX(spec->seeds.n, 1), .is_auto = is_defended && spec->defense.mode == SPEC_AUTO};

	if (is_defended && spec->evaluation.compare_undefended)
		s.undefended = s.seeds;
	else if (s.is_auto)
		s.undefended = 1;
	return s;
}

int64_t schedule_seed(const struct spec *spec, int index)
{
	return spec->seeds.n > 0 ? spec->seeds.seed[index] : spec->seed;
}

static int looks(const struct schedule *s)
{
	return s->is_auto ? PATH_LOOKS : 0;
}

int schedule_runs(const struct schedule *s)
{
	return s->undefended + looks(s) + s->seeds - s->is_auto;
}

int schedule_runs_of(const struct schedule *s, enum task_kind kind)
{
	const int runs[TASK_KINDS] = {s->undefended, looks(s), s->seeds};

	return runs[kind];
}

double schedule_strength(const struct schedule *s, const struct path *path)
{
	return s->is_auto ? path_strength(path->look[path_chosen(path)].point) : 1;
}

bool schedule_task(struct task *out, const struct schedule *s, const struct path *path, int run)
{
	int look = run - s->undefended, defended = look - looks(s) + s->is_auto;

	if (run >= schedule_runs(s))
		return false;
	if (look < 0)
		*out = (struct task){.kind = TASK_UNDEFENDED, .seed = run, .place = run};
	else if (look < looks(s))
		*out = (struct task){
			.kind = TASK_SEARCH, .strength = path_strength(path_next(path)), .place = look};
	else
		*out = (struct task){.kind = TASK_DEFENDED,
			.seed = defended,
			.strength = schedule_strength(s, path),
			.place = defended};
	return true;
}

int schedule_undefended(const struct schedule *s, int seed)
{
	return seed < s->undefended ? seed : -1;
}

int schedule_defended(const struct schedule *s, const struct path *path, int seed)
{
	if (!s->is_auto)
		return s->undefended + seed;
	return s->undefended + (seed == 0 ? path_chosen(path) : PATH_LOOKS - 1 + seed);
}
