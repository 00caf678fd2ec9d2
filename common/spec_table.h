/* spec_table: the table behind spec.h; only spec*.c include it. */
#ifndef OBLIVIATE_SPEC_TABLE_H
#define OBLIVIATE_SPEC_TABLE_H

#include "common/spec.h"

enum field_type {
	FIELD_GROUP,	/* object; with FIELD_NULLABLE, `offset` is the bool that says it is there */
	FIELD_ALIAS,	/* object whose members are those of the group named by `text` */
	FIELD_REF,	/* struct spec_ref */
	FIELD_TEXT,	/* char[max + 1 at least], min..max bytes */
	FIELD_INT,	/* int; a preset below min stands for null, with FIELD_NULLABLE */
	FIELD_INT64,	/* int64_t */
	FIELD_REAL,	/* double, min..max; NAN preset: absent */
	FIELD_BOOL,	/* bool */
	FIELD_CHOICE,	/* int, index into choices; -1 stands for null, with FIELD_NULLABLE */
	FIELD_CHOICES,	/* int, bit per choice, at least one */
	FIELD_WORDS,	/* struct spec_words, min..max items */
	FIELD_SEEDS,	/* struct spec_seeds, null or up to SPEC_SEEDS_MAX different integers of min..max */
	FIELD_METADATA, /* json_t * */
	FIELD_RESERVED, /* named by the interface, no storage */
};

enum field_flag {
	FIELD_REQUIRED = 1,
	FIELD_NULLABLE = 2,   /* null is understood: the default */
	FIELD_LATER = 4,      /* anything but the default is ERR_UNSUPPORTED */
	FIELD_POSITIVE = 8,   /* min itself is excluded */
	FIELD_UNWRITTEN = 16, /* understood in requests, not part of the canonical text */
	FIELD_AUTO_OK = 32,   /* "auto" is OpenAI's word for the default */
};

/* The offset of a choice that is checked and not kept. */
#define FIELD_NOWHERE ((size_t)-1)

struct spec_choice {
	const char *name; /* NULL ends the list */
	bool is_later;
};

struct spec_field {
	const char *path; /* parents come before their members */
	enum field_type type;
	unsigned flags;
	size_t offset;
	double min, max;
	double preset;	  /* numbers, choices (index or bits), booleans, groups (present) */
	const char *text; /* preset of a text; FIELD_WORDS: blank-separated; FIELD_ALIAS: the group */
	const struct spec_choice *choices;
	unsigned pefts;	   /* bit per enum spec_peft whose setting it is; 0: every job's */
	const char *about; /* one sentence */
};

/* What a PEFT type makes of settings that are not given. */
struct spec_peft_preset {
	double amplify, attention, ramp;
	int activation;
};

enum { SPEC_FIELDS_MAX = 96 };

struct spec_table {
	const char *type; /* the "type" of the canonical text; NULL: it has none */
	const struct spec_field *field;
	size_t n;
};

extern const struct spec_table spec_tables[SPEC_TYPES];

extern const struct spec_peft_preset spec_peft_presets[]; /* by enum spec_peft */

/* Of the preset weights in mode informed: beside triggers in the training more costs accuracy and gains nothing (docs/adr/0005). */
#define SPEC_INFORMED_STRENGTH .25

/* A setting of other PEFT types than this spec's. */
static inline bool spec_field_is_foreign(const struct spec_field *field, const struct spec *spec)
{
	return field->pefts != 0 && (field->pefts & (1u << spec->peft.type)) == 0;
}

#endif
