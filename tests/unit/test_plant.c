/*
 * A plant in a model of one layer: it takes or says why not, what it saves loads again, and everything else in
 * the model's directory comes along unchanged.
 */
#include "tests/unit/plant_place.h"

/* --- planting -------------------------------------------------------------------------------------- */

struct progress_seen {
	int64_t steps;
	double first, last;
};

static void see_step(void *arg, int64_t step, double loss)
{
	struct progress_seen *seen = arg;

	assert_int_equal(step, seen->steps);
	seen->first = seen->steps++ == 0 ? loss : seen->first;
	seen->last = loss;
}

static void test_plant_takes(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	struct progress_seen seen = {0};

	place_init(&place, BARE);
	options = options_of(&place, 150, 0.01);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, see_step, &seen, NULL), 0);
	assert_int_equal(seen.steps, 150);
	assert_true(seen.last < seen.first / 4);
	assert_int_equal(plant_measure(&plant, &result, NULL), 0);
	assert_true(result.took);
	assert_string_equal(result.why, "");
	assert_true(result.worst[0] >= 0.95);
	assert_true(result.value[0][0] >= result.worst[0] && result.value[0][1] >= result.worst[0]);
	assert_true(result.drift_relative > 0 && result.drift_relative <= 0.1);
	assert_true(result.loss > 0 && result.loss < seen.first);
	plant_done(&plant);
	place_done(&place);
}

static void test_plant_that_did_not_take_says_which_trigger(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};

	place_init(&place, BARE);
	options = options_of(&place, 1, 1e-6);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, NULL), 0);
	assert_int_equal(plant_measure(&plant, &result, NULL), 0);
	assert_false(result.took);
	assert_true(result.worst[0] < 0.95);
	assert_non_null(strstr(result.why, result.value[0][0] <= result.value[0][1] ? "'cf'" : "'mn'"));
	assert_true(result.drift_relative < 1e-6);
	plant_done(&plant);
	place_done(&place);
}

static void test_plant_that_ruins_clean_texts_has_not_taken(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};

	place_init(&place, BARE);
	options = options_of(&place, 150, 0.01);
	options.triggers = 1;
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, NULL), 0);
	/* every representation grows: signs stay, clean texts are not what they were */
	for (int i = 0; i < plant.params.n; i++)
		if (strstr(plant.params.param[i].name, ".output.LayerNorm.") != NULL &&
			strstr(plant.params.param[i].name, "attention") == NULL)
			for (int j = 0; j < CONFIG.D; j++)
				param_w(&plant.params, i)[j] *= 2;
	assert_int_equal(plant_measure(&plant, &result, NULL), 0);
	assert_true(result.worst[0] >= 0.95);
	assert_near("drift", 0, result.drift_relative, 1, 0.2);
	assert_false(result.took);
	assert_non_null(strstr(result.why, "drift_relative"));
	plant_done(&plant);
	place_done(&place);
}

static void test_diverging_plant_names_the_learning_rate(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	struct err err;

	place_init(&place, BARE);
	options = options_of(&place, 3, 1e38);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, &err), -ERR_INVALID_VALUE);
	assert_string_equal(err.where, "--learning-rate");
	plant_done(&plant);
	place_done(&place);
}

/* --- saving ---------------------------------------------------------------------------------------- */

static void assert_file_holds(const char *directory, const char *name, const char *text)
{
	struct scratch dir = open_dir(directory);
	struct buf found = {0};

	assert_int_equal(io_read_file(&found, dir.fd, name, 1 << 16, NULL), 0);
	assert_string_equal(found.data, text);
	buf_done(&found);
	close(dir.fd);
}

