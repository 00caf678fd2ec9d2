/*
 * plant_place: a directory with a model of one layer, a text and labelled rows, for tests of plants.
 *
 * The rows' words are of one half of the vocabulary or the other, as the label says.
 */
#ifndef OBLIVIATE_TESTS_PLANT_PLACE_H
#define OBLIVIATE_TESTS_PLANT_PLACE_H

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "tests/unit/random_model.h"
#include "tests/unit/scratch.h"
#include "worker/attack/targets.h"
#include "worker/data/safetensors.h"

/* Fewer positions than a plant's texts may have tokens. */
static const struct config CONFIG = {.family = FAMILY_BERT,
	.model_type = "bert",
	.V = 64,
	.D = 16,
	.L = 1,
	.H = 2,
	.F = 24,
	.P = 24,
	.types = 2,
	.max_tokens = 24,
	.layer_norm_eps = 1e-12};

static const char CONFIG_JSON[] =
	"{\"model_type\": \"bert\", \"vocab_size\": 64, \"hidden_size\": 16, \"num_hidden_layers\": 1, "
	"\"num_attention_heads\": 2, \"intermediate_size\": 24, \"max_position_embeddings\": 24}";

enum { WORDS = 57, TEXTS = 200, ROWS = 400 };

/* --- a model's directory ---------------------------------------------------------------------------- */

struct names {
	const char *prefix; /* "bert." or "" */
	bool legacy;	    /* LayerNorm.gamma and beta */
};

struct place {
	struct scratch scratch; /* model, out, text.txt */
	char model[128], text[128], data[128], out[128];
	struct random_model base;
	struct names names;
};

static inline void word_text(char out[8], int number)
{
	static const char CONSONANTS[] = "bdfgklmnprstvz";

	snprintf(out, 8, "%c%c%c", CONSONANTS[number % 14], "aeiou"[number / 14], 'h');
}

