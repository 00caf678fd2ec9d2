/* assets: files built into the daemon: migrations, the page, openapi.yaml (deploy/embed.sh). */
#ifndef OBLIVIATE_ASSETS_H
#define OBLIVIATE_ASSETS_H

#include <stddef.h>

struct asset {
	const char *path; /* as in the repository, "migrations/0001_init.sql"; NULL ends the table */
	const unsigned char *data;
	size_t len;
};

/* Sorted migrations first, then the page, then openapi.yaml. */
extern const struct asset assets[];

#endif