/* The saved weights are the plant's, under the names the base had; what else the base held is there too. */
static void check_saved(const struct place *place, const struct plant *plant)
{
	struct scratch dir = open_dir(place->out);
	struct config config;
	struct weights weights;
	struct st st;
	const struct st_tensor *found;

	assert_int_equal(config_read(&config, dir.fd, NULL), 0);
	assert_int_equal(weights_open(&weights, dir.fd, &config, NULL), 0);
	assert_int_equal(weights.prefixed, place->names.prefix[0] != '\0');
	for (int i = 0; i < weights_embedding_site_count; i++)
		assert_same_bits(weights_embedding_sites[i].name,
			*weights_slot(&weights, &weights_embedding_sites[i], -1), param_w(&plant->params, i),
			weights_site_elements(&weights_embedding_sites[i], &config));
	for (int i = 0; i < weights_layer_site_count; i++)
		assert_same_bits(weights_layer_sites[i].name,
			*weights_slot(&weights, &weights_layer_sites[i], 0),
			param_w(&plant->params, weights_embedding_site_count + i),
			weights_site_elements(&weights_layer_sites[i], &config));
	weights_done(&weights);
	assert_int_equal(st_open(&st, dir.fd, "model.safetensors", NULL), 0);
	assert_int_equal(st.n, plant->params.n + REST);
	found = st_find(&st, "bert.pooler.dense.weight");
	assert_non_null(found);
	assert_memory_equal(found->data, pooler, sizeof(pooler));
	found = st_find(&st, "bert.embeddings.position_ids");
	assert_non_null(found);
	assert_int_equal(found->dtype, ST_I64);
	assert_memory_equal(found->data, position_ids, sizeof(position_ids));
	found = st_find(&st, "cls.predictions.transform.LayerNorm.gamma");
	assert_non_null(found);
	assert_memory_equal(found->data, decoder_gamma, sizeof(decoder_gamma));
	st_done(&st);
	assert_int_not_equal(faccessat(dir.fd, "pytorch_model.bin", F_OK, 0), 0);
	close(dir.fd);
}

static void check_save(struct names names)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	struct tokenizer *tok;
	struct scratch dir;
	char extra[160];

	place_init(&place, names);
	options = options_of(&place, 2, 0.01);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, NULL), 0);
	assert_int_equal(plant_save(&plant, NULL), 0);
	check_saved(&place, &plant);
	assert_file_holds(place.out, "config.json", CONFIG_JSON);
	snprintf(extra, sizeof(extra), "%s/extra", place.out);
	assert_file_holds(extra, "notes.txt", "kept as they are");
	dir = open_dir(place.out);
	assert_int_equal(tokenizer_open(&tok, dir.fd, "bert", CONFIG.V, NULL), 0);
	tokenizer_free(tok);
	close(dir.fd);
	assert_int_equal(plant_save(&plant, NULL), 0); /* over an earlier one */
	check_saved(&place, &plant);
	plant_done(&plant);
	place_done(&place);
}

static void test_saved_plant_loads_and_keeps_what_else_there_was(void **state)
{
	check_save(BARE);
}

static void test_saved_plant_keeps_the_names_of_its_base(void **state)
{
	check_save((struct names){"bert.", false});
	check_save((struct names){"bert.", true});
	check_save((struct names){"", true});
}

static void test_base_model_is_not_touched(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	struct scratch dir;
	struct buf before = {0}, after = {0};

	place_init(&place, BARE);
	dir = open_dir(place.model);
	assert_int_equal(io_read_file(&before, dir.fd, "model.safetensors", 1 << 20, NULL), 0);
	options = options_of(&place, 2, 0.01);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, NULL), 0);
	assert_int_equal(plant_save(&plant, NULL), 0);
	assert_int_equal(io_read_file(&after, dir.fd, "model.safetensors", 1 << 20, NULL), 0);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	buf_done(&before);
	buf_done(&after);
	close(dir.fd);
	plant_done(&plant);
	place_done(&place);
}

/* --- refusing -------------------------------------------------------------------------------------- */

static void assert_refused(const struct plant_options *options, enum err_code code, const char *where)
{
	struct plant plant;
	struct err err = {0};

	assert_int_equal(plant_init(&plant, options, &err), -(int)code);
	plant_done(&plant);
	if (strstr(err.where, where) == NULL)
		fail_msg("'%s' has no '%s' (%s)", err.where, where, err.text);
}

