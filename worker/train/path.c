#include "worker/train/path.h"

#include <math.h>

#include "common/base.h"

static const double z = 1.644854; /* 95 % quantile of the normal distribution */

double path_strength(int point)
{
	int steps = point - PATH_POINTS / 2;

	return exp2(steps / 2.0);
}

static bool is_within(const struct path *path, const struct path_look *look)
{
	return look->lost - look->won <= path->budget * look->rows;
}

int path_next(const struct path *path)
{
	int within = -1, beyond = PATH_POINTS;

	for (int i = 0; i < path->n; i++)
		if (is_within(path, &path->look[i]))
			within = path->look[i].point;
		else
			beyond = path->look[i].point;
	return beyond - within > 1 ? (within + beyond) / 2 : -1;
}

void path_add(struct path *path, const int *truth, const int *undefended, const int *defended, int rows)
{
	struct path_look look = {.point = path_next(path), .rows = rows};

	for (int i = 0; i < rows; i++) {
		bool was_right = undefended[i] == truth[i], is_right = defended[i] == truth[i];

		look.right += is_right;
		look.lost += was_right && !is_right;
		look.won += is_right && !was_right;
	}
	path->look[path->n++] = look;
}

/* n rows of variance v each: z sqrt(v / n) <= budget. */
static int64_t rows_for(double variance, double budget)
{
	return budget > 0 ? (int64_t)ceil(z * z * variance / (budget * budget)) : -1;
}

struct path_verdict path_judge(const struct path *path, int number)
{
	const struct path_look *look = &path->look[number];
	double n = look->rows + 2, lost = look->lost + .5, won = look->won + .5;
	double middle = (lost - won) / n, variance = (lost + won) / n - middle * middle;

	return (struct path_verdict){.accuracy = (double)look->right / look->rows,
		.drop = (double)(look->lost - look->won) / look->rows,
		.bound = middle + z * sqrt(variance / n),
		.is_within = is_within(path, look),
		.needed_rows = rows_for(variance, path->budget)};
}

/* Rows lost on balance by the look that loses the fewest. */
static int cheapest(const struct path *path)
{
	int least = path->look[0].lost - path->look[0].won;

	for (int i = 1; i < path->n; i++)
		least = MIN(least, path->look[i].lost - path->look[i].won);
	return least;
}

int path_chosen(const struct path *path)
{
	double budget = path->budget * path->look[0].rows, least = cheapest(path);
	double most = least <= budget ? budget : least + budget;
	int chosen = -1;

	for (int i = 0; i < path->n; i++) {
		const struct path_look *look = &path->look[i];

		if (look->lost - look->won <= most && (chosen < 0 || look->point > path->look[chosen].point))
			chosen = i;
	}
	return chosen;
}
