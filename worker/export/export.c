#include "worker/export/export.h"

#include <unistd.h>

#include "common/io.h"
#include "worker/export/adapterhub_format.h"
#include "worker/export/label_files.h"
#include "worker/export/peft_format.h"

/* --- the formats ------------------------------------------------------------------------------------ */

static int write_for_peft(int dirfd, const struct model_card *card, struct err *err)
{
	return peft_format_write(dirfd, card->trained, err);
}

static int write_for_adapterhub(int dirfd, const struct model_card *card, struct err *err)
{
	return adapterhub_format_write(dirfd, card->trained, card->report->labels, err);
}

static const char *const files_for_peft[] = {
	"README.md", "adapter_config.json", "adapter_model.safetensors", "config.json", "labels.json"};
static const char *const files_for_adapterhub[] = {"README.md", "adapter.safetensors", "adapter_config.json",
	"config.json", "head_config.json", "labels.json", "model_head.safetensors", "pytorch_adapter.bin",
	"pytorch_model_head.bin"};

struct format {
	int (*write)(int dirfd, const struct model_card *card, struct err *err);
	const char *const *file; /* with those that every format has, sorted */
	size_t files;
};

static const struct format for_peft = {write_for_peft, files_for_peft, NELEM(files_for_peft)};
static const struct format for_adapterhub = {
	write_for_adapterhub, files_for_adapterhub, NELEM(files_for_adapterhub)};

/* By enum spec_peft. */
static const struct format *const formats[] = {
	[SPEC_LORA] = &for_peft,
	[SPEC_ADAPTER] = &for_adapterhub,
	[SPEC_PREFIX] = &for_adapterhub,
};

/* --- the directory ---------------------------------------------------------------------------------- */

static int write_files(struct manifest *files, int dirfd, const struct model_card *card, struct err *err)
{
	const struct format *format = formats[card->trained->peft];
	int rc = format->write(dirfd, card, err);

	if (rc == 0)
		rc = label_files_write(dirfd, card->trained->family, card->report->labels, err);
	if (rc == 0)
		rc = model_card_save(dirfd, card, err);
	for (size_t i = 0; i < format->files && rc == 0; i++)
		rc = manifest_add(files, dirfd, format->file[i], err);
	return rc == 0 ? manifest_write(files, dirfd, card->report, err) : rc;
}

int export_adapter(struct manifest *files, int out_dirfd, const struct model_card *card, struct err *err)
{
	int dirfd = -1, rc;

	*files = (struct manifest){0};
	rc = io_make_directory(&dirfd, out_dirfd, "adapter", err);
	if (rc != 0)
		return rc;
	rc = write_files(files, dirfd, card, err);
	close(dirfd);
	return rc;
}
