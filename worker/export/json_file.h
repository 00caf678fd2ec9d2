/*
 * json_file: JSON values as files that people open.
 *
 * Containers are built through pointers: a container that cannot take a value becomes NULL, further calls do
 * nothing, and the writer says that memory ran out.
 */
#ifndef OBLIVIATE_JSON_FILE_H
#define OBLIVIATE_JSON_FILE_H

#include "common/json.h"

/* Append, or set. Takes the reference of value, which may be NULL. */
void json_list_add(json_t **list, json_t *value);
void json_map_add(json_t **object, const char *key, json_t *value);

/* Write dirfd/name, pretty-printed. Takes the reference of value; NULL is ERR_NO_MEMORY. */
int json_file_write(int dirfd, const char *name, json_t *value, struct err *err) MUST_USE;

#endif
