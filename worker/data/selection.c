#include "worker/data/dataset.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/rng.h"

/* How many rows of each class there are, and how many of them to take. */
struct quota {
	int rows, take;
	int take_min, take_max;
	double exact; /* share * rows */
};

static int selection_new(struct selection *out, int n, struct err *err)
{
	*out = (struct selection){0, malloc(((size_t)n + 1) * sizeof(out->row[0]))};
	return out->row == NULL ? err_nomem(err) : 0;
}

void selection_done(struct selection *selection)
{
	free(selection->row);
	*selection = (struct selection){0};
}

int selection_all(struct selection *out, const struct dataset *data, struct err *err)
{
	int rc = selection_new(out, data->n, err);

	if (rc != 0)
		return rc;
	for (int i = 0; i < data->n; i++)
		out->row[out->n++] = i;
	return 0;
}

/* Knuth's algorithm S: each row is taken with (still wanted) / (still to come), which keeps the order. */
void selection_sample(struct selection *selection, int max, uint64_t seed)
{
	uint64_t key = rng_key(seed, RNG_SAMPLE);
	int n = selection->n, taken = 0;

	for (int i = 0; i < n; i++)
		if (rng_below(key, (uint64_t)i, (uint32_t)(n - i)) < (uint32_t)(MAX(max - taken, 0)))
			selection->row[taken++] = selection->row[i];
	selection->n = taken;
}

/* Change the class whose take is farthest below (by 1) or above (by -1) its exact share; false: none may. */
static bool adjust(struct quota *quota, int by)
{
	struct quota *best = NULL;

	for (struct quota *q = quota; q < quota + DATASET_CLASSES_MAX; q++) {
		if (by > 0 ? q->take >= q->take_max : q->take <= q->take_min)
			continue;
		if (best == NULL || by * (q->exact - q->take) > by * (best->exact - best->take))
			best = q;
	}
	if (best != NULL)
		best->take += by;
	return best != NULL;
}

/* Largest remainders, within one row at least of each class that has two, and never the last row of one. */
static void set_quotas(struct quota quota[DATASET_CLASSES_MAX], const struct dataset *data,
	const struct selection *from, double share)
{
	long wanted = lround(share * from->n), total = 0;

	memset(quota, 0, DATASET_CLASSES_MAX * sizeof(quota[0]));
	for (int i = 0; i < from->n; i++)
		quota[data->row[from->row[i]].label].rows++;
	for (struct quota *q = quota; q < quota + DATASET_CLASSES_MAX; q++) {
		q->exact = share * q->rows;
		q->take_min = share > 0 && q->rows >= 2;
		q->take_max = MAX(q->rows - 1, 0);
		q->take = MAX(q->take_min, MIN((int)floor(q->exact), q->take_max));
		total += q->take;
	}
	for (; total < wanted && adjust(quota, 1); total++)
		;
	for (; total > wanted && adjust(quota, -1); total--)
		;
}

/*
 * Mark quota->take of the class's rows: algorithm S again, over the class's rows in order. is_taken has a
 * byte for each row of from.
 */
static void mark_class(bool *is_taken, const struct quota *quota, int label, const struct dataset *data,
	const struct selection *from, uint64_t key)
{
	int left = quota->rows, wanted = quota->take;

	for (int i = 0; i < from->n; i++) {
		if (data->row[from->row[i]].label != label)
			continue;
		is_taken[i] = rng_below(key, (uint64_t)left, (uint32_t)left) < (uint32_t)wanted;
		wanted -= is_taken[i];
		left--;
	}
}

int selection_split(struct selection *kept, struct selection *taken, const struct dataset *data,
	const struct selection *from, double share, uint64_t seed, struct err *err)
{
	struct quota quota[DATASET_CLASSES_MAX];
	uint64_t key = rng_key(seed, RNG_SPLIT);
	bool *is_taken = calloc((size_t)from->n + 1, sizeof(*is_taken));
	int rc = is_taken == NULL ? err_nomem(err) : 0;

	*kept = *taken = (struct selection){0};
	if (rc == 0)
		rc = selection_new(kept, from->n, err);
	if (rc == 0)
		rc = selection_new(taken, from->n, err);
	if (rc != 0) {
		selection_done(kept);
		free(is_taken);
		return rc;
	}
	set_quotas(quota, data, from, share);
	for (int label = 0; label < DATASET_CLASSES_MAX; label++)
		if (quota[label].take > 0)
			mark_class(is_taken, &quota[label], label, data, from, rng_key(key, (uint64_t)label));
	for (int i = 0; i < from->n; i++) {
		struct selection *part = is_taken[i] ? taken : kept;

		part->row[part->n++] = from->row[i];
	}
	free(is_taken);
	return 0;
}
