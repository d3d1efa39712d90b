/* Whom the daemon may call for a user. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>

#include <gantry/http/outbound.h>

static bool permits(const struct gt_outbound *o, const char *text)
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *four = (struct sockaddr_in *)&a;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&a;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1)
		four->sin_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1)
		six->sin6_family = AF_INET6;
	else
		fail_msg("%s is no address", text);
	return gt_outbound_permits(o, (struct sockaddr *)&a);
}

static void only_public_addresses_are_called(void **state)
{
	static const char *const inside[] = {
		"127.0.0.1",
		"127.9.9.9",
		"0.0.0.0",
		"10.1.2.3",
		"172.31.255.255",
		"192.168.1.1",
		"169.254.169.254",
		"100.64.0.1",
		"224.0.0.1",
		"255.255.255.255",
		"::1",
		"::",
		"::ffff:10.0.0.1",
		"::ffff:127.0.0.1",
		"::7f00:1",
		"fe80::1",
		"fd00:ec2::254",
		"ff02::1",
		"64:ff9b::7f00:1",
		"2002:7f00:1::",
	};
	static const char *const outside[] = { "1.1.1.1", "172.32.0.1",      "192.169.0.1",
					       "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8" };
	const struct gt_outbound none = { .n_allowed = 0 };

	(void)state;
	for (size_t i = 0; i < GT_LEN(inside); i++)
		if (permits(&none, inside[i]))
			fail_msg("%s is called", inside[i]);
	for (size_t i = 0; i < GT_LEN(outside); i++)
		if (!permits(&none, outside[i]))
			fail_msg("%s is not called", outside[i]);
}

static void the_operator_adds_networks(void **state)
{
	struct gt_outbound o = { .n_allowed = 1 };

	(void)state;
	assert_true(gt_cidr_parse("10.1.0.0/16", &o.allowed[0]));
	assert_true(permits(&o, "10.1.2.3"));
	assert_true(permits(&o, "::ffff:10.1.2.3"));
	assert_false(permits(&o, "10.2.2.3"));
	assert_true(permits(&o, "8.8.8.8"));
	struct sockaddr unix_one = { .sa_family = AF_UNIX };

	assert_false(gt_outbound_permits(&o, &unix_one));
}

static void addresses_are_of_the_web(void **state)
{
	static const char *const bad[] = { "",           "http://",
					   "ftp://a/",   "https:///x",
					   "a.example",  "https://u@a/",
					   "http://a b", "http://a\\b",
					   "file:///x",  "http://a/\r\nX: y" };

	(void)state;
	assert_true(gt_outbound_url_ok("http://a.example"));
	assert_true(gt_outbound_url_ok("HTTPS://a.example:8443/x?y=z@w"));
	for (size_t i = 0; i < GT_LEN(bad); i++)
		if (gt_outbound_url_ok(bad[i]))
			fail_msg("%s is taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_public_addresses_are_called),
		cmocka_unit_test(the_operator_adds_networks),
		cmocka_unit_test(addresses_are_of_the_web),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
