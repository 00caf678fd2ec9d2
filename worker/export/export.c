#include "worker/export/export.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

static const char *const files_of_lora[] = {
	"README.md", "adapter_config.json", "adapter_model.safetensors", "config.json", "labels.json"};

static int open_directory(int *out, int parent, const char *name, struct err *err)
{
	if (mkdirat(parent, name, 0755) != 0 && errno != EEXIST)
		return err_errno(err, errno, name, "mkdir");
	*out = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *out < 0 ? err_errno(err, errno, name, "open") : 0;
}

static int write_card(int dirfd, const struct model_card *card, struct err *err)
{
	struct buf text = {0};
	int rc;

	model_card_write(&text, card);
	rc = text.failed ? err_nomem(err) : io_write_file(dirfd, "README.md", text.data, text.len, err);
	buf_done(&text);
	return rc;
}

static int write_files(struct manifest *files, int dirfd, const struct model_card *card, struct err *err)
{
	int rc = peft_format_write(dirfd, card->lora, err);

	if (rc == 0)
		rc = peft_format_write_labels(dirfd, card->lora->family, card->report->labels, err);
	if (rc == 0)
		rc = write_card(dirfd, card, err);
	for (size_t i = 0; i < NELEM(files_of_lora) && rc == 0; i++)
		rc = manifest_add(files, dirfd, files_of_lora[i], err);
	return rc == 0 ? manifest_write(files, dirfd, card->report, err) : rc;
}

int export_adapter(struct manifest *files, int out_dirfd, const struct model_card *card, struct err *err)
{
	int dirfd = -1, rc;

	*files = (struct manifest){0};
	rc = open_directory(&dirfd, out_dirfd, "adapter", err);
	if (rc != 0)
		return rc;
	rc = write_files(files, dirfd, card, err);
	close(dirfd);
	return rc;
}