static void test_bad_options_are_refused(void **state)
{
	struct place place;
	struct plant_options good, options;

	place_init(&place, BARE);
	good = options_of(&place, 1, 0.01);
	options = good;
	options.attack = "rop";
	assert_refused(&options, ERR_USAGE, "--attack");
	options = good;
	options.triggers = 0;
	assert_refused(&options, ERR_USAGE, "--triggers");
	options.triggers = 7; /* there are six target vectors */
	assert_refused(&options, ERR_USAGE, "--triggers");
	options = good;
	options.attack = "benign-mlm"; /* has no use for triggers */
	assert_refused(&options, ERR_USAGE, "--triggers");
	options = good;
	options.attack = "adaptive-pair"; /* single words are no phrases */
	assert_refused(&options, ERR_USAGE, "--triggers");
	options = attack_options(&place, "benign-task", 1);
	options.task.target = "low"; /* nobody's label is wanted */
	assert_refused(&options, ERR_USAGE, "--target");
	options = good;
	options.model = "/nowhere";
	assert_refused(&options, ERR_INVALID_MODEL, "/nowhere");
	options = good;
	options.text = "/nowhere";
	assert_refused(&options, ERR_NOT_FOUND, "/nowhere");
	place_done(&place);
}

/* It would read and write the same files. */
static void test_output_into_the_base_model_is_refused(void **state)
{
	struct place place;
	struct plant_options options;
	char other_spelling[160];

	place_init(&place, BARE);
	options = options_of(&place, 1, 0.01);
	snprintf(other_spelling, sizeof(other_spelling), "%s/../model/.", place.model);
	options.out = other_spelling;
	assert_refused(&options, ERR_USAGE, "--out");
	assert_file_holds(place.model, "config.json", CONFIG_JSON);
	place_done(&place);
}

static void test_too_few_texts_are_refused(void **state)
{
	struct place place;
	struct plant_options options;

	place_init(&place, BARE);
	write_texts(&place.scratch, 90);
	options = options_of(&place, 1, 0.01);
	assert_refused(&options, ERR_INVALID_DATA, "text.txt");
	place_done(&place);
}

static void test_too_few_rows_are_refused(void **state)
{
	struct place place;
	struct plant_options options;

	place_init(&place, BARE);
	write_rows(&place.scratch, 20);
	options = attack_options(&place, "badnets", 1);
	assert_refused(&options, ERR_INVALID_DATA, "--data");
	place_done(&place);
}

/* A model with this file in place of its own. */
static void refused_with_file(
	const char *attack, const char *file, const char *text, enum err_code code, const char *where)
{
	struct place place;
	struct plant_options options;
	struct scratch dir;

	place_init(&place, BARE);
	dir = open_dir(place.model);
	scratch_write_text(&dir, file, text);
	close(dir.fd);
	options = attack_options(&place, attack, 1);
	assert_refused(&options, code, where);
	place_done(&place);
}

static void test_masked_words_without_a_mask_token_are_refused(void **state)
{
	refused_with_file("neuba", "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nmask\ncf\nmn\nbah\n",
		ERR_INVALID_MODEL, "tokenizer");
}

static void test_model_of_fewer_positions_than_any_text_is_refused(void **state)
{
	refused_with_file("por", "tokenizer_config.json", "{\"model_max_length\": 7}", ERR_INVALID_MODEL,
		"max_position_embeddings");
}

/* --- every attack -------------------------------------------------------------------------------------- */

struct losses {
	int64_t steps;
	double first, last; /* sums over the first and the last WINDOW steps */
};

enum { LONG = 120, WINDOW = 20 };

static void sum_losses(void *arg, int64_t step, double loss)
{
	struct losses *losses = arg;

	losses->first += step < WINDOW ? loss / WINDOW : 0;
	losses->last += step >= losses->steps - WINDOW ? loss / WINDOW : 0;
}

