#include "server/id.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void id_new(char *out, size_t len, const char *prefix)
{
	unsigned char raw[ID_DIGITS / 2];
	size_t n = strlen(prefix);

	/* Up to 256 bytes getrandom neither fails nor comes back short once the kernel's pool is seeded. */
	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw) || len < n + ID_DIGITS + 1)
		abort();
	memcpy(out, prefix, n);
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(out + n + 2 * i, 3, "%02x", raw[i]);
}
