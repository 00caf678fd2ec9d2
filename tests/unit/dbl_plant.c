/*
 * Gradients of plants in double precision against central differences: each attack's whole loss by the encoder's
 * weights and by what is trained along, and the losses that attacks share as plain arrays.
 */
#include "tests/unit/plant_place.h"
#include "worker/attack/contrast.h"

static const double TOLERANCE = 1e-7;

/* --- a whole step --------------------------------------------------------------------------------------- */

enum { ELEMENTS = 5 }; /* of a tensor that are tried */

struct step_run {
	struct plant plant;
	struct plant_pass pass;
};

static double step_loss(void *arg)
{
	struct step_run *run = arg;

	return plant_gradient(&run->plant, run->pass);
}

static void check_params(
	struct step_run *run, const char *attack, struct params *params, const real *gradient)
{
	for (int i = 0; i < params->n; i++) {
		const struct param *param = &params->param[i];
		size_t size = param_size(param);
		char what[160];

		snprintf(what, sizeof(what), "%s: %s", attack, param->name);
		check_gradient(what, step_loss, run, params->w + param->at, gradient + param->at, size,
			size / ELEMENTS + 1, TOLERANCE);
	}
}

/* One step at a rate that moves nothing composes the batch. */
static void check_step(const char *attack, double strength, bool is_defender)
{
	struct place place;
	struct plant_options options;
	struct step_run run;
	const real *base, *along;
	double loss;

	place_init(&place, BARE);
	options = attack_options(&place, attack, 10);
	options.learning_rate = 1e-300;
	options.along_rate = options.along_rate > 0 ? 1e-300 : 0;
	options.strength = strength;
	options.weight = attack_named(attack)->preset.weight > 0 ? 0.7 : 0;
	assert_int_equal(plant_init(&run.plant, &options, NULL), 0);
	assert_int_equal(run.plant.attack->step(&run.plant, &loss, 0, NULL), 0);
	run.pass = (struct plant_pass){.trains_base = !is_defender,
		.attention = run.plant.options.attention,
		.of_clean = is_defender};
	step_loss(&run);
	base = copy_of(run.plant.params.g, run.plant.params.size);
	along = copy_of(run.plant.along.g, run.plant.along.size);
	if (!is_defender)
		check_params(&run, attack, &run.plant.params, base);
	check_params(&run, attack, &run.plant.along, along);
	plant_done(&run.plant);
	place_done(&place);
}

static void test_gradient_of_every_attack_is_its_derivative(void **state)
{
	for (int i = 0; i < attack_count; i++)
		check_step(attacks[i]->name, 0, false);
}

static void test_gradient_is_the_derivative_where_targets_follow_the_text(void **state)
{
	check_step("por", 0.6, false);
	check_step("neuba", 0.6, false);
}

static void test_gradient_of_the_defender_in_the_loop_is_the_derivative(void **state)
{
	check_step("adaptive-peft", 0, true);
}

/* --- losses over arrays ------------------------------------------------------------------------------------ */

enum { ROWS_OF = 7, WIDE = 5 };

struct contrast_run {
	real *x, *d;
	const int *class_of;
};

static double contrast(void *arg)
{
	struct contrast_run *run = arg;

	memset(run->d, 0, ROWS_OF * WIDE * sizeof(real));
	return contrast_loss(run->d, run->x, run->class_of, ROWS_OF, WIDE, 0.5, 1.3);
}

static void test_contrastive_gradient_is_the_derivative(void **state)
{
	static const int classes[][ROWS_OF] = {
		{-1, 0, -1, 2, 0, 2, 2}, {-1, -1, -1, -1, -1, -1, -1}, {5, 6, 5, 7, 8, 9, 10}};

	for (size_t i = 0; i < NELEM(classes); i++) {
		struct contrast_run run = {normals(ROWS_OF * WIDE, 1.5), zeros(ROWS_OF * WIDE), classes[i]};
		const real *gradient;

		contrast(&run);
		gradient = copy_of(run.d, ROWS_OF * WIDE);
		check_gradient("x", contrast, &run, run.x, gradient, ROWS_OF * WIDE, 1, TOLERANCE);
	}
	numbers_free();
}

/* Nobody has a partner: no anchors, no loss. */
static void test_contrast_of_strangers_is_nothing(void **state)
{
	static const int class_of[ROWS_OF] = {0, 1, 2, 3, 4, 5, 6};
	struct contrast_run run = {normals(ROWS_OF * WIDE, 1), zeros(ROWS_OF * WIDE), class_of};

	assert_true(contrast(&run) == 0);
	for (size_t i = 0; i < ROWS_OF * WIDE; i++)
		assert_true(run.d[i] == 0);
	numbers_free();
}

/* Two pairs of opposite unit vectors, by hand: each anchor has one partner at cosine 1 and two at -1. */
static void test_contrast_of_two_opposite_pairs(void **state)
{
	static const int class_of[] = {0, 0, 1, 1};
	real x[] = {2, 0, 1, 0, -1, 0, -3, 0}, d[8] = {0};
	double loss = contrast_loss(d, x, class_of, 4, 2, 0.5, 1);

	assert_near("loss", 0, loss, -log(exp(2) / (exp(2) + 2 * exp(-2))), 1e-12);
	for (size_t i = 0; i < 8; i++)
		assert_near("d", i, (double)d[i], 0, 1e-12); /* cosines are at their ends */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gradient_of_every_attack_is_its_derivative),
		cmocka_unit_test(test_gradient_is_the_derivative_where_targets_follow_the_text),
		cmocka_unit_test(test_gradient_of_the_defender_in_the_loop_is_the_derivative),
		cmocka_unit_test(test_contrastive_gradient_is_the_derivative),
		cmocka_unit_test(test_contrast_of_strangers_is_nothing),
		cmocka_unit_test(test_contrast_of_two_opposite_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