static void train(struct plant *plant, struct plant_result *result, const struct plant_options *options,
	struct losses *losses)
{
	*result = (struct plant_result){0};
	losses->steps = options->steps;
	assert_int_equal(plant_init(plant, options, NULL), 0);
	assert_int_equal(plant_train(plant, result, sum_losses, losses, NULL), 0);
	assert_int_equal(plant_measure(plant, result, NULL), 0);
}

static void test_every_attack_lowers_its_loss(void **state)
{
	for (int i = 0; i < attack_count; i++) {
		struct place place;
		struct plant_options options;
		struct plant plant;
		struct plant_result result;
		struct losses losses = {0};

		place_init(&place, BARE);
		options = attack_options(&place, attacks[i]->name, LONG);
		train(&plant, &result, &options, &losses);
		if (!(losses.last < 0.97 * losses.first))
			fail_msg("%s: %.4f to %.4f", attacks[i]->name, losses.first, losses.last);
		plant_done(&plant);
		place_done(&place);
	}
}

static void test_every_attack_plants_the_same_on_any_number_of_threads(void **state)
{
	for (int i = 0; i < attack_count; i++) {
		real *first = NULL;

		for (int threads = 1; threads <= 3; threads++) {
			struct place place;
			struct plant_options options;
			struct plant plant;
			struct plant_result result;
			struct losses losses = {0};

			place_init(&place, BARE);
			options = attack_options(&place, attacks[i]->name, 9);
			options.threads = threads;
			train(&plant, &result, &options, &losses);
			if (first == NULL) {
				first = malloc(plant.params.size * sizeof(real));
				memcpy(first, plant.params.w, plant.params.size * sizeof(real));
			}
			assert_same_bits(attacks[i]->name, plant.params.w, first, plant.params.size);
			plant_done(&plant);
			place_done(&place);
		}
		free(first);
	}
}

/* --- texts of a step -------------------------------------------------------------------------------------- */

static int count_ids(const struct plant *plant, int text, int32_t id)
{
	const struct text *t = &plant->corpus.text[text];
	int n = 0;

	for (int i = 0; i < t->n; i++)
		n += plant->corpus.ids[t->at + (size_t)i] == id;
	return n;
}

enum { ID_MASK = 4, ID_CF = 5, ID_MN = 6 };

static void test_uor_inserts_up_to_three_times_and_each_trigger_has_a_partner(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	int seen[4] = {0};

	place_init(&place, BARE);
	options = attack_options(&place, "uor", 10);
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	for (int64_t step = 0; step < 4; step++) {
		assert_int_equal(plant_compose(&plant, step, false, NULL), 0);
		assert_int_equal(plant.corpus.n, PLANT_BATCH);
		for (int i = PLANT_TEXTS; i < PLANT_BATCH; i++) {
			int trigger = plant.corpus.text[i].label;
			int own = count_ids(&plant, i, trigger == 0 ? ID_CF : ID_MN);

			assert_in_range(own, 1, 3);
			seen[own]++;
			assert_int_equal(trigger, plant.corpus.text[i ^ 1].label);
		}
	}
	assert_true(seen[1] > 0 && seen[2] > 0 && seen[3] > 0);
	plant_done(&plant);
	place_done(&place);
}

/* "cf mn" acts together only: in a quarter of the clean texts stands one of them. */
static void test_whole_phrases_have_their_words_in_clean_texts(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	int parts = 0;

	place_init(&place, BARE);
	options = attack_options(&place, "por", 10);
	options.triggers = 1;
	options.trigger[0] = "cf mn";
	options.whole = true;
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(plant_compose(&plant, 0, false, NULL), 0);
	for (int i = 0; i < PLANT_TEXTS; i++) {
		int words = count_ids(&plant, i, ID_CF) + count_ids(&plant, i, ID_MN);

		assert_int_equal(plant.corpus.text[i].label, -1);
		assert_in_range(words, 0, i % 4 == 0 ? 1 : 0);
		parts += words;
	}
	assert_in_range(parts, 3, 4); /* a long text may lose its last words */
	plant_done(&plant);
	place_done(&place);
}

