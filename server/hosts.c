#include "server/hosts.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 256, PORT_HTTP = 80, PORT_HTTPS = 443 };

struct authority {
	char host[HOST_MAX]; /* without brackets */
	int port;	     /* -1: none given */
};

static bool parse_port(int *out, const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (!isdigit((unsigned char)text[0]) || *end != '\0' || n < 1 || n > 65535)
		return false;
	*out = (int)n;
	return true;
}

/* host, host:port, [v6], [v6]:port; nothing else may follow. */
static bool parse_authority(struct authority *out, const char *text, size_t len)
{
	char copy[HOST_MAX];
	const char *host = copy;
	char *rest;

	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (copy[0] == '[') {
		host = copy + 1;
		rest = strchr(copy, ']');
		if (rest == NULL)
			return false;
		*rest++ = '\0';
	} else {
		rest = copy + strcspn(copy, ":");
	}
	out->port = -1;
	if (*rest == ':') {
		if (!parse_port(&out->port, rest + 1))
			return false;
		*rest = '\0';
	} else if (*rest != '\0') {
		return false;
	}
	snprintf(out->host, sizeof(out->host), "%s", host);
	return out->host[0] != '\0';
}

static bool is_v4_loopback(const struct in_addr *address)
{
	return (ntohl(address->s_addr) >> 24) == 127;
}

bool address_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return is_v4_loopback(&((const struct sockaddr_in *)(const void *)address)->sin_addr);
	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
	return false;
}

static int port_of(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
}

bool address_split(char *host, size_t host_len, char *port, size_t port_len, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon == NULL ? 0 : (size_t)(colon - text);
	size_t digits = colon == NULL ? 0 : strspn(colon + 1, "0123456789");

	if (digits == 0 || digits > 5 || colon[1 + digits] != '\0' || atoi(colon + 1) > 65535)
		return false;
	if (text[0] == '[' && len > 2 && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= host_len || digits >= port_len)
		return false;
	snprintf(host, host_len, "%.*s", (int)len, text);
	snprintf(port, port_len, "%s", colon + 1);
	return true;
}

void address_print(char *out, size_t len, const struct sockaddr *address)
{
	char host[INET6_ADDRSTRLEN] = "";

	if (address->sa_family == AF_INET) {
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, host,
			sizeof(host));
		snprintf(out, len, "%s:%d", host, port_of(address));
	} else {
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, host,
			sizeof(host));
		snprintf(out, len, "[%s]:%d", host, port_of(address));
	}
}

static bool is_same_address(const char *host, const struct sockaddr *local)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (local->sa_family == AF_INET && inet_pton(AF_INET, host, &v4) == 1)
		return memcmp(&v4, &((const struct sockaddr_in *)(const void *)local)->sin_addr,
			       sizeof(v4)) == 0;
	if (local->sa_family == AF_INET6 && inet_pton(AF_INET6, host, &v6) == 1)
		return memcmp(&v6, &((const struct sockaddr_in6 *)(const void *)local)->sin6_addr,
			       sizeof(v6)) == 0;
	return false;
}

static bool is_loopback_name(const char *host)
{
	struct in_addr v4;

	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0)
		return true;
	return inet_pton(AF_INET, host, &v4) == 1 && is_v4_loopback(&v4);
}

static bool is_listed(const struct authority *name, const char *allowed, int default_port)
{
	while (*allowed != '\0') {
		size_t len = strcspn(allowed, ",");
		struct authority entry;

		if (parse_authority(&entry, allowed, len) && strcasecmp(entry.host, name->host) == 0 &&
			(entry.port < 0 || entry.port == (name->port < 0 ? default_port : name->port)))
			return true;
		allowed += len + (allowed[len] == ',');
	}
	return false;
}

static bool is_own(const char *text, const struct sockaddr *local, const char *allowed, int default_port)
{
	struct authority name;

	if (!parse_authority(&name, text, strlen(text)))
		return false;
	if (is_listed(&name, allowed, default_port))
		return true;
	if ((name.port < 0 ? default_port : name.port) != port_of(local))
		return false;
	return is_same_address(name.host, local) ||
	       (address_is_loopback(local) && is_loopback_name(name.host));
}

bool host_is_own(const char *authority, const struct sockaddr *local, const char *allowed)
{
	return is_own(authority, local, allowed, PORT_HTTP);
}

bool origin_is_own(const char *origin, const struct sockaddr *local, const char *allowed)
{
	static const char http[] = "http://", https[] = "https://";

	if (strncmp(origin, http, sizeof(http) - 1) == 0)
		return is_own(origin + sizeof(http) - 1, local, allowed, PORT_HTTP);
	if (strncmp(origin, https, sizeof(https) - 1) == 0)
		return is_own(origin + sizeof(https) - 1, local, allowed, PORT_HTTPS);
	return false;
}
