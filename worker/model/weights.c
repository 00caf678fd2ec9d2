#include "worker/model/weights.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"
#include "common/utf8.h"
#include "worker/data/safetensors.h"

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE  "model.safetensors.index.json"

enum {
	INDEX_BYTES_MAX = 4 << 20,
	SHARDS_MAX = 256,
	SHARD_NAME_MAX = 255,
	NAME_BYTES = 160, /* of a tensor that we look for */
	ALIGNMENT = 64,
};

struct shard {
	const char *file; /* SINGLE_FILE, or borrowed from the index */
	struct st st;
};

struct weights_store {
	json_t *index;	/* the index file, NULL for a single file */
	json_t *places; /* its weight_map, borrowed: tensor name -> file */
	struct shard *shard;
	int shards;
	real **owned; /* the tensors that could not be borrowed; room for all */
	int owned_n;
};

/* --- the table of tensors ----------------------------------------------------------------------------- */

#define EMBEDDING(member) offsetof(struct weights, member)
#define LAYER(member)	  offsetof(struct layer_weights, member)

const struct tensor_site weights_embedding_sites[] = {
	{"embeddings.word_embeddings.weight", EMBEDDING(word), 2, {'V', 'D'}},
	{"embeddings.position_embeddings.weight", EMBEDDING(position), 2, {'P', 'D'}},
	{"embeddings.token_type_embeddings.weight", EMBEDDING(type), 2, {'t', 'D'}},
	{"embeddings.LayerNorm.weight", EMBEDDING(ln_w), 1, {'D', 0}},
	{"embeddings.LayerNorm.bias", EMBEDDING(ln_b), 1, {'D', 0}},
};
const int weights_embedding_site_count = NELEM(weights_embedding_sites);

const struct tensor_site weights_layer_sites[] = {
	{"attention.self.query.weight", LAYER(q_w), 2, {'D', 'D'}},
	{"attention.self.query.bias", LAYER(q_b), 1, {'D', 0}},
	{"attention.self.key.weight", LAYER(k_w), 2, {'D', 'D'}},
	{"attention.self.key.bias", LAYER(k_b), 1, {'D', 0}},
	{"attention.self.value.weight", LAYER(v_w), 2, {'D', 'D'}},
	{"attention.self.value.bias", LAYER(v_b), 1, {'D', 0}},
	{"attention.output.dense.weight", LAYER(o_w), 2, {'D', 'D'}},
	{"attention.output.dense.bias", LAYER(o_b), 1, {'D', 0}},
	{"attention.output.LayerNorm.weight", LAYER(ln1_w), 1, {'D', 0}},
	{"attention.output.LayerNorm.bias", LAYER(ln1_b), 1, {'D', 0}},
	{"intermediate.dense.weight", LAYER(f1_w), 2, {'F', 'D'}},
	{"intermediate.dense.bias", LAYER(f1_b), 1, {'F', 0}},
	{"output.dense.weight", LAYER(f2_w), 2, {'D', 'F'}},
	{"output.dense.bias", LAYER(f2_b), 1, {'D', 0}},
	{"output.LayerNorm.weight", LAYER(ln2_w), 1, {'D', 0}},
	{"output.LayerNorm.bias", LAYER(ln2_b), 1, {'D', 0}},
};
const int weights_layer_site_count = NELEM(weights_layer_sites);

void weights_name(char *out, size_t len, const struct tensor_site *site, int layer)
{
	if (layer < 0)
		snprintf(out, len, "%s", site->name);
	else
		snprintf(out, len, "encoder.layer.%d.%s", layer, site->name);
}

const real **weights_slot(struct weights *weights, const struct tensor_site *site, int layer)
{
	char *base = layer < 0 ? (char *)weights : (char *)&weights->layer[layer];

	return (const real **)(void *)(base + site->offset);
}

static int dimension(char letter, const struct config *config)
{
	const struct {
		char letter;
		int size;
	} sizes[] = {
		{'V', config->V}, {'D', config->D}, {'F', config->F}, {'P', config->P}, {'t', config->types}};

	for (size_t i = 0; i < NELEM(sizes); i++)
		if (sizes[i].letter == letter)
			return sizes[i].size;
	return 1;
}

