/* sha256: streaming SHA-256 over libcrypto, and hexadecimal. */
#ifndef OBLIVIATE_SHA256_H
#define OBLIVIATE_SHA256_H

#include "common/err.h"

enum { SHA256_HEX_BYTES = 65 }; /* 64 digits and NUL */

struct sha256 {
	void *ctx; /* EVP_MD_CTX */
};

int sha256_init(struct sha256 *sha, struct err *err) MUST_USE;
void sha256_add(struct sha256 *sha, const void *data, size_t len);
/* Lower-case digits; releases the state. */
void sha256_hex(struct sha256 *sha, char out[SHA256_HEX_BYTES]);
void sha256_done(struct sha256 *sha);

int sha256_of(char out[SHA256_HEX_BYTES], const void *data, size_t len, struct err *err) MUST_USE;
/* Of the file dirfd/name, and its size. */
int sha256_of_file(
	char out[SHA256_HEX_BYTES], size_t *bytes, int dirfd, const char *name, struct err *err) MUST_USE;

#endif
