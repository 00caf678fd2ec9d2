#include "worker/export/json_file.h"

#include "common/io.h"

void json_list_add(json_t **list, json_t *value)
{
	if (json_array_append_new(*list, value) == 0)
		return;
	json_decref(*list);
	*list = NULL;
}

void json_map_add(json_t **object, const char *key, json_t *value)
{
	if (json_object_set_new(*object, key, value) == 0)
		return;
	json_decref(*object);
	*object = NULL;
}

int json_file_write(int dirfd, const char *name, json_t *value, struct err *err)
{
	struct buf text = {0};
	int rc;

	if (value == NULL)
		return err_nomem(err);
	json_write_pretty(&text, value);
	json_decref(value);
	rc = text.failed ? err_nomem(err) : io_write_file(dirfd, name, text.data, text.len, err);
	buf_done(&text);
	return rc;
}
