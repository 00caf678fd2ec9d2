/*
 * rows: the objects of a list's page, as text, in the order in which they are added. A list of 100 jobs is put together
 * from text that lies in the database; going through json_t values took ten times as long.
 *
 * Zero is an empty page. Running out of memory sticks in `text.failed`.
 */
#ifndef OBLIVIATE_ROWS_H
#define OBLIVIATE_ROWS_H

#include "common/buf.h"

enum { ROWS_ID_BYTES = 512 };

struct rows {
	struct buf text; /* objects with commas between */
	size_t n;
	bool has_more;
	int64_t last_seq; /* where the next page begins; for those who go on */
	char first_id[ROWS_ID_BYTES], last_id[ROWS_ID_BYTES];
};

/* One more object: the caller writes it, as JSON, to what comes back. */
struct buf *rows_next(struct rows *rows, const char *id);
/* The whole list object; what `rows` holds is gone afterwards. */
void rows_finish(struct buf *out, struct rows *rows);
/* The same in pieces: before the first row, and after the last. */
void rows_head(struct buf *out);
void rows_tail(struct buf *out, const struct rows *rows);
void rows_done(struct rows *rows);

#endif
