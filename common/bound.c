#include "common/bound.h"

#include <float.h>
#include <math.h>

#include "common/base.h"

/* As many halvings as take an interval of length 2 below a double's precision. */
enum { HALVINGS = 56, FRACTION_TERMS = 100000 };

/* Where a function that rises from below zero at `low` to above it at `high` crosses. */
static double crossing(double (*of)(const double *arg, double x), const double *arg, double low, double high)
{
	for (int i = 0; i < HALVINGS; i++) {
		double middle = (low + high) / 2;

		if (of(arg, middle) < 0)
			low = middle;
		else
			high = middle;
	}
	return (low + high) / 2;
}

/* --- rates ------------------------------------------------------------------------------------------ */

static double log_gamma(double x)
{
	int sign;

	return lgamma_r(x, &sign);
}

static double away_from_zero(double x)
{
	return fabs(x) < DBL_MIN ? DBL_MIN : x;
}

/* The m-th numerator of the continued fraction of the incomplete beta function (DLMF 8.17.22). */
static double numerator(double a, double b, double x, int m)
{
	int k = m / 2;

	if (m % 2 == 0)
		return k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
	return -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1));
}

/* 1 / (1 + n1 / (1 + n2 / (1 + ...))) after Lentz; converges fast for x < (a + 1) / (a + b + 2). */
static double fraction(double a, double b, double x)
{
	double c = 1, d = 1 / away_from_zero(1 + numerator(a, b, x, 1)), value = d;

	for (int m = 2; m < FRACTION_TERMS; m++) {
		double n = numerator(a, b, x, m), step;

		d = 1 / away_from_zero(1 + n * d);
		c = away_from_zero(1 + n / c);
		step = c * d;
		value *= step;
		if (fabs(step - 1) < 4 * DBL_EPSILON)
			break;
	}
	return value;
}

/* I_x(a, b), 0 < x < 1: the probability of a or more of a + b - 1 events of rate x. */
static double incomplete_beta(double a, double b, double x)
{
	double front = exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * log(x) + b * log1p(-x));

	return x < (a + 1) / (a + b + 2) ? front * fraction(a, b, x) / a
					 : 1 - front * fraction(b, a, 1 - x) / b;
}

double bound_student_tail(double t, double freedom)
{
	double one_side = t == 0 ? .5 : incomplete_beta(freedom / 2, .5, freedom / (freedom + t * t)) / 2;

	return t < 0 ? 1 - one_side : one_side;
}

/* arg: a, b, and the probability that is looked for. */
static double beyond(const double *arg, double x)
{
	return incomplete_beta(arg[0], arg[1], x) - arg[2];
}

/* The x with I_x(a, b) = p. */
static double beta_quantile(double a, double b, double p)
{
	const double arg[] = {a, b, p};

	return crossing(beyond, arg, 0, 1);
}

struct bound bound_rate(double count, double total, double alpha)
{
	double rest = total - count;

	/* count or more has probability alpha at the lower bound; count or fewer, so 1 - I, at the upper one. The upper is
	 * taken as one less the lower bound of the rest, which keeps the small tail exact. */
	return (struct bound){.low = count > 0 ? beta_quantile(count, rest + 1, alpha) : 0,
		.high = rest > 0 ? 1 - beta_quantile(rest, count + 1, alpha) : 1};
}

/* --- paired difference ------------------------------------------------------------------------------ */

/* arg: alpha. */
static double tail_left(const double *arg, double z)
{
	return arg[0] - erfc(z / sqrt(2)) / 2;
}

/* The z that a normal number exceeds with probability alpha <= .5. */
static double normal_quantile(double alpha)
{
	return crossing(tail_left, &alpha, 0, 40);
}

/* The likeliest share of won rows where the difference is d. */
static double won_share(double lost, double won, double n, double d)
{
	double b = d * (2 * n - lost + won) - lost - won, c = -won * d * (1 - d);
	double q = (sqrt(fmax(b * b - 8 * n * c, 0)) - b) / (4 * n);

	return fmax(q, fmax(0, -d));
}

/*
 * How far d lies above what was seen, less what z allows. arg: lost, won, rows, z. Rises with d; both bounds come from
 * it: the lower one is the upper one of the swapped difference, turned round.
 */
static double drop_excess(const double *arg, double d)
{
	double lost = arg[0], won = arg[1], n = arg[2], z = arg[3];
	double variance = n * (2 * won_share(lost, won, n, d) + d - d * d);

	return n * d - (lost - won) - .5 - z * sqrt(fmax(variance, 0));
}

static double drop_high(double lost, double won, double rows, double z)
{
	const double arg[] = {lost, won, rows, z};

	return crossing(drop_excess, arg, (lost - won) / rows, 1);
}

struct bound bound_drop(double lost, double won, double rows, double alpha)
{
	double z = normal_quantile(alpha);

	return (struct bound){-drop_high(won, lost, rows, z), drop_high(lost, won, rows, z)};
}
