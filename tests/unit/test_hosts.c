#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "server/hosts.h"

static struct sockaddr_storage address(const char *host, int port)
{
	struct sockaddr_storage out = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out;

	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
	} else {
		assert_int_equal(inet_pton(AF_INET6, host, &v6->sin6_addr), 1);
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
	}
	return out;
}

static void test_own_hosts_are_told_from_others(void **state)
{
	static const struct {
		const char *host, *local;
		int port;
		const char *allowed;
		bool is_own;
	} cases[] = {
		{"127.0.0.1:8080", "127.0.0.1", 8080, "", true},
		{"localhost:8080", "127.0.0.1", 8080, "", true},
		{"[::1]:8080", "127.0.0.1", 8080, "", true},
		{"localhost:8080", "::1", 8080, "", true},
		{"127.0.0.1", "127.0.0.1", 80, "", true},
		{"192.0.2.7:8080", "192.0.2.7", 8080, "", true},
		{"[2001:db8::1]:8080", "2001:db8::1", 8080, "", true},
		{"[2001:DB8:0::1]:8080", "2001:db8::1", 8080, "", true},
		{"localhost:8080", "192.0.2.7", 8080, "", false},
		{"192.0.2.8:8080", "192.0.2.7", 8080, "", false},
		{"192.0.2.7:8081", "192.0.2.7", 8080, "", false},
		{"192.0.2.7", "192.0.2.7", 8080, "", false},
		{"a.example:8080", "127.0.0.1", 8080, "", false},
		{"a.example:8080", "127.0.0.1", 8080, "a.example", true},
		{"A.EXAMPLE", "127.0.0.1", 8080, "b.example,a.example", true},
		{"a.example:80", "127.0.0.1", 8080, "a.example:8080", false},
		{"a.example", "127.0.0.1", 8080, "a.example:80", true},
		{"a.example.evil", "127.0.0.1", 8080, "a.example", false},
		{"localhost.evil:8080", "127.0.0.1", 8080, "", false},
		{"", "127.0.0.1", 80, "", false},
		{":80", "127.0.0.1", 80, "", false},
		{"localhost:", "127.0.0.1", 80, "", false},
		{"localhost:0", "127.0.0.1", 80, "", false},
		{"localhost:80x", "127.0.0.1", 80, "", false},
		{"[::1", "127.0.0.1", 80, "", false},
		{"[::1]80", "127.0.0.1", 80, "", false},
		{"2130706433:80", "127.0.0.1", 80, "", false},
	};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct sockaddr_storage local = address(cases[i].local, cases[i].port);

		assert_int_equal(host_is_own(cases[i].host, (struct sockaddr *)&local, cases[i].allowed),
			cases[i].is_own);
	}
}

static void test_an_origin_has_a_scheme_and_its_port(void **state)
{
	struct sockaddr_storage local = address("127.0.0.1", 8080);
	const struct sockaddr *end = (struct sockaddr *)&local;

	assert_true(origin_is_own("http://localhost:8080", end, ""));
	assert_true(origin_is_own("https://a.example", end, "a.example:443"));
	assert_false(origin_is_own("http://a.example", end, "a.example:443"));
	assert_false(origin_is_own("null", end, ""));
	assert_false(origin_is_own("localhost:8080", end, ""));
	assert_false(origin_is_own("http://localhost:8080/path", end, ""));
	assert_false(origin_is_own("http://", end, ""));
}

static void test_addresses_are_split_and_printed(void **state)
{
	static const struct {
		const char *text, *host, *port;
	} cases[] = {
		{"127.0.0.1:0", "127.0.0.1", "0"},
		{"[::1]:8080", "::1", "8080"},
		{":80", "", "80"},
		{"name:65535", "name", "65535"},
		{"name:65536", NULL, NULL},
		{"name", NULL, NULL},
		{"name:", NULL, NULL},
		{"name:x", NULL, NULL},
		{"name:80x", NULL, NULL},
	};
	struct sockaddr_storage local;
	char host[64], port[8];

	for (size_t i = 0; i < NELEM(cases); i++) {
		bool is_good = address_split(host, sizeof(host), port, sizeof(port), cases[i].text);

		assert_int_equal(is_good, cases[i].host != NULL);
		if (is_good) {
			assert_string_equal(host, cases[i].host);
			assert_string_equal(port, cases[i].port);
		}
	}
	local = address("::1", 80);
	address_print(host, sizeof(host), (struct sockaddr *)&local);
	assert_string_equal(host, "[::1]:80");
}

static void test_loopback_is_told_from_the_rest(void **state)
{
	static const struct {
		const char *host;
		bool is_loopback;
	} cases[] = {{"127.0.0.1", true}, {"127.9.9.9", true}, {"::1", true}, {"0.0.0.0", false},
		{"::", false}, {"192.0.2.1", false}, {"128.0.0.1", false}, {"::ffff:192.0.2.1", false}};

	for (size_t i = 0; i < NELEM(cases); i++) {
		struct sockaddr_storage local = address(cases[i].host, 80);

		assert_int_equal(address_is_loopback((struct sockaddr *)&local), cases[i].is_loopback);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_hosts_are_told_from_others),
		cmocka_unit_test(test_an_origin_has_a_scheme_and_its_port),
		cmocka_unit_test(test_addresses_are_split_and_printed),
		cmocka_unit_test(test_loopback_is_told_from_the_rest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
