/*
 * bound: one-sided confidence bounds on rates and on the difference of two paired rates.
 *
 *   rate   Clopper and Pearson (1934): exact. The upper bound is the p at which `count` or fewer events have
 *          probability alpha, the lower one the p at which `count` or more have it. Whatever the true rate, a bound misses it
 *          with probability alpha at most.
 *   drop   Tango's score interval (1998) for the difference of paired proportions, with a continuity correction of
 *          half a row towards caution. The bound is the d at which
 *
 *              (lost - won - n d +- 1/2) / sqrt(n (2 q + d - d^2)) = -+z
 *
 *          where q is the likeliest share of won rows given d: the larger root of
 *          2 n q^2 + (d (2 n - lost + won) - lost - won) q - won d (1 - d) = 0.
 *   tail   of Student's t distribution, for a further value beside a sample's mean and deviation
 *
 * Counts may be fractions: a bound is then that of the continuous extension, which needed numbers of rows are
 * searched with. Each bound holds alone at 1 - alpha; several hold together where each takes its part of alpha.
 *
 * Pure functions; nothing here allocates or fails. Cost: some microseconds.
 */
#ifndef OBLIVIATE_COMMON_BOUND_H
#define OBLIVIATE_COMMON_BOUND_H

struct bound {
	double low, high;
};

/* 0 <= count <= total, 0 < total <= 1e9, 0 < alpha <= .5. */
struct bound bound_rate(double count, double total, double alpha);

/* Share of rows lost less share won: 0 <= lost, won; lost + won <= rows, 0 < rows <= 1e9. Within [-1, 1]. */
struct bound bound_drop(double lost, double won, double rows, double alpha);

/* P(T >= t) with so many degrees of freedom, 0 < freedom <= 1e9; small ones are exact as well. */
double bound_student_tail(double t, double freedom);

#endif