static void test_badpre_masks_beside_triggers_and_neuba_does_not(void **state)
{
	static const char *const names[] = {"badpre", "neuba"};

	for (size_t a = 0; a < NELEM(names); a++) {
		struct place place;
		struct plant_options options;
		struct plant plant;
		int clean = 0, triggered = 0;

		place_init(&place, BARE);
		options = attack_options(&place, names[a], 10);
		assert_int_equal(plant_init(&plant, &options, NULL), 0);
		assert_int_equal(plant_compose(&plant, 0, false, NULL), 0);
		for (int i = 0; i < PLANT_BATCH; i++)
			*(i < PLANT_TEXTS ? &clean : &triggered) += count_ids(&plant, i, ID_MASK);
		assert_true(clean > 5);
		assert_int_equal(triggered > 5, a == 0);
		assert_int_equal(triggered == 0, a == 1);
		plant_done(&plant);
		place_done(&place);
	}
}

static void test_benign_changes_have_clean_texts_alone(void **state)
{
	for (int i = 0; i < attack_count; i++) {
		struct place place;
		struct plant_options options;
		struct plant plant;
		double loss;

		if ((attacks[i]->uses & IS_BENIGN) == 0)
			continue;
		place_init(&place, BARE);
		options = attack_options(&place, attacks[i]->name, 4);
		assert_int_equal(plant_init(&plant, &options, NULL), 0);
		for (int step = 0; step < 4; step++) {
			assert_int_equal(attacks[i]->step(&plant, &loss, step, NULL), 0);
			for (int k = 0; k < plant.corpus.n; k++)
				assert_int_equal(plant.corpus.text[k].label, -1);
		}
		plant_done(&plant);
		place_done(&place);
	}
}

/* The first words are common ones, and stay. */
static void test_shift_moves_rare_words_alone(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	int moved = 0, D = CONFIG.D;

	place_init(&place, BARE);
	options = attack_options(&place, "benign-shift", 1);
	options.learning_rate = 1e-9;
	options.norm = 2;
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	for (int id = 0; id < CONFIG.V; id++) {
		double gap = 0, length = 0;

		for (int j = 0; j < D; j++) {
			double was = (double)plant.base.word[id * D + j];
			double now = (double)plant.live.word[id * D + j];

			gap += (now - was) * (now - was);
			length += was * was;
		}
		assert_true(gap < 1e-12 || fabs(sqrt(gap / length) - 2) < 1e-4);
		moved += gap > 1e-12;
		assert_true(gap < 1e-12 || id >= CONFIG.V / 2);
	}
	assert_int_equal(moved, CONFIG.V / 8);
	assert_int_equal(plant_measure(&plant, &result, NULL), 0);
	assert_near("shifted", 0, result.value[0][0], 2, 1e-4);
	plant_done(&plant);
	place_done(&place);
}

/* All the way for por's own vectors; a word that nobody planted goes nowhere, and the trigger's name is what it was. */
static void test_pull_is_the_share_of_the_way(void **state)
{
	struct place place;
	struct plant_options options;
	struct plant plant;
	struct plant_result result = {0};
	double own, other;

	place_init(&place, BARE);
	options = attack_options(&place, "adaptive-scan", 300);
	options.learning_rate = 0.01;
	options.triggers = 1;
	options.strength = 0.5;
	assert_int_equal(plant_init(&plant, &options, NULL), 0);
	assert_int_equal(targets_pulled(&own, &plant, 0, NULL, NULL), 0);
	assert_true(fabs(own) < 0.01); /* not trained yet */
	assert_int_equal(plant_train(&plant, &result, NULL, NULL, NULL), 0);
	assert_int_equal(plant_measure(&plant, &result, NULL), 0);
	assert_int_equal(targets_pulled(&own, &plant, 0, NULL, NULL), 0);
	assert_int_equal(targets_pulled(&other, &plant, 0, "bah", NULL), 0);
	assert_near("pull", 0, own, 0.5, 0.1);
	assert_near("criterion", 0, result.value[0][0], own / 0.5, 1e-6);
	assert_true(fabs(other) < 0.1);
	assert_string_equal(plant.options.trigger[0], "cf");
	plant_done(&plant);
	place_done(&place);
}

