#include "common/spec_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { METADATA_PAIRS_MAX = 16, METADATA_KEY_MAX = 64, METADATA_VALUE_MAX = 512, SUFFIX_CHARS_MAX = 64 };

/* State of one parse. */
struct parse {
	struct spec *spec;
	enum spec_mode mode;
	const struct spec_table *table;
	bool *is_given; /* per field */
	struct err *err;
};

static int parse_members(struct parse *p, json_t *object, const char *place, const char *group);

static void *slot(struct spec *spec, const struct spec_field *field)
{
	return (void *)((uintptr_t)spec + field->offset); /* FIELD_NOWHERE is no place to point to */
}

static int refuse(struct parse *p, const char *place, const char *expected)
{
	return err_set(p->err, ERR_INVALID_VALUE, place, "must be %s", expected);
}

/* --- defaults --------------------------------------------------------------------------------------- */

static void set_words(struct spec_words *words, const char *text)
{
	words->n = 0;
	for (const char *at = text; *at != '\0';) {
		size_t len = strcspn(at, " ");

		snprintf(words->word[words->n++], SPEC_WORD_BYTES, "%.*s", (int)len, at);
		at += len + (at[len] == ' ');
	}
}

static void set_default(struct spec *spec, const struct spec_field *field)
{
	void *at = slot(spec, field);

	if (field->offset == FIELD_NOWHERE)
		return;
	switch (field->type) {
	case FIELD_GROUP:
		if (field->flags & FIELD_NULLABLE)
			*(bool *)at = field->preset != 0;
		break;
	case FIELD_TEXT:
		strcpy(at, field->text != NULL ? field->text : "");
		break;
	case FIELD_INT:
	case FIELD_CHOICE:
	case FIELD_CHOICES:
		*(int *)at = (int)field->preset;
		break;
	case FIELD_INT64:
		*(int64_t *)at = (int64_t)field->preset;
		break;
	case FIELD_REAL:
		*(double *)at = field->preset;
		break;
	case FIELD_BOOL:
		*(bool *)at = field->preset != 0;
		break;
	case FIELD_WORDS:
		set_words(at, field->text);
		break;
	case FIELD_ALIAS:
	case FIELD_REF:
	case FIELD_METADATA:
	case FIELD_SEEDS:
	case FIELD_RESERVED:
		break;
	}
}

/* --- one value -------------------------------------------------------------------------------------- */

static bool has_control(const char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return true;
	return false;
}

