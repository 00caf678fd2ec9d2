/*
 * path: how strong the defence may be before it costs more accuracy than the job allows.
 *
 *   POINT      0   1   2   3   4   5   6  7   8  9  10 11  12 13   14
 *   STRENGTH  .09 1/8 .18 1/4 .35 1/2 .71 1 1.41 2 2.8  4 5.7  8 11.3    factor on the job's amplify and attention
 *
 * Each look is a whole training run at one point, compared on clean held-out rows with the undefended run. The
 * search halves the path: a look within the budget moves it to stronger points, one beyond to weaker ones, so
 * that PATH_LOOKS looks single out the strongest point within the budget. Points that follow each other differ
 * by the root of two: with a factor of two, an attack's success was .93 at one point and .23 at the next.
 *
 * A look is within the budget when its drop, the share of rows that only the undefended run gets right less
 * those that only this run gets right, is at most the budget. The bound beside it is the upper end of the drop's
 * one-sided 95 % interval over rows, after Agresti and Min (2005): half a row is added to each of the
 * four cells of the paired table, so that it holds for few differing rows as well. It is not corrected for the
 * choice among looks; the drop on the test rows is the one that no choice has touched.
 *
 * Pure functions of integers; nothing here trains, allocates or fails.
 */
#ifndef OBLIVIATE_PATH_H
#define OBLIVIATE_PATH_H

#include <stdbool.h>
#include <stdint.h>

enum { PATH_POINTS = 15, PATH_LOOKS = 4 };

/* One run against the undefended one. */
struct path_look {
	int point;
	int rows, right; /* compared; that this run gets right */
	int lost, won;	 /* rows that only the undefended run, or only this one, gets right */
};

/* Zero and a budget is the start. */
struct path {
	double budget;
	int n;
	struct path_look look[PATH_LOOKS];
};

struct path_verdict {
	double accuracy, drop, bound;
	bool is_within; /* drop <= budget */
	int64_t needed_rows; /* so that the bound lies no more than the budget above the drop; -1: no number does */
};

/* 0 <= point < PATH_POINTS. */
double path_strength(int point);

/* The point of the next look, -1 when the search is over. */
int path_next(const struct path *path);

/* What path_next asked for: predictions [rows] of the undefended run and of the one at that point. */
void path_add(struct path *path, const int *truth, const int *undefended, const int *defended, int rows);

struct path_verdict path_judge(const struct path *path, int look);

/*
 * The number of the look that the job takes: the strongest within the budget. Where none is, what costs is not the weights
 * but the comparison with a lucky run, or any defence at all: then the strongest that costs at most the budget more than the
 * cheapest. After the search.
 */
int path_chosen(const struct path *path);

#endif
