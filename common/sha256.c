#include "common/sha256.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#include "common/io.h"

int sha256_init(struct sha256 *sha, struct err *err)
{
	sha->ctx = EVP_MD_CTX_new();
	if (sha->ctx == NULL || EVP_DigestInit_ex(sha->ctx, EVP_sha256(), NULL) != 1) {
		sha256_done(sha);
		return err_nomem(err);
	}
	return 0;
}

void sha256_add(struct sha256 *sha, const void *data, size_t len)
{
	EVP_DigestUpdate(sha->ctx, data, len);
}

void sha256_hex(struct sha256 *sha, char out[SHA256_HEX_BYTES])
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};

	EVP_DigestFinal_ex(sha->ctx, digest, NULL);
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	sha256_done(sha);
}

void sha256_done(struct sha256 *sha)
{
	EVP_MD_CTX_free(sha->ctx);
	sha->ctx = NULL;
}

int sha256_of(char out[SHA256_HEX_BYTES], const void *data, size_t len, struct err *err)
{
	struct sha256 sha;
	int rc = sha256_init(&sha, err);

	if (rc != 0)
		return rc;
	sha256_add(&sha, data, len);
	sha256_hex(&sha, out);
	return 0;
}

int sha256_of_file(char out[SHA256_HEX_BYTES], size_t *bytes, int dirfd, const char *name, struct err *err)
{
	static const size_t CHUNK = 65536;
	unsigned char chunk[65536];
	struct sha256 sha;
	int fd, rc;

	rc = io_open_file(&fd, bytes, dirfd, name, err);
	if (rc != 0)
		return rc;
	rc = sha256_init(&sha, err);
	while (rc == 0) {
		ssize_t n = read(fd, chunk, CHUNK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = err_errno(err, errno, name, "read");
		if (n <= 0)
			break;
		sha256_add(&sha, chunk, (size_t)n);
	}
	if (rc == 0)
		sha256_hex(&sha, out);
	else
		sha256_done(&sha);
	close(fd);
	return rc;
}