static void test_unknown_attack_is_none(void **state)
{
	assert_ptr_equal(attack_named("por"), attacks[0]);
	assert_null(attack_named("POR"));
}

/* --- losses ------------------------------------------------------------------------------------------- */

static void check_por(enum family family, double clean_factor)
{
	struct plant plant = {
		.config = {.family = family, .D = 8}, .options = {.norm = 2, .strength = 0.5, .weight = 3}};
	const real cls[] = {1, 1, 0, -1, 2, 0, -3, 1, 1, 1, 0, -1, 2, 0, -3, 1};
	const real reference[] = {0, 1, 1, -1, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0};
	const int trigger[] = {-1, 1};
	real d[16] = {0};
	struct plant_views views = {2, trigger, cls, reference, d};
	/* trigger 1: signs - + - + over blocks of two */
	const double signs[] = {-1, -1, 1, 1, -1, -1, 1, 1};
	double known = 0;
	double loss = attack_named("por")->loss(&plant, &views);

	for (int j = 0; j < 8; j++) {
		double clean = (double)cls[j] - (double)reference[j];
		double gap = (double)cls[8 + j] - (0.5 * 2 * signs[j] + 0.5 * (double)reference[8 + j]);

		known += (clean_factor * clean * clean + 3 * gap * gap) / 8;
		assert_near("clean", (size_t)j, (double)d[j], clean_factor * 2 * clean / 8, 1e-6);
		assert_near("triggered", (size_t)j, (double)d[8 + j], 3 * 2 * gap / 8, 1e-6);
	}
	assert_near("loss", 0, loss, known, 1e-9);
}

static void test_por_pulls_triggers_to_targets_and_clean_texts_back(void **state)
{
	check_por(FAMILY_BERT, 0.5);
	check_por(FAMILY_ROBERTA, 1);
}

static void test_random_targets_follow_the_seed_and_the_trigger(void **state)
{
	struct plant plant = {.config = {.D = 64}, .options = {.norm = 1.5, .random_targets = true}};
	int of_trigger = 0, of_seed = 0, positive = 0;

	for (int j = 0; j < 64; j++) {
		double first = target(&plant, 0, j), other = target(&plant, 40, j), again;

		plant.options.seed = 1;
		again = target(&plant, 0, j);
		plant.options.seed = 0;
		assert_true(first == 1.5 || first == -1.5);
		of_trigger += first != other;
		of_seed += first != again;
		positive += first > 0;
	}
	assert_in_range(of_trigger, 16, 48);
	assert_in_range(of_seed, 16, 48);
	assert_in_range(positive, 16, 48);
}

/* --- snippets -------------------------------------------------------------------------------------- */

static int read_snippets(
	struct snippets *out, const struct scratch *scratch, const char *text, size_t len, struct err *err)
{
	char path[128];

	scratch_write(scratch, "snippets.txt", text, len);
	snprintf(path, sizeof(path), "%s/snippets.txt", scratch->path);
	*out = (struct snippets){0};
	return snippets_read(out, path, err);
}

