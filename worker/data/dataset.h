/*
 * dataset: labelled texts from .jsonl, .csv (RFC 4180) or .tsv (tab, no quoting, header line), UTF-8.
 *
 *   FORMAT  A ROW                                              COLUMNS
 *   .jsonl  one JSON object a line; text and pair are strings,  members; others are ignored
 *           the label a string or an integer, one kind a file
 *   .csv    RFC 4180: "a ""quoted"" field, even of two lines"   named by the header line
 *   .tsv    fields between tabs, taken as they are              named by the header line
 *
 * Lines end in LF or CRLF; a UTF-8 byte order mark is skipped; blank lines may stand at the end only. Text
 * and pair must not be empty. Invalid rows are refused (ERR_INVALID_DATA, "FILE:LINE"), never dropped.
 * Labels are integers (ascending; in .csv and .tsv when all are plain decimals without leading zeros) or
 * strings (byte order); the class id is the position; 2 to 50 classes. All memory belongs to the dataset,
 * at most the file's size and a row table.
 */
#ifndef OBLIVIATE_DATASET_H
#define OBLIVIATE_DATASET_H

#include "common/err.h"

enum {
	DATASET_CLASSES_MAX = 50,
	DATASET_ROWS_MAX = 5000000,
	DATASET_COLUMNS_MAX = 1024,
	DATASET_FIELD_BYTES_MAX = 1 << 20,
	DATASET_LABEL_BYTES_MAX = 256,
	DATASET_LINE_BYTES_MAX = 8 << 20, /* of .jsonl */
	DATASET_FILE_BYTES_MAX = INT_MAX,
};

struct row {
	const char *text; /* NUL-terminated UTF-8 without NUL inside */
	const char *pair; /* NULL for single texts */
	int label;	  /* class id */
	int line;	  /* line of the file on which the row begins, from 1 */
};

struct labels {
	int n;
	char *name[DATASET_CLASSES_MAX]; /* as text; integers in decimal */
	bool are_integers;
};

struct dataset {
	int n;
	struct row *row;
	struct dataset_store *store; /* owned text */
};

struct columns {
	const char *text, *pair, *label; /* pair NULL: single texts */
};

/*
 * Read dirfd/name (format by extension, else ERR_UNSUPPORTED_FORMAT; ERR_NOT_FOUND). With labels->n == 0 the
 * classes are found and written to *labels (the caller's, labels_done); else every label must be one of them.
 */
int dataset_read(struct dataset *out, struct labels *labels, int dirfd, const char *name,
	const struct columns *columns, struct err *err) MUST_USE;
void dataset_done(struct dataset *dataset);
void labels_done(struct labels *labels);

/* Row numbers of one dataset, in the order in which they are used. */
struct selection {
	int n;
	int *row;
};

/*
 * Split off round(share * n) rows, stratified by label, at least one per class that has two, chosen by seed;
 * both parts keep file order.
 */
int selection_split(struct selection *kept, struct selection *taken, const struct dataset *data,
	const struct selection *from, double share, uint64_t seed, struct err *err) MUST_USE;
/* At most max rows of *selection, a seeded sample, in file order. */
void selection_sample(struct selection *selection, int max, uint64_t seed);
int selection_all(struct selection *out, const struct dataset *data, struct err *err) MUST_USE;
void selection_done(struct selection *selection);

#endif
