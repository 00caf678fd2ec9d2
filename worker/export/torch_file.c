#include "worker/export/torch_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

/* --- little-endian numbers ----------------------------------------------------------------------------- */

static void put_u16(struct buf *out, unsigned value)
{
	const uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8)};

	buf_add(out, bytes, sizeof(bytes));
}

static void put_u32(struct buf *out, uint32_t value)
{
	put_u16(out, value & 0xffff);
	put_u16(out, value >> 16);
}

/* --- the pickle ---------------------------------------------------------------------------------------- */

/* Opcodes, and globals as the opcode writes them. */
#define PROTO_2		      "\x80\x02"
#define ORDERED_DICT	      "ccollections\nOrderedDict\n"
#define REBUILD_TENSOR	      "ctorch._utils\n_rebuild_tensor_v2\n"
#define EMPTY_TUPLE	      ")"
#define MARK		      "("
#define TUPLE		      "t"
#define REDUCE		      "R"
#define BINPERSID	      "Q"
#define FALSE_VALUE	      "\x89"
#define SET_ITEMS	      "u"
#define STOP		      "."
#define OP_UNICODE	      "X"
#define OP_INT		      "J"
#define REMEMBER_ORDERED_DICT "q\x01"
#define RECALL_ORDERED_DICT   "h\x01"

static void put_text(struct buf *out, const char *text)
{
	buf_str(out, OP_UNICODE);
	put_u32(out, (uint32_t)strlen(text));
	buf_str(out, text);
}

/* Below 2^31: the archive's limit sees to it. */
static void put_int(struct buf *out, size_t value)
{
	buf_str(out, OP_INT);
	put_u32(out, (uint32_t)value);
}

/* ("storage", FloatStorage, "NUMBER", "cpu", elements) as a persistent id. */
static void put_storage(struct buf *out, const struct st_tensor *tensor, int number)
{
	char key[16];

	snprintf(key, sizeof(key), "%d", number);
	buf_str(out, MARK);
	put_text(out, "storage");
	buf_str(out, tensor->dtype == ST_F32 ? "ctorch\nFloatStorage\n" : "ctorch\nDoubleStorage\n");
	put_text(out, key);
	put_text(out, "cpu");
	put_int(out, st_elements(tensor));
	buf_str(out, TUPLE BINPERSID);
}

/* Shape, then strides. */
static void put_layout(struct buf *out, const struct st_tensor *tensor)
{
	buf_str(out, MARK);
	for (int i = 0; i < tensor->rank; i++)
		put_int(out, tensor->shape[i]);
	buf_str(out, TUPLE MARK);
	for (int i = 0; i < tensor->rank; i++) {
		size_t stride = 1;

		for (int j = i + 1; j < tensor->rank; j++)
			stride *= tensor->shape[j];
		put_int(out, stride);
	}
	buf_str(out, TUPLE);
}

static void put_tensor(struct buf *out, const struct st_tensor *tensor, int number)
{
	put_text(out, tensor->name);
	buf_str(out, REBUILD_TENSOR MARK);
	put_storage(out, tensor, number);
	put_int(out, 0); /* offset in the storage */
	put_layout(out, tensor);
	buf_str(out, FALSE_VALUE);			      /* requires_grad */
	buf_str(out, RECALL_ORDERED_DICT EMPTY_TUPLE REDUCE); /* no hooks */
	buf_str(out, TUPLE REDUCE);
}

static void put_pickle(struct buf *out, const struct tensor_list *list)
{
	buf_str(out, PROTO_2 ORDERED_DICT REMEMBER_ORDERED_DICT EMPTY_TUPLE REDUCE MARK);
	for (int i = 0; i < list->n; i++)
		put_tensor(out, &list->tensor[i], i);
	buf_str(out, SET_ITEMS STOP);
}

/* --- the archive --------------------------------------------------------------------------------------- */

enum {
	ALIGNMENT = 64,
	LOCAL_HEADER_BYTES = 30,
	EXTRA_HEADER_BYTES = 4,
	EXTRA_ID = 0x4246,     /* "FB", by which PyTorch pads */
	DOS_DATE = 1 << 5 | 1, /* 1980-01-01 */
	VERSION = 20,
	FLAG_UTF8 = 1 << 11,
};

struct entry {
	char name[64];
	const void *data;
	size_t bytes;
	uint32_t crc;
	size_t at; /* of its local header */
};

struct archive {
	struct entry *entry;
	int n;
	struct buf *head;     /* [n]: local header and padding of each entry */
	struct buf directory; /* the end of the file */
	struct iovec *part;   /* [2 n + 1] */
	size_t size;	      /* so far */
};