void weights_site_shape(int shape[2], const struct tensor_site *site, const struct config *config)
{
	shape[0] = dimension(site->dim[0], config);
	shape[1] = site->rank > 1 ? dimension(site->dim[1], config) : 0;
}

size_t weights_site_elements(const struct tensor_site *site, const struct config *config)
{
	size_t elements = 1;

	for (int i = 0; i < site->rank; i++)
		elements *= (size_t)dimension(site->dim[i], config);
	return elements;
}

/* --- values ------------------------------------------------------------------------------------------- */

static float float_of_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Exact. 2^-24 is the unit of a half's subnormals; the exponent's bias moves from 15 to 127. */
static float float_of_half(uint32_t half)
{
	uint32_t exponent = half >> 10 & 31, mantissa = half & 0x3ff;
	float subnormal = (float)(int32_t)mantissa * 0x1p-24f;
	float normal = float_of_bits((exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13);
	float value = exponent == 0 ? subnormal : normal;

	return half & 0x8000 ? -value : value;
}

static void convert_f16(real *out, const uint8_t *data, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		uint16_t half;

		memcpy(&half, data + 2 * i, sizeof(half));
		out[i] = float_of_half(half);
	}
}

static void convert_bf16(real *out, const uint8_t *data, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		uint16_t half;

		memcpy(&half, data + 2 * i, sizeof(half));
		out[i] = float_of_bits((uint32_t)half << 16);
	}
}

static void convert_f32(real *out, const uint8_t *data, size_t n)
{
#pragma omp simd
	for (size_t i = 0; i < n; i++) {
		float value;

		memcpy(&value, data + 4 * i, sizeof(value));
		out[i] = value;
	}
}

/* Zero where a dtype is not read. */
static void (*const CONVERSIONS[ST_DTYPES])(real *out, const uint8_t *data, size_t n) = {
	[ST_F16] = convert_f16,
	[ST_BF16] = convert_bf16,
	[ST_F32] = convert_f32,
};

/* x - x is 0 for every finite x and NaN for the others; no branch, so that it vectorises. */
static bool are_finite(const real *x, size_t n)
{
	int bad = 0;

#pragma omp simd reduction(| : bad)
	for (size_t i = 0; i < n; i++)
		bad |= !(x[i] - x[i] == 0);
	return bad == 0;
}

/* --- files -------------------------------------------------------------------------------------------- */

static int refuse(struct err *err, enum err_code code, const char *file, const char *name, const char *why)
{
	char where[sizeof(err->where)];

	snprintf(where, sizeof(where), "%s: %.*s", file, (int)utf8_cut(name, strlen(name), 200), name);
	return err_set(err, code, where, "%s", why);
}

static bool ends_with(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);

	return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static struct shard *find_shard(struct weights_store *store, const char *file)
{
	for (int i = 0; i < store->shards; i++)
		if (strcmp(store->shard[i].file, file) == 0)
			return &store->shard[i];
	return NULL;
}

static int open_shard(struct weights_store *store, int dirfd, const char *file, struct err *err)
{
	struct shard *shard = &store->shard[store->shards];
	int rc = st_open(&shard->st, dirfd, file, err);

	if (rc != 0)
		return rc == -ERR_NOT_FOUND ? err_as(err, ERR_INVALID_MODEL) : rc;
	shard->file = file;
	store->shards++;
	return 0;
}

