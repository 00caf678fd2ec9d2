/* The way back from a struct spec to JSON, and the schema of a request. */
#include "common/json.h"
#include "common/spec_table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const void *slot(const struct spec *spec, const struct spec_field *field)
{
	return (const char *)spec + field->offset;
}

/* --- values ----------------------------------------------------------------------------------------- */

static json_t *ref_json(const struct spec_ref *ref, enum spec_mode mode)
{
	if (ref->id[0] == '\0')
		return json_null();
	if (mode == SPEC_API)
		return json_string(ref->id);
	return json_pack("{s:s, s:s, s:s}", "id", ref->id, "sha256", ref->sha256, "name", ref->name);
}

static json_t *text_json(const char *text)
{
	return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *choices_json(const struct spec_choice *choices, int bits)
{
	json_t *list = json_array();

	for (int i = 0; choices[i].name != NULL; i++)
		if ((bits & (1 << i)) && json_array_append_new(list, json_string(choices[i].name)) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *words_json(const struct spec_words *words)
{
	json_t *list = json_array();

	for (int i = 0; i < words->n; i++)
		if (json_array_append_new(list, json_string(words->word[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *seeds_json(const struct spec_seeds *seeds)
{
	json_t *list = seeds->n > 0 ? json_array() : json_null();

	for (int i = 0; i < seeds->n; i++)
		if (json_array_append_new(list, json_integer(seeds->seed[i])) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Null where it is allowed and meant. */
static json_t *int_json(const struct spec_field *f, int value)
{
	return (f->flags & FIELD_NULLABLE) && value < f->min ? json_null() : json_integer(value);
}

static json_t *choice_json(const struct spec_field *f, int index)
{
	return index >= 0 ? json_string(f->choices[index].name) : json_null();
}

/* New reference; NULL when out of memory. */
static json_t *value_json(const struct spec *spec, const struct spec_field *f, enum spec_mode mode)
{
	const void *at = slot(spec, f);

	switch (f->type) {
	case FIELD_REF:
		return ref_json(at, mode);
	case FIELD_TEXT:
		return text_json(at);
	case FIELD_INT:
		return int_json(f, *(const int *)at);
	case FIELD_INT64:
		return json_integer(*(const int64_t *)at);
	case FIELD_REAL:
		return json_real(*(const double *)at);
	case FIELD_BOOL:
		return json_boolean(*(const bool *)at);
	case FIELD_CHOICE:
		return choice_json(f, *(const int *)at);
	case FIELD_CHOICES:
		return choices_json(f->choices, *(const int *)at);
	case FIELD_WORDS:
		return words_json(at);
	case FIELD_SEEDS:
		return seeds_json(at);
	case FIELD_METADATA:
		return json_deep_copy(*(json_t *const *)at);
	case FIELD_GROUP:
		return (f->flags & FIELD_NULLABLE) && !*(const bool *)at ? json_null() : json_object();
	case FIELD_ALIAS:
	case FIELD_RESERVED:
		break;
	}
	return json_null();
}

static bool is_absent(const struct spec *spec, const struct spec_field *f)
{
	return (f->flags & FIELD_UNWRITTEN) || spec_field_is_foreign(f, spec) ||
	       (f->type == FIELD_REAL && isnan(*(const double *)slot(spec, f)));
}

/* --- the tree --------------------------------------------------------------------------------------- */

/* The object that holds path's last part, which *leaf is set to; NULL where a parent is null. */
static json_t *find_parent(json_t *top, const char *path, const char **leaf)
{
	const char *dot;
	char part[64];

	while ((dot = strchr(path, '.')) != NULL) {
		snprintf(part, sizeof(part), "%.*s", (int)(dot - path), path);
		top = json_object_get(top, part);
		path = dot + 1;
	}
	*leaf = path;
	return json_is_object(top) ? top : NULL;
}

json_t *spec_json(const struct spec *spec, enum spec_mode mode)
{
	const struct spec_table *table = &spec_tables[spec->type];
	json_t *top = json_object(), *parent;
	const char *leaf;

	if (mode == SPEC_WORKER && table->type != NULL)
		json_object_set_new(top, "type", json_string(table->type));
	for (size_t i = 0; top != NULL && i < table->n; i++) {
		const struct spec_field *f = &table->field[i];

		if (is_absent(spec, f) || (parent = find_parent(top, f->path, &leaf)) == NULL)
			continue;
		if (json_object_set_new(parent, leaf, value_json(spec, f, mode)) != 0) {
			json_decref(top);
			return NULL;
		}
	}
	return top;
}

static int write_json(struct buf *out, json_t *json, struct err *err)
{
	if (json == NULL)
		return err_nomem(err);
	json_write(out, json);
	json_decref(json);
	return out->failed ? err_nomem(err) : 0;
}

int spec_write(struct buf *out, const struct spec *spec, enum spec_mode mode, struct err *err)
{
	return write_json(out, spec_json(spec, mode), err);
}

/* Of a job whose adapter is meant, only the digest is the work's. */
static void drop_job(json_t *ref)
{
	json_object_del(ref, "id");
	json_object_del(ref, "name");
}

int spec_digest(char out[SHA256_HEX_BYTES], const struct spec *spec, struct err *err)
{
	static const char *const refs[] = {"training_file", "validation_file", "test_file"};
	json_t *json = spec_json(spec, SPEC_WORKER);
	struct buf text = {0};
	int rc;

	for (size_t i = 0; i < NELEM(refs); i++)
		json_object_del(json_object_get(json, refs[i]), "id");
	drop_job(json_object_get(json_object_get(json, "peft"), "init_from"));
	json_object_del(json, "suffix");
	json_object_del(json, "metadata");
	rc = write_json(&text, json, err);
	if (rc == 0)
		rc = sha256_of(out, text.data, text.len, err);
	buf_done(&text);
	return rc;
}

/* --- schema ----------------------------------------------------------------------------------------- */

static json_t *names_json(const struct spec_choice *choices)
{
	json_t *list = json_array();

	for (int i = 0; choices[i].name != NULL; i++)
		json_array_append_new(list, json_string(choices[i].name));
	return list;
}

static json_t *number_schema(const struct spec_field *f)
{
	json_t *schema = json_pack("{s:s}", "type", f->type == FIELD_REAL ? "number" : "integer");
	const char *low = f->flags & FIELD_POSITIVE ? "exclusiveMinimum" : "minimum";

	if (f->type == FIELD_REAL) {
		json_object_set_new(schema, low, json_real(f->min));
		json_object_set_new(schema, "maximum", json_real(f->max));
	} else {
		json_object_set_new(schema, low, json_integer((json_int_t)f->min));
		json_object_set_new(schema, "maximum", json_integer((json_int_t)f->max));
	}
	return schema;
}

static json_t *type_schema(const struct spec_field *f)
{
	switch (f->type) {
	case FIELD_GROUP:
	case FIELD_ALIAS:
		return json_pack(
			"{s:s, s:b, s:{}}", "type", "object", "additionalProperties", 0, "properties");
	case FIELD_REF:
		return json_pack("{s:s}", "type", "string");
	case FIELD_TEXT:
		return json_pack("{s:s, s:i, s:i}", "type", "string", "minLength", (int)f->min, "maxLength",
			(int)f->max);
	case FIELD_INT:
	case FIELD_INT64:
	case FIELD_REAL:
		return number_schema(f);
	case FIELD_BOOL:
		return json_pack("{s:s}", "type", "boolean");
	case FIELD_CHOICE:
		return json_pack("{s:s, s:o}", "type", "string", "enum", names_json(f->choices));
	case FIELD_CHOICES:
		return json_pack("{s:s, s:i, s:b, s:{s:s, s:o}}", "type", "array", "minItems", 1,
			"uniqueItems", 1, "items", "type", "string", "enum", names_json(f->choices));
	case FIELD_WORDS:
		return json_pack("{s:s, s:i, s:i, s:b, s:{s:s}}", "type", "array", "minItems", (int)f->min,
			"maxItems", (int)f->max, "uniqueItems", 1, "items", "type", "string");
	case FIELD_SEEDS:
		return json_pack("{s:s, s:i, s:i, s:b, s:{s:s, s:I, s:I}}", "type", "array", "minItems", 1,
			"maxItems", SPEC_SEEDS_MAX, "uniqueItems", 1, "items", "type", "integer", "minimum",
			(json_int_t)f->min, "maximum", (json_int_t)f->max);
	case FIELD_METADATA:
		return json_pack("{s:s, s:i, s:{s:s, s:i}}", "type", "object", "maxProperties", 16,
			"additionalProperties", "type", "string", "maxLength", 512);
	case FIELD_RESERVED:
		break;
	}
	return json_object();
}

static json_t *default_json(const struct spec_field *f)
{
	switch (f->type) {
	case FIELD_INT:
		return int_json(f, (int)f->preset);
	case FIELD_INT64:
		return json_integer((json_int_t)f->preset);
	case FIELD_REAL:
		return isnan(f->preset) ? json_null() : json_real(f->preset);
	case FIELD_BOOL:
		return json_boolean(f->preset != 0);
	case FIELD_CHOICE:
		return choice_json(f, (int)f->preset);
	case FIELD_CHOICES:
		return choices_json(f->choices, (int)f->preset);
	case FIELD_TEXT:
		return f->text != NULL ? json_string(f->text) : json_null();
	case FIELD_GROUP:
		return f->preset != 0 || !(f->flags & FIELD_NULLABLE) ? json_object() : json_null();
	case FIELD_WORDS: {
		json_t *list = json_array();
		const char *at = f->text;

		for (size_t len; *at != '\0'; at += len + (at[len] == ' ')) {
			len = strcspn(at, " ");
			json_array_append_new(list, json_stringn(at, len));
		}
		return list;
	}
	case FIELD_ALIAS:
	case FIELD_REF:
	case FIELD_METADATA:
	case FIELD_SEEDS:
	case FIELD_RESERVED:
		break;
	}
	return json_null();
}

/* What else than the type itself is understood: null, "auto". */
static json_t *widen(json_t *schema, const struct spec_field *f)
{
	json_t *any;

	if (f->type == FIELD_RESERVED || !(f->flags & (FIELD_NULLABLE | FIELD_AUTO_OK)))
		return schema;
	any = json_pack("[o]", schema);
	if (f->flags & FIELD_AUTO_OK)
		json_array_append_new(any, json_pack("{s:s}", "const", "auto"));
	if (f->flags & FIELD_NULLABLE)
		json_array_append_new(any, json_pack("{s:s}", "type", "null"));
	return json_pack("{s:o}", "anyOf", any);
}

/* The schema object under which the members of a group go, looking through anyOf. */
static json_t *properties_of(json_t *schema)
{
	json_t *any = json_object_get(schema, "anyOf");

	return json_object_get(any != NULL ? json_array_get(any, 0) : schema, "properties");
}

static json_t *find_properties(json_t *top, const char *path, const char **leaf)
{
	json_t *properties = properties_of(top);
	const char *dot;
	char part[64];

	while ((dot = strchr(path, '.')) != NULL) {
		snprintf(part, sizeof(part), "%.*s", (int)(dot - path), path);
		properties = properties_of(json_object_get(properties, part));
		path = dot + 1;
	}
	*leaf = path;
	return properties;
}

static json_t *field_schema(const struct spec_field *f)
{
	json_t *schema = widen(type_schema(f), f);
	const char *later = f->flags & FIELD_LATER
				    ? " Not built yet: anything but the default is refused as unsupported."
				    : "";

	json_object_set_new(schema, "description", json_sprintf("%s%s", f->about, later));
	if (!(f->flags & (FIELD_REQUIRED | FIELD_UNWRITTEN)))
		json_object_set_new(schema, "default", default_json(f));
	return schema;
}

json_t *spec_schema(enum spec_type type)
{
	const struct spec_table *table = &spec_tables[type];
	json_t *top = json_pack("{s:s, s:b, s:[], s:{}}", "type", "object", "additionalProperties", 0,
		"required", "properties");
	const char *leaf;

	for (size_t i = 0; top != NULL && i < table->n; i++) {
		const struct spec_field *f = &table->field[i];
		json_t *properties = find_properties(top, f->path, &leaf);

		if (json_object_set_new(properties, leaf, field_schema(f)) != 0) {
			json_decref(top);
			return NULL;
		}
		if (f->flags & FIELD_REQUIRED)
			json_array_append_new(json_object_get(top, "required"), json_string(f->path));
	}
	return top;
}