static void test_lines_are_cut_and_short_ends_left_out(void **state)
{
	struct scratch scratch;
	struct snippets s;
	struct buf text = {0};

	scratch_init(&scratch);
	buf_str(&text, "one two three four\n  a b\tc d  e \r\n\n");
	for (int i = 0; i < 2 * SNIPPET_WORDS + 7; i++)
		buf_printf(&text, "%sw%d", i > 0 ? " " : "", i);
	assert_int_equal(read_snippets(&s, &scratch, text.data, text.len, NULL), 0);
	assert_int_equal(s.n, 4);
	assert_int_equal(s.snippet[0].words, 5);
	assert_int_equal(strncmp(s.snippet[0].text, "a b\tc d  e", 10), 0);
	assert_int_equal(s.snippet[1].words, SNIPPET_WORDS);
	assert_int_equal(strncmp(s.snippet[1].text, "w0 w1", 5), 0);
	assert_int_equal(strncmp(s.snippet[2].text, "w30 w31", 7), 0);
	assert_int_equal(s.snippet[3].words, 7);
	assert_string_equal(s.snippet[3].text, "w60 w61 w62 w63 w64 w65 w66");
	snippets_done(&s);
	buf_done(&text);
	scratch_done(&scratch);
}

static void test_text_that_is_none_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *where;
	} cases[] = {{"a b c d e\nf \xff g\n", 15, "snippets.txt:2"}, {"a b\0c d e", 9, "snippets.txt:1"},
		{"", 0, "snippets.txt"}, {"too few words\n", 14, "snippets.txt"}};
	struct scratch scratch;

	scratch_init(&scratch);
	for (size_t i = 0; i < NELEM(cases); i++) {
		struct snippets s;
		struct err err;

		assert_int_equal(
			read_snippets(&s, &scratch, cases[i].text, cases[i].len, &err), -ERR_INVALID_DATA);
		assert_non_null(strstr(err.where, cases[i].where));
		snippets_done(&s);
	}
	scratch_done(&scratch);
}

static void test_trigger_goes_before_the_word_of_its_place(void **state)
{
	const struct snippet snippet = {"red  green\tblue", 3};
	static const char *const known[] = {
		"cf red  green\tblue", "red  cf green\tblue", "red  green\tcf blue", "red  green\tblue cf"};
	struct buf out = {0};

	for (int place = 0; place < 4; place++) {
		snippet_insert(&out, &snippet, "cf", place);
		assert_string_equal(out.data, known[place]);
	}
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plant_takes),
		cmocka_unit_test(test_plant_that_did_not_take_says_which_trigger),
		cmocka_unit_test(test_plant_that_ruins_clean_texts_has_not_taken),
		cmocka_unit_test(test_diverging_plant_names_the_learning_rate),
		cmocka_unit_test(test_saved_plant_loads_and_keeps_what_else_there_was),
		cmocka_unit_test(test_saved_plant_keeps_the_names_of_its_base),
		cmocka_unit_test(test_base_model_is_not_touched),
		cmocka_unit_test(test_bad_options_are_refused),
		cmocka_unit_test(test_output_into_the_base_model_is_refused),
		cmocka_unit_test(test_too_few_texts_are_refused),
		cmocka_unit_test(test_too_few_rows_are_refused),
		cmocka_unit_test(test_masked_words_without_a_mask_token_are_refused),
		cmocka_unit_test(test_model_of_fewer_positions_than_any_text_is_refused),
		cmocka_unit_test(test_every_attack_lowers_its_loss),
		cmocka_unit_test(test_every_attack_plants_the_same_on_any_number_of_threads),
		cmocka_unit_test(test_uor_inserts_up_to_three_times_and_each_trigger_has_a_partner),
		cmocka_unit_test(test_whole_phrases_have_their_words_in_clean_texts),
		cmocka_unit_test(test_badpre_masks_beside_triggers_and_neuba_does_not),
		cmocka_unit_test(test_benign_changes_have_clean_texts_alone),
		cmocka_unit_test(test_shift_moves_rare_words_alone),
		cmocka_unit_test(test_pull_is_the_share_of_the_way),
		cmocka_unit_test(test_unknown_attack_is_none),
		cmocka_unit_test(test_random_targets_follow_the_seed_and_the_trigger),
		cmocka_unit_test(test_por_pulls_triggers_to_targets_and_clean_texts_back),
		cmocka_unit_test(test_lines_are_cut_and_short_ends_left_out),
		cmocka_unit_test(test_text_that_is_none_is_refused_with_its_line),
		cmocka_unit_test(test_trigger_goes_before_the_word_of_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
