/*
 * hosts: which names are the daemon's own. A Host or Origin header with any other name comes from a page that
 * rebinds DNS or posts across sites, and is refused.
 *
 * Own are: the address and port that the connection came in on; for a loopback address also localhost and every other
 * spelling of loopback, with that port; and what --allowed-hosts lists (without a port there: any port).
 */
#ifndef OBLIVIATE_HOSTS_H
#define OBLIVIATE_HOSTS_H

#include <sys/socket.h>

#include "common/base.h"

/* `authority` is host[:port] as in the Host header; `local` is the connection's own end. */
bool host_is_own(const char *authority, const struct sockaddr *local, const char *allowed);
/* `origin` is scheme://host[:port]; "null" is nobody's. */
bool origin_is_own(const char *origin, const struct sockaddr *local, const char *allowed);
/* Only reachable from this machine? */
bool address_is_loopback(const struct sockaddr *address);
/* "host:port" or "[host]:port" in two; false when it is neither or the port is above 65535. */
bool address_split(char *host, size_t host_len, char *port, size_t port_len, const char *text);
/* "127.0.0.1:80", "[::1]:80". */
void address_print(char *out, size_t len, const struct sockaddr *address);

#endif
