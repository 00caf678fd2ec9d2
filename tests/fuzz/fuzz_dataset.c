/*
 * Any bytes as a data set; the first byte chooses the format and whether there are pairs. Refused with a
 * place, or every row has texts, a class that exists, and a line that does not go back.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "worker/data/dataset.h"

static void check_rows(const struct dataset *data, const struct labels *labels, bool has_pair)
{
	if (data->n < 1 || labels->n < 2 || labels->n > DATASET_CLASSES_MAX)
		abort();
	for (int i = 0; i < data->n; i++) {
		const struct row *row = &data->row[i];

		if (row->text[0] == '\0' || strlen(row->text) > DATASET_FIELD_BYTES_MAX)
			abort();
		if ((row->pair != NULL) != has_pair || (has_pair && row->pair[0] == '\0'))
			abort();
		if (row->label < 0 || row->label >= labels->n || row->line < (i > 0 ? row[-1].line + 1 : 1))
			abort();
	}
}

static void check_split(const struct dataset *data)
{
	struct selection all, kept, taken;

	if (selection_all(&all, data, NULL) != 0 ||
		selection_split(&kept, &taken, data, &all, 0.3, 1, NULL) != 0)
		abort();
	if (kept.n + taken.n != data->n)
		abort();
	selection_done(&all);
	selection_done(&kept);
	selection_done(&taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const NAMES[] = {"d.csv", "d.tsv", "d.jsonl"};
	struct columns columns = {"a", NULL, "l"};
	struct dataset dataset;
	struct labels labels = {0};
	struct err err = {0};
	const char *name;

	if (size == 0)
		return 0;
	name = NAMES[data[0] % NELEM(NAMES)];
	columns.pair = data[0] & 0x80 ? "b" : NULL;
	if (dataset_read(&dataset, &labels, fuzz_file(name, data + 1, size - 1), name, &columns, &err) != 0) {
		if (err.code == ERR_NONE || err.where[0] == '\0' || err.text[0] == '\0' || labels.n != 0)
			abort();
		return 0;
	}
	check_rows(&dataset, &labels, columns.pair != NULL);
	check_split(&dataset);
	dataset_done(&dataset);
	labels_done(&labels);
	return 0;
}