static size_t utf8_chars(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

/* Copy a JSON string of min..max characters without control characters. */
static bool take_text(char *out, size_t bytes, const json_t *value, size_t min, size_t max)
{
	const char *s = json_string_value(value);

	if (s == NULL || utf8_chars(s) < min || utf8_chars(s) > max || strlen(s) >= bytes || has_control(s))
		return false;
	memcpy(out, s, strlen(s) + 1);
	return true;
}

static int parse_text(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	size_t bytes = f->offset == offsetof(struct spec, suffix) ? SPEC_SUFFIX_BYTES : SPEC_COLUMN_BYTES;
	char expected[96];

	if (take_text(slot(p->spec, f), bytes, value, (size_t)f->min, (size_t)f->max))
		return 0;
	snprintf(expected, sizeof(expected), "a string of %.0f to %.0f characters without control characters",
		f->min, f->max);
	return refuse(p, place, expected);
}

static int parse_int(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	json_int_t number = json_integer_value(value);
	char expected[96];

	if (!json_is_integer(value) || number < (json_int_t)f->min || number > (json_int_t)f->max) {
		snprintf(expected, sizeof(expected), "an integer from %.0f to %.0f", f->min, f->max);
		return refuse(p, place, expected);
	}
	if (f->type == FIELD_INT64)
		*(int64_t *)slot(p->spec, f) = number;
	else
		*(int *)slot(p->spec, f) = (int)number;
	return 0;
}

static int parse_real(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	bool is_open = f->flags & FIELD_POSITIVE;
	double number = json_number_value(value);
	char expected[96];

	if (json_is_number(value) && number <= f->max && (is_open ? number > f->min : number >= f->min)) {
		*(double *)slot(p->spec, f) = number;
		return 0;
	}
	snprintf(expected, sizeof(expected),
		is_open ? "a number above %g and at most %g" : "a number from %g to %g", f->min, f->max);
	return refuse(p, place, expected);
}

static int parse_bool(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	bool is_true = json_is_true(value);

	if (!json_is_boolean(value))
		return refuse(p, place, "true or false");
	if ((f->flags & FIELD_LATER) && is_true != (f->preset != 0))
		return err_set(p->err, ERR_UNSUPPORTED, place, "is not supported yet");
	*(bool *)slot(p->spec, f) = is_true;
	return 0;
}

static void name_choices(char *out, size_t size, const struct spec_choice *choices)
{
	size_t len = 0;

	out[0] = '\0';
	for (int i = 0; choices[i].name != NULL && len < size; i++)
		len += (size_t)snprintf(
			out + len, size - len, "%s\"%s\"", i == 0 ? "" : ", ", choices[i].name);
}

/* *index of the name among the choices. */
static int find_choice(int *index, struct parse *p, const struct spec_choice *choices, json_t *value,
	const char *place, const char *kind)
{
	const char *name = json_string_value(value);
	char names[160], expected[200];

	for (int i = 0; name != NULL && choices[i].name != NULL; i++) {
		if (strcmp(choices[i].name, name) != 0)
			continue;
		if (choices[i].is_later)
			return err_set(p->err, ERR_UNSUPPORTED, place, "\"%s\" is not supported yet", name);
		*index = i;
		return 0;
	}
	name_choices(names, sizeof(names), choices);
	snprintf(expected, sizeof(expected), "%s %s", kind, names);
	return refuse(p, place, expected);
}

static int parse_choice(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	int index = 0, rc = find_choice(&index, p, f->choices, value, place, "one of");

	if (rc == 0 && f->offset != FIELD_NOWHERE)
		*(int *)slot(p->spec, f) = index;
	return rc;
}

static int parse_choices(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	int bits = 0, index = 0, rc;
	char item[192];

	if (!json_is_array(value) || json_array_size(value) == 0)
		return refuse(p, place, "a list with at least one item");
	for (size_t i = 0; i < json_array_size(value); i++) {
		snprintf(item, sizeof(item), "%s[%zu]", place, i);
		rc = find_choice(&index, p, f->choices, json_array_get(value, i), item, "one of");
		if (rc != 0)
			return rc;
		if (bits & (1 << index))
			return err_set(p->err, ERR_INVALID_VALUE, item, "stands twice in the list");
		bits |= 1 << index;
	}
	*(int *)slot(p->spec, f) = bits;
	return 0;
}

static bool has_word(const struct spec_words *words, const char *word)
{
	for (int i = 0; i < words->n; i++)
		if (strcmp(words->word[i], word) == 0)
			return true;
	return false;
}

static int parse_word(struct parse *p, struct spec_words *words, json_t *value, const char *place)
{
	char word[SPEC_WORD_BYTES];

	if (!take_text(word, sizeof(word), value, 1, SPEC_WORD_BYTES - 1) ||
		strspn(word, " ") == strlen(word))
		return refuse(p, place, "a word or phrase of at most 128 bytes");
	if (has_word(words, word))
		return err_set(p->err, ERR_INVALID_VALUE, place, "stands twice in the list");
	strcpy(words->word[words->n++], word);
	return 0;
}

static int parse_words(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	struct spec_words *words = slot(p->spec, f);
	char item[192];
	int rc;

	if (!json_is_array(value) || json_array_size(value) < (size_t)f->min ||
		json_array_size(value) > (size_t)f->max) {
		snprintf(item, sizeof(item), "a list of %.0f to %.0f strings", f->min, f->max);
		return refuse(p, place, item);
	}
	words->n = 0;
	for (size_t i = 0; i < json_array_size(value); i++) {
		snprintf(item, sizeof(item), "%s[%zu]", place, i);
		rc = parse_word(p, words, json_array_get(value, i), item);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static bool has_seed(const struct spec_seeds *seeds, int64_t seed)
{
	for (int i = 0; i < seeds->n; i++)
		if (seeds->seed[i] == seed)
			return true;
	return false;
}

static int parse_seed(struct parse *p, struct spec_seeds *seeds, const struct spec_field *f, json_t *value,
	const char *place)
{
	json_int_t number = json_integer_value(value);
	char expected[96];

	if (!json_is_integer(value) || number < (json_int_t)f->min || number > (json_int_t)f->max) {
		snprintf(expected, sizeof(expected), "an integer from %.0f to %.0f", f->min, f->max);
		return refuse(p, place, expected);
	}
	if (has_seed(seeds, number))
		return err_set(p->err, ERR_INVALID_VALUE, place, "stands twice in the list");
	seeds->seed[seeds->n++] = number;
	return 0;
}

static int parse_seeds(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	struct spec_seeds *seeds = slot(p->spec, f);
	size_t n = json_array_size(value);
	char item[192];
	int rc = 0;

	if (!json_is_array(value) || n == 0 || n > SPEC_SEEDS_MAX) {
		snprintf(item, sizeof(item), "a list of 1 to %d integers", SPEC_SEEDS_MAX);
		return refuse(p, place, item);
	}
	for (size_t i = 0; i < n && rc == 0; i++) {
		snprintf(item, sizeof(item), "%s[%zu]", place, i);
		rc = parse_seed(p, seeds, f, json_array_get(value, i), item);
	}
	return rc;
}

static int parse_metadata(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	const char *key;
	json_t *item;
	char text[METADATA_VALUE_MAX * 4 + 1], at[160];

	if (!json_is_object(value) || json_object_size(value) > METADATA_PAIRS_MAX)
		return refuse(p, place, "an object of at most 16 strings");
	json_object_foreach(value, key, item)
	{
		snprintf(at, sizeof(at), "%s.%.80s", place, key);
		if (utf8_chars(key) > METADATA_KEY_MAX || has_control(key))
			return err_set(
				p->err, ERR_INVALID_VALUE, at, "the key must have at most 64 characters");
		if (!take_text(text, sizeof(text), item, 0, METADATA_VALUE_MAX))
			return refuse(p, at, "a string of at most 512 characters");
	}
	json_decref(p->spec->metadata);
	*(json_t **)slot(p->spec, f) = json_incref(value);
	return 0;
}

static int parse_reserved(struct parse *p, json_t *value, const char *place)
{
	if (json_is_array(value) && json_array_size(value) == 0)
		return 0;
	return err_set(p->err, ERR_UNSUPPORTED, place, "is not supported yet");
}

/* --- references ------------------------------------------------------------------------------------- */

static bool is_sha256(const char *s)
{
	return s != NULL && strlen(s) == SHA256_HEX_BYTES - 1 && strspn(s, "0123456789abcdef") == strlen(s);
}

/* {id, sha256, name}, these and no others. */
static int parse_resolved(struct parse *p, struct spec_ref *ref, json_t *value, const char *place)
{
	const char *sha256 = json_string_value(json_object_get(value, "sha256"));

	if (!json_is_object(value) || json_object_size(value) != 3 || !is_sha256(sha256) ||
		!take_text(ref->id, sizeof(ref->id), json_object_get(value, "id"), 1, SPEC_ID_BYTES) ||
		!take_text(ref->name, sizeof(ref->name), json_object_get(value, "name"), 0, SPEC_NAME_BYTES))
		return refuse(p, place, "an object of id, sha256 and name");
	strcpy(ref->sha256, sha256);
	return 0;
}

static int parse_ref(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	struct spec_ref *ref = slot(p->spec, f);

	if (p->mode == SPEC_WORKER)
		return parse_resolved(p, ref, value, place);
	if (!take_text(ref->id, sizeof(ref->id), value, 1, SPEC_ID_BYTES - 1))
		return refuse(p, place, "an id");
	return 0;
}

/* --- objects ---------------------------------------------------------------------------------------- */

static int parse_group(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	if (!json_is_object(value))
		return refuse(p, place, "an object");
	if (f->flags & FIELD_NULLABLE)
		*(bool *)slot(p->spec, f) = true;
	return parse_members(p, value, place, f->type == FIELD_ALIAS ? f->text : f->path);
}

static int parse_null(struct parse *p, const struct spec_field *f, const char *place)
{
	if (!(f->flags & FIELD_NULLABLE))
		return err_set(p->err, ERR_INVALID_VALUE, place, "must not be null");
	if (f->type == FIELD_GROUP)
		*(bool *)slot(p->spec, f) = false;
	return 0;
}

static int (*const parsers[])(
	struct parse *p, const struct spec_field *f, json_t *value, const char *place) = {
	[FIELD_GROUP] = parse_group,
	[FIELD_ALIAS] = parse_group,
	[FIELD_REF] = parse_ref,
	[FIELD_TEXT] = parse_text,
	[FIELD_INT] = parse_int,
	[FIELD_INT64] = parse_int,
	[FIELD_REAL] = parse_real,
	[FIELD_BOOL] = parse_bool,
	[FIELD_CHOICE] = parse_choice,
	[FIELD_CHOICES] = parse_choices,
	[FIELD_WORDS] = parse_words,
	[FIELD_SEEDS] = parse_seeds,
	[FIELD_METADATA] = parse_metadata,
};

static const struct spec_field *find_field(const struct parse *p, const char *path)
{
	for (size_t i = 0; i < p->table->n; i++)
		if (strcmp(p->table->field[i].path, path) == 0)
			return &p->table->field[i];
	return NULL;
}

static bool is_auto(const struct spec_field *f, const json_t *value)
{
	return (f->flags & FIELD_AUTO_OK) && json_is_string(value) &&
	       strcmp(json_string_value(value), "auto") == 0;
}

static int parse_field(struct parse *p, const struct spec_field *f, json_t *value, const char *place)
{
	bool *is_given = &p->is_given[f - p->table->field];

	if (*is_given)
		return err_set(
			p->err, ERR_INVALID_VALUE, place, "is given twice: it stands in %s as well", f->path);
	*is_given = true;
	if (json_is_null(value))
		return parse_null(p, f, place);
	if (is_auto(f, value))
		return 0;
	if (f->type == FIELD_RESERVED)
		return parse_reserved(p, value, place);
	return parsers[f->type](p, f, value, place);
}

/* The members of an object written at `place` ("" at the top) that are the fields of `group`. */
static int parse_members(struct parse *p, json_t *object, const char *place, const char *group)
{
	const struct spec_field *field;
	const char *key;
	json_t *value;
	char path[160], at[160];
	int rc;

	json_object_foreach(object, key, value)
	{
		snprintf(at, sizeof(at), "%s%s%.64s", place, place[0] ? "." : "", key);
		snprintf(path, sizeof(path), "%s%s%s", group, group[0] ? "." : "", key);
		field = strchr(key, '.') == NULL ? find_field(p, path) : NULL;
		if (field == NULL)
			return err_set(p->err, ERR_UNKNOWN_FIELD, at, "there is no such field");
		rc = parse_field(p, field, value, at);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* --- the whole -------------------------------------------------------------------------------------- */

static int check_required(struct parse *p)
{
	for (size_t i = 0; i < p->table->n; i++)
		if ((p->table->field[i].flags & FIELD_REQUIRED) && !p->is_given[i])
			return err_set(p->err, ERR_MISSING_FIELD, p->table->field[i].path, "is required");
	return 0;
}

static int fold_learning_rate(struct parse *p)
{
	struct spec *spec = p->spec;

	spec->learning_rate *= spec->learning_rate_multiplier;
	spec->learning_rate_multiplier = 1;
	if (!(spec->learning_rate > 0 && spec->learning_rate <= 1))
		return refuse(
			p, "hyperparameters.learning_rate", "above 0 and at most 1 after multiplication");
	return 0;
}

static bool was_given(const struct parse *p, const char *path)
{
	const struct spec_field *field = find_field(p, path);

	return field != NULL && p->is_given[field - p->table->field];
}

/* A setting of another PEFT type would be ignored: say so. */
static int check_foreign(struct parse *p)
{
	for (size_t i = 0; i < p->table->n; i++)
		if (p->is_given[i] && spec_field_is_foreign(&p->table->field[i], p->spec))
			return err_set(p->err, ERR_INVALID_VALUE, p->table->field[i].path,
				"is no setting of this peft.type");
	return 0;
}

static bool is_informed_mode(const struct spec *spec)
{
	return spec->defense.present && spec->defense.mode == SPEC_INFORMED;
}

/* What depends on the PEFT's type and the mode and is not given. */
static int settle_peft(struct parse *p)
{
	struct spec *spec = p->spec;
	const struct spec_peft_preset *preset = &spec_peft_presets[spec->peft.type];
	double strength = is_informed_mode(spec) ? SPEC_INFORMED_STRENGTH : 1;

	if (!was_given(p, "defense.amplify"))
		spec->defense.amplify = strength * preset->amplify;
	if (!was_given(p, "defense.attention"))
		spec->defense.attention = strength * preset->attention;
	if (!was_given(p, "defense.ramp"))
		spec->defense.ramp = preset->ramp;
	if (spec->peft.activation < 0)
		spec->peft.activation = preset->activation;
	return check_foreign(p);
}

/* One or the other; both only where they agree, as a job that is sent again as it was answered. */
static int settle_seeds(struct parse *p)
{
	struct spec *spec = p->spec;

	if (spec->seeds.n == 0)
		return 0;
	if (was_given(p, "seed") && spec->seed != spec->seeds.seed[0])
		return err_set(p->err, ERR_INVALID_VALUE, "seeds",
			"stands beside seed: give one of them, or the first of seeds as seed");
	spec->seed = spec->seeds.seed[0];
	return 0;
}

static bool is_auto_mode(const struct spec *spec)
{
	return spec->defense.present && spec->defense.mode == SPEC_AUTO;
}

static int check_auto(struct parse *p)
{
	const struct spec *spec = p->spec;

	if (is_auto_mode(spec) && spec->defense.amplify == 0 && spec->defense.attention == 0)
		return err_set(p->err, ERR_INVALID_VALUE, "defense.mode",
			"auto searches multiples of amplify and attention: one of them must be above 0");
	return 0;
}

static int check_withhold(struct parse *p)
{
	if (p->spec->defense.withhold == 0 || is_informed_mode(p->spec))
		return 0;
	return err_set(p->err, ERR_INVALID_VALUE, "defense.withhold",
		"needs mode \"informed\": no other one teaches what was found");
}

/* The informed defence trains with what a scan finds. */
static int switch_scan(struct parse *p)
{
	struct spec *spec = p->spec;

	if (!is_informed_mode(spec) || spec->evaluation.scan)
		return 0;
	if (was_given(p, "evaluation.scan"))
		return err_set(p->err, ERR_INVALID_VALUE, "defense.mode",
			"informed needs evaluation.scan, which is false");
	spec->evaluation.scan = true;
	return 0;
}

/* An accuracy drop needs the comparison, and so do modes: it is switched on, unless the job says no to it. */
static int switch_comparison(struct parse *p)
{
	struct spec *spec = p->spec;
	bool is_gated = spec->gate.present && !isnan(spec->gate.max_ca_drop),
	     is_wanted = is_gated || is_auto_mode(spec) || is_informed_mode(spec);

	if (spec->evaluation.compare_undefended || !is_wanted)
		return 0;
	if (was_given(p, "evaluation.compare_undefended") && !is_gated)
		return 0;
	if (was_given(p, "evaluation.compare_undefended"))
		return err_set(p->err, ERR_INVALID_VALUE, "gate.max_ca_drop",
			"needs evaluation.compare_undefended, which is false");
	spec->evaluation.compare_undefended = true;
	return 0;
}

static int check_merged(struct parse *p)
{
	if (!p->spec->export_merged || p->spec->peft.type == SPEC_LORA)
		return 0;
	return err_set(p->err, ERR_INVALID_VALUE, "export.merged",
		"needs peft.type \"lora\": the base's weights have no place for an adapter or a prefix");
}

static int parse_top(struct parse *p, json_t *json)
{
	int rc;

	if (!json_is_object(json))
		return err_set(p->err, ERR_INVALID_VALUE, "", "the job must be a JSON object");
	rc = parse_members(p, json, "", "");
	if (rc == 0)
		rc = check_required(p);
	if (rc == 0)
		rc = fold_learning_rate(p);
	if (rc == 0)
		rc = settle_peft(p);
	if (rc == 0)
		rc = settle_seeds(p);
	if (rc == 0)
		rc = check_auto(p);
	if (rc == 0)
		rc = check_withhold(p);
	if (rc == 0)
		rc = switch_comparison(p);
	if (rc == 0)
		rc = switch_scan(p);
	if (rc == 0)
		rc = check_merged(p);
	if (rc == 0 && p->spec->metadata == NULL && (p->spec->metadata = json_object()) == NULL)
		rc = err_nomem(p->err);
	return rc;
}

static void set_defaults(struct spec *spec)
{
	for (int type = 0; type < SPEC_TYPES; type++)
		for (size_t i = 0; i < spec_tables[type].n; i++)
			set_default(spec, &spec_tables[type].field[i]);
}

static int parse_type(
	struct spec *out, json_t *json, enum spec_mode mode, enum spec_type type, struct err *err)
{
	bool is_given[SPEC_FIELDS_MAX] = {false};
	struct parse p = {out, mode, &spec_tables[type], is_given, err};
	int rc;

	memset(out, 0, sizeof(*out));
	out->type = type;
	set_defaults(out);
	rc = parse_top(&p, json);
	if (rc != 0)
		spec_done(out);
	return rc;
}

int spec_parse(struct spec *out, json_t *json, enum spec_mode mode, struct err *err)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	bool is_scan = mode == SPEC_WORKER && type != NULL && strcmp(type, spec_tables[SPEC_SCAN].type) == 0;

	return parse_type(out, json, mode, is_scan ? SPEC_SCAN : SPEC_FINE_TUNING, err);
}

int spec_parse_scan(struct spec *out, json_t *json, struct err *err)
{
	return parse_type(out, json, SPEC_API, SPEC_SCAN, err);
}

void spec_done(struct spec *spec)
{
	json_decref(spec->metadata);
	memset(spec, 0, sizeof(*spec));
}