/* CRC-32 of zip (polynomial 0xedb88320), four bits at a time. */
static uint32_t crc32_of(const uint8_t *data, size_t n)
{
	static const uint32_t nibble[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190,
		0x6b6b51f4, 0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	uint32_t crc = ~0u;

	for (size_t i = 0; i < n; i++) {
		crc = nibble[(crc ^ data[i]) & 15] ^ crc >> 4;
		crc = nibble[(crc ^ (uint32_t)data[i] >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

/* What local header and directory say alike, from "version needed" to "length of the name". */
static void put_common(struct buf *out, const struct entry *entry)
{
	put_u16(out, VERSION);
	put_u16(out, FLAG_UTF8);
	put_u16(out, 0); /* stored */
	put_u16(out, 0); /* midnight */
	put_u16(out, DOS_DATE);
	put_u32(out, entry->crc);
	put_u32(out, (uint32_t)entry->bytes);
	put_u32(out, (uint32_t)entry->bytes);
	put_u16(out, (unsigned)strlen(entry->name));
}

/* The local header, with an extra field that brings the bytes behind it to a multiple of ALIGNMENT. */
static void put_local_header(struct buf *out, const struct entry *entry)
{
	static const uint8_t zeros[ALIGNMENT];
	size_t end = entry->at + LOCAL_HEADER_BYTES + strlen(entry->name) + EXTRA_HEADER_BYTES;
	size_t pad = (ALIGNMENT - end % ALIGNMENT) % ALIGNMENT;

	buf_str(out, "PK\3\4");
	put_common(out, entry);
	put_u16(out, (unsigned)(EXTRA_HEADER_BYTES + pad));
	buf_str(out, entry->name);
	put_u16(out, EXTRA_ID);
	put_u16(out, (unsigned)pad);
	buf_add(out, zeros, pad);
}

static void put_directory_entry(struct buf *out, const struct entry *entry)
{
	buf_str(out, "PK\1\2");
	put_u16(out, VERSION); /* made by */
	put_common(out, entry);
	put_u16(out, 0); /* extra */
	put_u16(out, 0); /* comment */
	put_u16(out, 0); /* disk */
	put_u16(out, 0); /* internal attributes */
	put_u32(out, 0); /* external attributes */
	put_u32(out, (uint32_t)entry->at);
	buf_str(out, entry->name);
}

static void put_directory(struct archive *archive)
{
	struct buf *out = &archive->directory;
	size_t bytes;

	for (int i = 0; i < archive->n; i++)
		put_directory_entry(out, &archive->entry[i]);
	bytes = out->len;
	buf_str(out, "PK\5\6");
	put_u32(out, 0); /* disks */
	put_u16(out, (unsigned)archive->n);
	put_u16(out, (unsigned)archive->n);
	put_u32(out, (uint32_t)bytes);
	put_u32(out, (uint32_t)archive->size);
	put_u16(out, 0); /* comment */
}

static void add_entry(struct archive *archive, const char *name, const void *data, size_t bytes)
{
	struct entry *entry = &archive->entry[archive->n];
	struct buf *head = &archive->head[archive->n];

	*entry = (struct entry){
		.data = data, .bytes = bytes, .crc = crc32_of(data, bytes), .at = archive->size};
	snprintf(entry->name, sizeof(entry->name), "archive/%s", name);
	put_local_header(head, entry);
	archive->part[2 * archive->n] = (struct iovec){head->data, head->len};
	archive->part[2 * archive->n + 1] = (struct iovec){(void *)(uintptr_t)data, bytes};
	archive->size += head->len + bytes;
	archive->n++;
}

static void add_entries(struct archive *archive, const struct buf *pickle, const struct tensor_list *list)
{
	char name[32];

	add_entry(archive, "data.pkl", pickle->data, pickle->len);
	add_entry(archive, "byteorder", "little", 6);
	for (int i = 0; i < list->n; i++) {
		snprintf(name, sizeof(name), "data/%d", i);
		add_entry(archive, name, list->tensor[i].data, st_elements(&list->tensor[i]) * sizeof(real));
	}
	add_entry(archive, "version", "3\n", 2);
	put_directory(archive);
	archive->part[2 * archive->n] = (struct iovec){archive->directory.data, archive->directory.len};
}

/* --- the file ------------------------------------------------------------------------------------------ */

enum { FIXED_ENTRIES = 3 };

static int archive_init(struct archive *archive, int entries, struct err *err)
{
	*archive = (struct archive){0};
	archive->entry = calloc((size_t)entries, sizeof(*archive->entry));
	archive->head = calloc((size_t)entries, sizeof(*archive->head));
	archive->part = calloc(2 * (size_t)entries + 1, sizeof(*archive->part));
	return archive->entry == NULL || archive->head == NULL || archive->part == NULL ? err_nomem(err) : 0;
}

static void archive_done(struct archive *archive)
{
	for (int i = 0; i < archive->n; i++)
		buf_done(&archive->head[i]);
	buf_done(&archive->directory);
	free(archive->entry);
	free(archive->head);
	free(archive->part);
}

static bool has_failed(const struct archive *archive, const struct buf *pickle)
{
	bool failed = pickle->failed || archive->directory.failed;

	for (int i = 0; i < archive->n; i++)
		failed = failed || archive->head[i].failed;
	return failed;
}

/* Sizes and places have 32 bits, numbers in the pickle 31, entries 16. */
static int check_limits(const char *name, const struct tensor_list *list, struct err *err)
{
	static const size_t BYTES_MAX = INT32_MAX;
	size_t bytes = 0;

	for (int i = 0; i < list->n; i++)
		bytes += st_elements(&list->tensor[i]) * sizeof(real);
	if (bytes > BYTES_MAX || list->n > ST_TENSORS_MAX)
		return err_set(err, ERR_TOO_LARGE, name,
			"%d tensors of %zu bytes, more than this format is written for", list->n, bytes);
	return 0;
}

int torch_file_write(int dirfd, const char *name, const struct tensor_list *list, struct err *err)
{
	struct archive archive;
	struct buf pickle = {0};
	int rc = check_limits(name, list, err);

	if (rc != 0)
		return rc;
	rc = archive_init(&archive, list->n + FIXED_ENTRIES, err);
	if (rc == 0) {
		put_pickle(&pickle, list);
		rc = pickle.failed ? err_nomem(err) : 0;
	}
	if (rc == 0) {
		add_entries(&archive, &pickle, list);
		rc = has_failed(&archive, &pickle) ? err_nomem(err) : 0;
	}
	if (rc == 0)
		rc = io_write_parts(dirfd, name, archive.part, 2 * archive.n + 1, err);
	archive_done(&archive);
	buf_done(&pickle);
	return rc;
}
