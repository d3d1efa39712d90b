#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "resolv.h"

static const char *parsed(const char *text, bool has4, bool has6)
{
	static char out[GT_NET_RESOLV_SIZE];
	struct gt_resolv r;

	gt_resolv_parse(text, strlen(text), has4, has6, &r);
	gt_resolv_write(&r, out);
	return out;
}

static void keeps_what_a_replica_can_use(void **state)
{
	(void)state;
	assert_string_equal(parsed("# made by a program\nnameserver 192.0.2.53\n"
				   "nameserver\t2001:db8::53\nsearch example.org corp\n"
				   "options ndots:2 edns0\nsortlist 10.0.0.0\n",
				   true, true),
			    "nameserver 192.0.2.53\nnameserver 2001:db8::53\n"
			    "search example.org corp\noptions ndots:2 edns0\n");
}

static void skips_servers_of_the_host_alone(void **state)
{
	static const char *const servers[] = {
		"127.0.0.53",   "127.0.0.1",        "::1",       "0.0.0.0",      "::",    "fe80::1",
		"fe80::1%eth0", "::ffff:127.0.0.1", "localhost", "192.0.2.0/24", "1.2.3", "",
	};
	char line[128];

	(void)state;
	for (size_t i = 0; i < GT_LEN(servers); i++) {
		snprintf(line, sizeof(line), "nameserver %s\n", servers[i]);
		assert_string_equal(parsed(line, true, true), "");
	}
}

static void takes_only_families_that_are_on(void **state)
{
	const char *text = "nameserver 192.0.2.53\nnameserver 2001:db8::53\n";

	(void)state;
	assert_string_equal(parsed(text, true, false), "nameserver 192.0.2.53\n");
	assert_string_equal(parsed(text, false, true), "nameserver 2001:db8::53\n");
}

static void takes_three_and_bounds_the_rest(void **state)
{
	char text[8192] = "nameserver 1.0.0.1\nnameserver 1.0.0.2\nnameserver 1.0.0.3\n"
			  "nameserver 1.0.0.4\n";
	const char *out;

	(void)state;
	for (int i = 0; i < 100; i++)
		strcat(text, "search a.very.long.list.of.domains.example.org\n");
	out = parsed(text, true, true);
	assert_null(strstr(out, "1.0.0.4"));
	assert_non_null(strstr(out, "1.0.0.3"));
	assert_true(strlen(out) < GT_NET_RESOLV_SIZE);
	assert_int_equal(out[strlen(out) - 1], '\n');
}

/* Nothing but printable text gets through, whatever the file holds. */
static void hostile_files(void **state)
{
	static const char zero[] = "nameserver 192.0.2.53\0evil\nsearch a\033[2J\nsearch b\0c\n"
				   "search ok\nnameserver 192.0.2.54";
	static char big[16384], out[GT_NET_RESOLV_SIZE];
	struct gt_resolv r;

	(void)state;
	gt_resolv_parse(zero, sizeof(zero) - 1, true, true, &r);
	gt_resolv_write(&r, out);
	assert_string_equal(out, "nameserver 192.0.2.54\nsearch ok\n");
	memset(big, 'n', sizeof(big));
	gt_resolv_parse(big, sizeof(big), true, true, &r);
	assert_int_equal(r.n_servers, 0);
	memset(big, '\n', sizeof(big));
	gt_resolv_parse(big, sizeof(big), true, true, &r);
	gt_resolv_write(&r, out);
	assert_string_equal(out, "");
	assert_string_equal(parsed("nameserver", true, true), "");
	assert_string_equal(parsed("nameserverx 192.0.2.1\nn 192.0.2.1\n", true, true), "");
}

static void next_file_when_the_first_has_none(void **state)
{
	char stub[] = "/tmp/gantry-test-XXXXXX", real[] = "/tmp/gantry-test-XXXXXX";
	const char *const paths[] = { "/does/not/exist", stub, real };
	int fds[2] = { mkstemp(stub), mkstemp(real) };
	struct gt_resolv r;

	(void)state;
	assert_true(fds[0] >= 0 && fds[1] >= 0);
	dprintf(fds[0], "nameserver 127.0.0.53\nsearch stub\n");
	dprintf(fds[1], "nameserver 192.0.2.53\nsearch real\n");
	gt_resolv_find(paths, 3, true, true, &r);
	assert_int_equal(r.n_servers, 1);
	assert_string_equal(r.rest, "search real\n");
	gt_resolv_find(paths, 2, true, true, &r);
	assert_int_equal(r.n_servers, 0);
	for (int i = 0; i < 2; i++)
		close(fds[i]);
	unlink(stub);
	unlink(real);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_a_replica_can_use),
		cmocka_unit_test(skips_servers_of_the_host_alone),
		cmocka_unit_test(takes_only_families_that_are_on),
		cmocka_unit_test(takes_three_and_bounds_the_rest),
		cmocka_unit_test(hostile_files),
		cmocka_unit_test(next_file_when_the_first_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