/* The files that the index names, each once; only names in the same directory. */
static int open_indexed_shards(struct weights_store *store, int dirfd, struct err *err)
{
	const char *name;
	json_t *value;

	store->places = json_object_get(store->index, "weight_map");
	if (!json_is_object(store->places))
		return refuse(err, ERR_INVALID_MODEL, INDEX_FILE, "weight_map", "missing, or not an object");
	json_object_foreach(store->places, name, value)
	{
		const char *file = json_string_value(value);
		int rc;

		if (file == NULL || strchr(file, '/') != NULL || !path_is_safe(file) ||
			strlen(file) > SHARD_NAME_MAX || !ends_with(file, ".safetensors"))
			return refuse(err, ERR_INVALID_MODEL, INDEX_FILE, name,
				"not the name of a .safetensors file");
		if (find_shard(store, file) != NULL)
			continue;
		if (store->shards == SHARDS_MAX)
			return refuse(err, ERR_INVALID_MODEL, INDEX_FILE, name, "more than 256 files");
		rc = open_shard(store, dirfd, file, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int open_index(struct weights_store *store, int dirfd, struct err *err)
{
	struct buf text = {0};
	int rc = io_read_file(&text, dirfd, INDEX_FILE, INDEX_BYTES_MAX, err);

	if (rc == 0)
		rc = json_parse(&store->index, text.data, text.len, INDEX_FILE, err);
	if (rc == -ERR_NOT_FOUND || rc == -ERR_TOO_LARGE || rc == -ERR_INVALID_JSON)
		rc = err_as(err, ERR_INVALID_MODEL);
	if (rc == 0)
		rc = open_indexed_shards(store, dirfd, err);
	buf_done(&text);
	return rc;
}

static bool is_foreign(const char *file)
{
	static const char *const SUFFIXES[] = {
		".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".gguf"};

	for (size_t i = 0; i < NELEM(SUFFIXES); i++)
		if (ends_with(file, SUFFIXES[i]))
			return utf8_valid(file, strlen(file)) == strlen(file);
	return false;
}

/* Weights in a format that is not read: the first such file in byte order. False when there is none. */
static bool find_foreign(char out[SHARD_NAME_MAX + 1], int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	out[0] = '\0';
	if (dir == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while ((entry = readdir(dir)) != NULL)
		if (is_foreign(entry->d_name) && (out[0] == '\0' || strcmp(entry->d_name, out) < 0))
			snprintf(out, SHARD_NAME_MAX + 1, "%s", entry->d_name);
	closedir(dir);
	return out[0] != '\0';
}

static int refuse_directory(int dirfd, struct err *err)
{
	char file[SHARD_NAME_MAX + 1];

	if (!find_foreign(file, dirfd))
		return err_set(err, ERR_INVALID_MODEL, SINGLE_FILE, "the model has no weights");
	return err_set(err, ERR_UNSUPPORTED_FORMAT, file,
		"only safetensors weights are read, since a pickle runs code: convert it, in a sandbox, with "
		"transformers: AutoModel.from_pretrained(dir).save_pretrained(out, safe_serialization=True)");
}

static bool has_file(int dirfd, const char *file)
{
	return faccessat(dirfd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_files(struct weights_store *store, int dirfd, struct err *err)
{
	store->shard = calloc(SHARDS_MAX, sizeof(store->shard[0]));
	if (store->shard == NULL)
		return err_nomem(err);
	if (has_file(dirfd, SINGLE_FILE))
		return open_shard(store, dirfd, SINGLE_FILE, err);
	if (has_file(dirfd, INDEX_FILE))
		return open_index(store, dirfd, err);
	return refuse_directory(dirfd, err);
}

/* --- tensors ------------------------------------------------------------------------------------------ */

static const char *file_of_names(const struct weights_store *store)
{
	return store->index != NULL ? INDEX_FILE : SINGLE_FILE;
}

static bool has_tensor(const struct weights_store *store, const char *name)
{
	if (store->index != NULL)
		return json_object_get(store->places, name) != NULL;
	return st_find(&store->shard[0].st, name) != NULL;
}

/* Do the names carry the family's prefix? Both spellings at once would be two models in one. */
static int find_prefix(
	bool *prefixed, const struct weights_store *store, const struct config *config, struct err *err)
{
	const char *bare = weights_embedding_sites[0].name;
	char full[NAME_BYTES];

	snprintf(full, sizeof(full), "%s.%s", config->model_type, bare);
	*prefixed = has_tensor(store, full);
	if (*prefixed && has_tensor(store, bare))
		return refuse(
			err, ERR_INVALID_MODEL, file_of_names(store), full, "is there without prefix, too");
	if (!*prefixed && !has_tensor(store, bare))
		return refuse(err, ERR_INVALID_MODEL, file_of_names(store), bare, "missing");
	return 0;
}

/* "LayerNorm.gamma" for "LayerNorm.weight", "LayerNorm.beta" for "LayerNorm.bias"; false for other names. */
static bool legacy_name(char out[NAME_BYTES], const char *name)
{
	static const char *const RENAMES[][2] = {
		{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};

	for (size_t i = 0; i < NELEM(RENAMES); i++) {
		if (!ends_with(name, RENAMES[i][0]))
			continue;
		snprintf(out, NAME_BYTES, "%.*s%s", (int)(strlen(name) - strlen(RENAMES[i][0])), name,
			RENAMES[i][1]);
		return true;
	}
	return false;
}

/* The name that the files have for a site's tensor. */
static int resolve_name(char out[NAME_BYTES], const struct weights_store *store, const char *bare,
	const char *prefix, struct err *err)
{
	char legacy[NAME_BYTES];

	snprintf(out, NAME_BYTES, "%s%s%s", prefix, prefix[0] ? "." : "", bare);
	if (!legacy_name(legacy, out) || !has_tensor(store, legacy)) {
		if (has_tensor(store, out))
			return 0;
		return refuse(err, ERR_INVALID_MODEL, file_of_names(store), out, "missing");
	}
	if (has_tensor(store, out))
		return refuse(err, ERR_INVALID_MODEL, file_of_names(store), legacy,
			"is there under its new name, too");
	memcpy(out, legacy, NAME_BYTES);
	return 0;
}

/* The tensor of a name that has_tensor knows; the index may still lie. */
static int find_tensor(const struct st_tensor **out, const char **file, struct weights_store *store,
	const char *name, struct err *err)
{
	const struct shard *shard = &store->shard[0];

	if (store->index != NULL)
		shard = find_shard(store, json_string_value(json_object_get(store->places, name)));
	*file = shard->file;
	*out = st_find(&shard->st, name);
	if (*out == NULL)
		return refuse(
			err, ERR_INVALID_MODEL, *file, name, "missing, though the index says it is here");
	return 0;
}

static void print_shape(char *out, size_t len, const size_t *shape, int rank)
{
	size_t at = (size_t)snprintf(out, len, "[");

	for (int i = 0; i < rank && at < len; i++)
		at += (size_t)snprintf(out + at, len - at, "%s%zu", i > 0 ? ", " : "", shape[i]);
	if (at < len)
		snprintf(out + at, len - at, "]");
}

static int check_shape(const struct st_tensor *tensor, const char *file, const struct tensor_site *site,
	const struct config *config, struct err *err)
{
	char got[200], want[60], why[300];
	size_t shape[2] = {0};
	bool same = tensor->rank == site->rank;

	for (int i = 0; i < site->rank; i++) {
		shape[i] = (size_t)dimension(site->dim[i], config);
		same = same && tensor->shape[i] == shape[i];
	}
	if (same)
		return 0;
	print_shape(got, sizeof(got), tensor->shape, tensor->rank);
	print_shape(want, sizeof(want), shape, site->rank);
	snprintf(why, sizeof(why), "shape %s, expected %s", got, want);
	return refuse(err, ERR_INVALID_MODEL, file, tensor->name, why);
}

/* The values in memory of our own. */
static int own_values(const real **out, struct weights_store *store, const struct st_tensor *tensor, size_t n,
	struct err *err)
{
	size_t bytes;
	real *values;

	if (!size_mul(&bytes, n, sizeof(real)) || !size_add(&bytes, bytes, ALIGNMENT))
		return err_nomem(err);
	values = aligned_alloc(ALIGNMENT, bytes - bytes % ALIGNMENT);
	if (values == NULL)
		return err_nomem(err);
	store->owned[store->owned_n++] = values;
	CONVERSIONS[tensor->dtype](values, tensor->data, n);
	*out = values;
	return 0;
}

static bool can_borrow(const struct st_tensor *tensor)
{
	return tensor->dtype == ST_REAL && (uintptr_t)tensor->data % sizeof(real) == 0;
}

static int load_values(const real **out, struct weights_store *store, const struct st_tensor *tensor,
	const char *file, struct err *err)
{
	size_t n = st_elements(tensor);
	char why[80];
	int rc = 0;

	if (CONVERSIONS[tensor->dtype] == NULL) {
		snprintf(why, sizeof(why), "dtype %s; F32, F16 and BF16 are read",
			st_dtype_name(tensor->dtype));
		return refuse(err, ERR_UNSUPPORTED_PRECISION, file, tensor->name, why);
	}
	if (can_borrow(tensor))
		*out = tensor->data;
	else
		rc = own_values(out, store, tensor, n, err);
	if (rc == 0 && !are_finite(*out, n))
		rc = refuse(err, ERR_INVALID_MODEL, file, tensor->name, "a value is NaN or infinite");
	return rc;
}

static int load_site(struct weights *weights, const struct tensor_site *site, int layer,
	const struct config *config, struct err *err)
{
	struct weights_store *store = weights->store;
	const struct st_tensor *tensor;
	char bare[NAME_BYTES / 2], name[NAME_BYTES];
	const char *file;
	int rc;

	weights_name(bare, sizeof(bare), site, layer);
	rc = resolve_name(name, store, bare, weights->prefixed ? config->model_type : "", err);
	if (rc == 0)
		rc = find_tensor(&tensor, &file, store, name, err);
	if (rc == 0)
		rc = check_shape(tensor, file, site, config, err);
	if (rc == 0)
		rc = load_values(weights_slot(weights, site, layer), store, tensor, file, err);
	return rc;
}

static int load_sites(struct weights *weights, const struct config *config, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < weights_embedding_site_count && rc == 0; i++)
		rc = load_site(weights, &weights_embedding_sites[i], -1, config, err);
	for (int layer = 0; layer < config->L; layer++)
		for (int i = 0; i < weights_layer_site_count && rc == 0; i++)
			rc = load_site(weights, &weights_layer_sites[i], layer, config, err);
	return rc;
}

static int allocate(struct weights *out, const struct config *config, struct err *err)
{
	size_t layers = (size_t)config->L;
	size_t sites = (size_t)weights_embedding_site_count + layers * (size_t)weights_layer_site_count;

	*out = (struct weights){0};
	out->store = calloc(1, sizeof(*out->store));
	out->layer = calloc(layers, sizeof(out->layer[0]));
	if (out->store == NULL || out->layer == NULL)
		return err_nomem(err);
	out->store->owned = calloc(sites, sizeof(out->store->owned[0]));
	return out->store->owned == NULL ? err_nomem(err) : 0;
}

int weights_open(struct weights *out, int dirfd, const struct config *config, struct err *err)
{
	int rc = allocate(out, config, err);

	if (rc == 0)
		rc = open_files(out->store, dirfd, err);
	if (rc == 0)
		rc = find_prefix(&out->prefixed, out->store, config, err);
	if (rc == 0)
		rc = load_sites(out, config, err);
	if (rc == 0)
		weights_rest(out);
	else
		weights_done(out);
	return rc;
}

void weights_rest(const struct weights *weights)
{
	const struct weights_store *store = weights->store;

	for (int i = 0; store != NULL && i < store->shards; i++)
		io_map_rest(&store->shard[i].st.map);
}

void weights_done(struct weights *weights)
{
	struct weights_store *store = weights->store;

	for (int i = 0; store != NULL && i < store->shards; i++)
		st_done(&store->shard[i].st);
	for (int i = 0; store != NULL && i < store->owned_n; i++)
		free(store->owned[i]);
	if (store != NULL) {
		json_decref(store->index);
		free(store->shard);
		free(store->owned);
	}
	free(store);
	free(weights->layer);
	*weights = (struct weights){0};
}
