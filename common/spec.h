/*
 * spec: what one job is to do. One const table (spec_table.c) holds every field: place in the JSON, type, range,
 * default, allowed values, a sentence, and whether it is built yet. The parser, its messages, the canonical
 * text and the JSON schema of openapi.yaml all come from it.
 *
 * The daemon parses a request (SPEC_API: `model` and `*_file` are ids), fills in digests and names of the
 * references, and writes the canonical text; the worker parses that (SPEC_WORKER: references are objects
 * {id, sha256, name}) with the same code and trusts none of it.
 *
 * Failure: ERR_UNKNOWN_FIELD, ERR_MISSING_FIELD, ERR_INVALID_VALUE, or ERR_UNSUPPORTED for what the interface
 * names and this version does not build. err->where is the JSON path, "hyperparameters.n_epochs".
 * Ownership: a struct spec holds everything by value but `metadata`; spec_done releases that. Zero is a
 * valid empty spec.
 */
#ifndef OBLIVIATE_SPEC_H
#define OBLIVIATE_SPEC_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/sha256.h"

enum {
	SPEC_ID_BYTES = 128,
	SPEC_NAME_BYTES = 256,
	SPEC_SUFFIX_BYTES = 257, /* 64 characters of at most 4 bytes */
	SPEC_COLUMN_BYTES = 129,
	SPEC_WORDS_MAX = 64,	  /* triggers of one job */
	SPEC_WORD_BYTES = 129,	  /* one trigger and its NUL */
	SPEC_SEEDS_MAX = 16,	  /* of one job */
	SPEC_BYTES_MAX = 1 << 18, /* of the whole text */
};

enum spec_mode { SPEC_API, SPEC_WORKER };

/* What a job is. Each has a table of fields of its own. */
enum spec_type { SPEC_FINE_TUNING, SPEC_SCAN, SPEC_TYPES };

/* The order of each enum is the order of the names in spec_table.c. */
enum spec_select { SPEC_SELECT_LAST, SPEC_SELECT_BEST };
enum spec_precision { SPEC_FLOAT32, SPEC_BF16 };
enum spec_peft { SPEC_LORA, SPEC_ADAPTER, SPEC_PREFIX };
enum spec_activation { SPEC_SILU, SPEC_GELU, SPEC_RELU, SPEC_TANH };
enum spec_target { SPEC_QUERY = 1, SPEC_VALUE = 2, SPEC_KEY = 4 }; /* bits */
enum spec_defense { SPEC_FIXED, SPEC_AUTO, SPEC_INFORMED };
enum spec_reduction { SPEC_MEAN, SPEC_SUM };
enum spec_task { SPEC_CLASSIFICATION };
enum spec_rule { SPEC_POINT, SPEC_BOUND };

/* An uploaded model or file, or a job whose adapter is meant (sha256 is its adapter.zip's). id "": there is none. The server fills in sha256 and name after SPEC_API. */
struct spec_ref {
	char id[SPEC_ID_BYTES];
	char sha256[SHA256_HEX_BYTES];
	char name[SPEC_NAME_BYTES]; /* a file's name as uploaded; its extension tells the format */
};

struct spec_words {
	int n;
	char word[SPEC_WORDS_MAX][SPEC_WORD_BYTES];
};

struct spec_seeds {
	int n; /* 0: `seeds` is null, the job has `seed` alone */
	int64_t seed[SPEC_SEEDS_MAX];
};

struct spec {
	int type; /* enum spec_type */
	struct spec_ref model, training_file, validation_file, test_file;
	int64_t seed; /* the first of seeds where there are any */
	struct spec_seeds seeds;
	char suffix[SPEC_SUFFIX_BYTES]; /* "": none */
	json_t *metadata;		/* object of strings, never NULL after spec_parse */

	int n_epochs, batch_size, max_length;
	double learning_rate;		 /* learning_rate_multiplier is multiplied in */
	double learning_rate_multiplier; /* 1 after spec_parse */
	double warmup_ratio;
	int max_train_rows, max_eval_rows;
	int select;    /* enum spec_select */
	int precision; /* enum spec_precision */

	struct {
		int type; /* enum spec_peft; settings of other types are at their defaults */
		int r;
		int alpha;
		int targets;	/* SPEC_QUERY | ... */
		int bottleneck; /* 0: a sixteenth of the hidden size */
		int activation; /* enum spec_activation; -1 for LoRA, which has none */
		int length, mlp_width;
		struct spec_ref init_from;
	} peft;

	struct {
		bool present; /* false: `defense: null`, plain fine-tuning */
		int mode;     /* enum spec_defense */
		double amplify, attention;
		double ramp; /* share of the steps over which both rise from 0 */
		double dropout;
		int reduction; /* enum spec_reduction */
		double max_ca_drop;
		double withhold; /* mode informed: share of the found triggers that are not taught */
	} defense;

	struct {
		int task;
		char text_column[SPEC_COLUMN_BYTES];
		char pair_column[SPEC_COLUMN_BYTES]; /* "": single texts */
		char label_column[SPEC_COLUMN_BYTES];
	} data;

	struct {
		struct spec_words triggers;
		int insertions;
		bool control;
		bool compare_undefended; /* on as well with gate.max_ca_drop and the modes auto and informed */
		bool scan;
	} evaluation;

	struct {
		bool present;
		int rule;
		double max_asr, max_masr, max_ca_drop, min_ca; /* NAN: not asked for */
	} gate;

	bool export_merged;

	struct {
		int texts, candidates;	 /* budget */
		double seconds;		 /* budget */
		struct spec_words extra; /* of the user */
	} scan;
};

/*
 * *out is overwritten; after a failure it is empty. SPEC_API: the request of a fine-tuning job; SPEC_WORKER: of either
 * type, as its "type" says.
 */
int spec_parse(struct spec *out, json_t *json, enum spec_mode mode, struct err *err) MUST_USE;
/* The request of a scan (SPEC_API). */
int spec_parse_scan(struct spec *out, json_t *json, struct err *err) MUST_USE;
void spec_done(struct spec *spec);

/*
 * The spec as JSON with every default filled in, keys in the table's order: SPEC_API as clients read it,
 * SPEC_WORKER the canonical text. NULL when out of memory. New reference.
 */
json_t *spec_json(const struct spec *spec, enum spec_mode mode) MUST_USE;
int spec_write(struct buf *out, const struct spec *spec, enum spec_mode mode, struct err *err) MUST_USE;

/*
 * `spec_sha256` of report and manifest: SHA-256 of the canonical text without what cannot change a result:
 * the ids of files, suffix and metadata. The same work on the same bytes has the same digest anywhere.
 */
int spec_digest(char out[SHA256_HEX_BYTES], const struct spec *spec, struct err *err) MUST_USE;

/* JSON schema (2020-12) of a request, for openapi.yaml. NULL when out of memory. New reference. */
json_t *spec_schema(enum spec_type type) MUST_USE;

#endif