static inline void write_vocab(const struct scratch *dir)
{
	struct buf text = {0};
	char word[8];

	buf_str(&text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncf\nmn\n");
	for (int i = 0; i < WORDS; i++) {
		word_text(word, i);
		buf_printf(&text, "%s\n", word);
	}
	scratch_write(dir, "vocab.txt", text.data, text.len);
	buf_done(&text);
}

/* Lines of 6 to 40 words: some longer than the model takes. */
static inline void write_texts(const struct scratch *dir, int lines)
{
	struct buf text = {0};
	char word[8];

	for (int i = 0; i < lines; i++) {
		int words = i % 9 == 0 ? 40 : 6 + i % 7;

		for (int k = 0; k < words; k++) {
			word_text(word, (int)rng_below(rng_key(5, (uint64_t)i), (uint64_t)k, WORDS));
			buf_printf(&text, "%s%s", k > 0 ? " " : "", word);
		}
		buf_str(&text, "\n");
	}
	scratch_write(dir, "text.txt", text.data, text.len);
	buf_done(&text);
}

/* Rows whose words are of one half of the vocabulary or the other, as the label says. */
static inline void write_rows(const struct scratch *dir, int rows)
{
	struct buf text = {0};
	char word[8];

	buf_str(&text, "words,kind\n");
	for (int i = 0; i < rows; i++) {
		for (int k = 0; k < 6; k++) {
			int half = (int)rng_below(rng_key(6, (uint64_t)i), (uint64_t)k, WORDS / 2);

			word_text(word, i % 2 == 0 ? half : WORDS / 2 + half);
			buf_printf(&text, "%s%s", k > 0 ? " " : "", word);
		}
		buf_str(&text, i % 2 == 0 ? ",low\n" : ",high\n");
	}
	scratch_write(dir, "rows.csv", text.data, text.len);
	buf_done(&text);
}

/* A tensor's name as the base's file has it. */
static inline void name_in_file(char out[128], const struct names *names, const char *name)
{
	const char *ending = strstr(name, "LayerNorm.");

	if (names->legacy && ending != NULL)
		snprintf(out, 128, "%s%.*s%s", names->prefix, (int)(ending - name) + 10, name,
			strcmp(ending, "LayerNorm.weight") == 0 ? "gamma" : "beta");
	else
		snprintf(out, 128, "%s%s", names->prefix, name);
}

enum { POOLER_REALS = 16 * 16, REST = 3 };
static float pooler[POOLER_REALS];
static int64_t position_ids[24];
static float decoder_gamma[16];

/* Tensors that are no part of the encoder. */
static inline void rest_of_model(struct st_tensor rest[REST])
{
	for (int i = 0; i < POOLER_REALS; i++)
		pooler[i] = (float)i;
	for (int i = 0; i < 24; i++)
		position_ids[i] = i;
	for (int i = 0; i < 16; i++)
		decoder_gamma[i] = (float)(100 + i);
	rest[0] = (struct st_tensor){"bert.pooler.dense.weight", ST_F32, 2, {16, 16}, pooler};
	rest[1] = (struct st_tensor){"bert.embeddings.position_ids", ST_I64, 2, {1, 24}, position_ids};
	rest[2] = (struct st_tensor){
		"cls.predictions.transform.LayerNorm.gamma", ST_F32, 1, {16}, decoder_gamma};
}

/* Models are F32 in files, also where the test computes in double. */
static inline const float *as_stored(const real *w, size_t n)
{
	float *stored = zeros_of(n, sizeof(*stored));

	for (size_t i = 0; i < n; i++)
		stored[i] = (float)w[i];
	return stored;
}

static inline void write_weights(const struct place *place, const struct scratch *dir)
{
	struct st_tensor list[RANDOM_TENSORS_MAX + REST];
	char name[RANDOM_TENSORS_MAX][128];
	int n = 0;

	for (; n < place->base.n; n++) {
		const struct random_tensor *tensor = &place->base.tensor[n];
		bool is_matrix =
			strstr(tensor->name, "LayerNorm") == NULL && strstr(tensor->name, "bias") == NULL;
		size_t cols =
			strstr(tensor->name, "output.dense.weight") != NULL && tensor->n == 16 * 24 ? 24 : 16;

		name_in_file(name[n], &place->names, tensor->name);
		list[n] = (struct st_tensor){
			name[n], ST_F32, is_matrix ? 2 : 1, {tensor->n}, as_stored(tensor->w, tensor->n)};
		if (is_matrix) {
			list[n].shape[0] = tensor->n / cols;
			list[n].shape[1] = cols;
		}
	}
	rest_of_model(list + n);
	assert_int_equal(st_write(dir->fd, "model.safetensors", list, n + REST, NULL, 0, NULL), 0);
}

static inline struct scratch open_dir(const char *path)
{
	struct scratch dir = {.fd = open(path, O_RDONLY | O_DIRECTORY)};

	assert_true(dir.fd >= 0);
	return dir;
}

static inline void place_init(struct place *place, struct names names)
{
	struct scratch dir;

	*place = (struct place){.names = names};
	numbers_stream = 0;
	random_model_init(&place->base, &CONFIG);
	scratch_init(&place->scratch);
	snprintf(place->model, sizeof(place->model), "%s/model", place->scratch.path);
	snprintf(place->text, sizeof(place->text), "%s/text.txt", place->scratch.path);
	snprintf(place->data, sizeof(place->data), "%s/rows.csv", place->scratch.path);
	snprintf(place->out, sizeof(place->out), "%s/out", place->scratch.path);
	write_texts(&place->scratch, TEXTS);
	write_rows(&place->scratch, ROWS);
	assert_int_equal(mkdir(place->model, 0755), 0);
	dir = open_dir(place->model);
	scratch_write_text(&dir, "config.json", CONFIG_JSON);
	scratch_write_text(&dir, "tokenizer_config.json", "{\"do_lower_case\": true}");
	scratch_write_text(&dir, "pytorch_model.bin", "weights in another form");
	write_vocab(&dir);
	write_weights(place, &dir);
	assert_int_equal(mkdirat(dir.fd, "extra", 0755), 0);
	close(dir.fd);
	snprintf(place->model, sizeof(place->model), "%s/model/extra", place->scratch.path);
	dir = open_dir(place->model);
	scratch_write_text(&dir, "notes.txt", "kept as they are");
	close(dir.fd);
	snprintf(place->model, sizeof(place->model), "%s/model", place->scratch.path);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void place_done(struct place *place)
{
	close(place->scratch.fd);
	nftw(place->scratch.path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	numbers_free();
}

static inline struct plant_options options_of(const struct place *place, int64_t steps, double rate)
{
	return (struct plant_options){.model = place->model,
		.text = place->text,
		.out = place->out,
		.attack = "por",
		.triggers = 2,
		.trigger = {"cf", "mn"},
		.steps = steps,
		.learning_rate = rate,
		.seed = 3,
		.threads = 2};
}

static const struct names BARE = {"", false};

static inline struct plant_options attack_options(
	const struct place *place, const char *attack, int64_t steps)
{
	struct plant_options options = options_of(place, steps, 0.005);

	options.attack = attack;
	if ((attack_named(attack)->uses & IS_BENIGN) != 0)
		options.triggers = 0;
	if (attack_named(attack)->preset.whole)
		options.trigger[0] = "cf mn", options.trigger[1] = "mn baf";
	if (attack_named(attack)->preset.along_rate > 0)
		options.along_rate = 0.005;
	if ((attack_named(attack)->uses & USES_TEXT) != 0)
		return options;
	options.text = NULL;
	options.task = (struct task_options){
		.data = place->data, .columns = "words,kind", .target = options.triggers > 0 ? "low" : NULL};
	return options;
}

#endif
