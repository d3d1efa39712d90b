/* Leases and the packet filter, in a network namespace of the test's own. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/buf.h>
#include <gantry/net/net.h>

#define NAME   "gantry-0123456789abcdef"
#define PREFIX "gtabcdef-"

static const struct gt_net_config plain = { .name = NAME, .set_forwarding = true };

/* In the test's own namespace and nowhere else: main() has moved there. */
static char *output_of(const char *command)
{
	static char text[32768];
	FILE *f = popen(command, "re");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	pclose(f);
	return text;
}

static void run(const char *command)
{
	output_of(command);
}

#define NEEDS_ROOT()                                                      \
	do {                                                              \
		if (geteuid() != 0) {                                     \
			print_message("skipped: namespaces need root\n"); \
			skip();                                           \
		}                                                         \
	} while (0)

static struct gt_net *make(const struct gt_net_config *config)
{
	struct gt_net *net;
	struct gt_err err;

	if (gt_net_new(config, &net, &err) < 0)
		fail_msg("%s", err.text);
	return net;
}

static struct gt_net_lease lease(struct gt_net *net)
{
	struct gt_net_lease l;
	struct gt_err err;

	if (gt_net_lease(net, &l, &err) < 0)
		fail_msg("%s", err.text);
	return l;
}

static void clean(void)
{
	struct gt_err err;

	if (gt_net_cleanup(NAME, &err) < 0)
		fail_msg("%s", err.text);
}

static void configuration_names_its_key(void **state)
{
	static const struct {
		struct gt_net_config config;
		const char *text;
	} cases[] = {
		{ { .name = NAME, .subnet4 = "198.18.0.0" }, "egress_subnet4: \"198.18.0.0\"" },
		{ { .name = NAME, .subnet4 = "198.18.0.0/29" }, "egress_subnet4" },
		{ { .name = NAME, .subnet4 = "fd00::/64" }, "egress_subnet4" },
		{ { .name = NAME, .subnet6 = "10.0.0.0/8" }, "egress_subnet6" },
		{ { .name = NAME, .subnet6 = "fd00::/113" }, "egress_subnet6" },
		{ { .name = NAME, .block = "10.0.0.1/8" }, "egress_block" },
		{ { .name = NAME, .allow = "x" }, "egress_allow" },
		{ { .name = NAME, .dns = "10.0.0.0/8" }, "dns: a name server is an address" },
		{ { .name = NAME, .dns = "dns.example" }, "dns" },
		{ { .name = "gantry" }, "no name of a daemon" },
	};
	struct gt_net *net = NULL;
	struct gt_err err;

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		assert_int_equal(gt_net_new(&cases[i].config, &net, &err), -EINVAL);
		assert_string_equal(err.slug, "bad_config");
		if (!strstr(err.text, cases[i].text))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].text);
		assert_null(net);
	}
}

static void addresses_are_distinct_and_named_after_their_slot(void **state)
{
	struct gt_net_lease a, b;
	struct gt_net *net;

	(void)state;
	NEEDS_ROOT();
	net = make(&plain);
	a = lease(net);
	b = lease(net);
	assert_string_equal(a.host_if, PREFIX "2");
	assert_string_equal(b.host_if, PREFIX "3");
	assert_memory_equal(a.addr4, ((uint8_t[]){ 198, 18, 0, 2 }), 4);
	assert_memory_equal(b.addr4, ((uint8_t[]){ 198, 18, 0, 3 }), 4);
	assert_memory_equal(a.gate4, ((uint8_t[]){ 198, 18, 0, 1 }), 4);
	if (a.has6)
		assert_memory_equal(a.addr6,
				    ((uint8_t[]){ 0xfd, 0x67, 0x61, 0x6e, 0x74, 0x72, 0x79, 0, 0, 0,
						  0, 0, 0, 0, 0, 2 }),
				    16);
	gt_net_release(net, a.slot);
	gt_net_free(net);
	clean();
}

/* The kernel's links are the record: a slot is in use while one has its name, whoever made it. */
static void a_slot_is_free_when_its_link_is_gone(void **state)
{
	struct gt_net_config small = plain;
	struct gt_net_lease l, again;
	struct gt_net *net;
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	small.subnet4 = "198.18.4.0/28";
	small.subnet6 = "none";
	run("ip link add " PREFIX "2 type bridge && ip link add " PREFIX "5 type bridge");
	net = make(&small);
	for (unsigned want = 3; want < 15; want += 1 + (want == 4)) {
		l = lease(net);
		assert_int_equal(l.slot, want);
		assert_memory_equal(l.addr4, ((uint8_t[]){ 198, 18, 4, (uint8_t)want }), 4);
		assert_false(l.has6);
	}
	assert_int_equal(gt_net_lease(net, &again, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "egress_subnet4"));
	run("ip link del " PREFIX "5");
	assert_int_equal(lease(net).slot, 5);
	gt_net_release(net, 7);
	assert_int_equal(lease(net).slot, 7);
	run("ip link del " PREFIX "2");
	gt_net_free(net);
	clean();
}

static void nothing_of_the_machine_changes_before_a_lease(void **state)
{
	struct gt_net *net;
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	net = make(&plain);
	assert_int_equal(gt_net_renew(net, &err), 0);
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_null(strstr(output_of("ip route"), "198.18"));
	gt_net_free(net);
}

static void has_rule(const char *ruleset, const char *rule)
{
	if (!strstr(ruleset, rule))
		fail_msg("no \"%s\" in:\n%s", rule, ruleset);
}

static void rules_are_what_nft_lists(void **state)
{
	static const char *const rules[] = {
		"iifname \"" PREFIX "*\" fib saddr . iif oif 0 drop",
		"type filter hook forward priority filter - 10; policy accept;",
		"iifname \"" PREFIX "*\" jump out",
		"oifname \"" PREFIX "*\" jump in",
		"iifname \"" PREFIX "*\" jump host",
		"ip saddr 198.18.0.0/16 oifname != \"" PREFIX "*\" masquerade",
		"oifname \"" PREFIX "*\" goto peers",
		"ct state established,related accept",
		"ct state invalid drop",
		"ip daddr 169.254.169.254 udp dport 53 accept",
		"ip daddr 169.254.169.254 tcp dport 53 accept",
		"ip daddr 10.9.0.0/16 accept",
		"ip daddr 198.18.0.0/16 goto refuse",
		"ip daddr 169.254.0.0/16 goto refuse",
		"ip6 daddr fe80::/10 goto refuse",
		"ip6 daddr fd00:ec2::254 goto refuse",
		"ip6 daddr 64:ff9b::a9fe:0/112 goto refuse",
		"ip daddr 172.16.0.0/12 goto refuse",
		"ip daddr 203.0.113.0/25 goto refuse",
		"meta l4proto tcp reject with tcp reset",
		"reject with icmpx admin-prohibited",
	};
	struct gt_net_config config = plain;
	struct gt_net *net;
	char *text;

	(void)state;
	NEEDS_ROOT();
	config.dns = "169.254.169.254";
	config.allow = "10.9.0.0/16";
	config.block = "203.0.113.0/25";
	config.block_private = true;
	net = make(&config);
	assert_string_equal(lease(net).host_if, PREFIX "2");
	text = output_of("nft list table inet " NAME);
	for (size_t i = 0; i < GT_LEN(rules); i++)
		has_rule(text, rules[i]);
	/* An exception counts before what it is excepted from. */
	assert_true(strstr(text, "169.254.169.254 udp") < strstr(text, "169.254.0.0/16 goto"));
	assert_true(strstr(text, "10.9.0.0/16 accept") < strstr(text, "10.0.0.0/8 goto"));
	assert_string_equal(gt_net_resolv(net), "nameserver 169.254.169.254\n");
	gt_net_free(net);
	/* It goes on without this process, and the next one puts its own in its place. */
	assert_non_null(strstr(output_of("nft list tables"), NAME));
	net = make(&plain);
	assert_int_equal(gt_net_renew(net, NULL), 0);
	text = output_of("nft list table inet " NAME);
	assert_null(strstr(text, "203.0.113.0/25"));
	has_rule(text, "ip daddr 169.254.0.0/16 goto refuse");
	gt_net_free(net);
	clean();
	assert_string_equal(output_of("nft list ruleset"), "");
	assert_null(strstr(output_of("ip route; ip -6 route"), "unreachable"));
}

/* The part of the listing that is this chain. */
static const char *chain_of(const char *name)
{
	static char command[128];

	snprintf(command, sizeof(command), "nft list chain inet " NAME " %s", name);
	return output_of(command);
}

static void groups_are_let_through(void **state)
{
	static const uint32_t ours[] = { 2, 3 }, theirs[] = { 7, 9, 11 };
	struct gt_net *net;
	const char *text;

	(void)state;
	NEEDS_ROOT();
	net = make(&plain);
	lease(net);
	assert_null(strstr(output_of("nft list table inet " NAME), "group"));
	assert_int_equal(gt_net_group(net, "ours", ours, 2, NULL), 0);
	assert_int_equal(gt_net_group(net, "theirs", theirs, 3, NULL), 0);
	text = chain_of("peers");
	has_rule(text, "ip saddr 198.18.0.3 goto group0");
	has_rule(text, "ip saddr 198.18.0.11 goto group1");
	has_rule(text, "goto refuse");
	text = chain_of("group1");
	has_rule(text, "ip daddr 198.18.0.9 accept");
	assert_null(strstr(text, "198.18.0.3 "));
	/* An address that somebody else gets is in no group any more. */
	gt_net_release(net, 2);
	gt_net_ungroup(net, 9);
	assert_null(strstr(chain_of("peers"), "198.18.0.7 "));
	has_rule(chain_of("peers"), "ip saddr 198.18.0.3 goto group0");
	assert_int_equal(gt_net_group(net, "ours", NULL, 0, NULL), 0);
	assert_null(strstr(output_of("nft list table inet " NAME), "group"));
	gt_net_free(net);
	clean();
}

static void as_many_groups_as_may_be_fit(void **state)
{
	uint32_t slots[GT_GANG_MAX];
	struct gt_net *net;
	struct gt_err err;
	char name[16];

	(void)state;
	NEEDS_ROOT();
	net = make(&plain);
	lease(net);
	for (uint32_t i = 0; i < 8; i++) {
		for (uint32_t k = 0; k < GT_GANG_MAX; k++)
			slots[k] = 100 + i * GT_GANG_MAX + k;
		snprintf(name, sizeof(name), "g%u", i);
		if (gt_net_group(net, name, slots, GT_GANG_MAX, &err) < 0)
			fail_msg("%s", err.text);
	}
	has_rule(chain_of("group7"), "accept");
	assert_int_equal(gt_net_group(net, "one more", slots, 1, &err), -ENOSPC);
	gt_net_free(net);
	clean();
}

static void a_flushed_table_comes_back(void **state)
{
	struct gt_net *net;

	(void)state;
	NEEDS_ROOT();
	net = make(&plain);
	lease(net);
	run("nft flush ruleset; nft delete table inet " NAME " 2>&1");
	lease(net);
	has_rule(output_of("nft list ruleset"), "table inet " NAME);
	gt_net_free(net);
	clean();
}

static void full_lists_fit(void **state)
{
	gt_auto(buf) struct gt_buf many = { 0 };
	struct gt_net_config config = plain;
	struct gt_net *net;
	char *text;

	(void)state;
	NEEDS_ROOT();
	for (int i = 0; i < GT_NET_CIDRS_MAX; i++)
		gt_buf_addf(&many, "2001:db8:%x::/49 ", i);
	config.allow = config.block = gt_buf_str(&many);
	config.dns = "192.0.2.1,192.0.2.2,2001:db8::53";
	config.block_private = true;
	net = make(&config);
	lease(net);
	text = output_of("nft list table inet " NAME);
	has_rule(text, "ip6 daddr 2001:db8:3f::/49 accept");
	has_rule(text, "ip6 daddr 2001:db8:3f::/49 goto refuse");
	gt_net_free(net);
	clean();
}

static void a_subnet_in_use_is_refused(void **state)
{
	static const struct gt_net_config second = { .name = "gantry-0123456789fedcba",
						     .set_forwarding = true };
	struct gt_net *net, *other;
	struct gt_net_lease l;
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	run("ip link add lan0 type bridge && ip addr add 198.18.7.1/24 dev lan0 && ip link set "
	    "lan0 "
	    "up");
	net = make(&plain);
	assert_int_equal(gt_net_lease(net, &l, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "[agent] egress_subnet4: 198.18.0.0/16 is in use"));
	assert_non_null(strstr(err.text, "lan0"));
	run("ip link del lan0");
	lease(net);
	/* Another daemon: refused by the route of the first, which may have no replica. */
	other = make(&second);
	assert_int_equal(gt_net_lease(other, &l, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "another gantryd?"));
	gt_net_free(other);
	gt_net_free(net);
	/* A second process of the same daemon is not another one. */
	net = make(&plain);
	lease(net);
	gt_net_free(net);
	clean();
}

static void forwards_only_where_it_leads_out(void **state)
{
	struct gt_net_config config = plain;
	struct gt_net_lease l;
	struct gt_net *net;
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	run("ip link add wan0 type bridge && ip addr add 192.0.2.9/24 dev wan0 && "
	    "ip link set wan0 up && ip route add default via 192.0.2.1; ip link add lan0 type "
	    "bridge");
	config.set_forwarding = false;
	net = make(&config);
	assert_int_equal(gt_net_lease(net, &l, &err), -EPERM);
	assert_non_null(strstr(err.text, "net.ipv4.conf.wan0.forwarding = 1"));
	gt_net_free(net);
	net = make(&plain);
	lease(net);
	assert_string_equal(output_of("cat /proc/sys/net/ipv4/conf/wan0/forwarding"), "1\n");
	assert_string_equal(output_of("cat /proc/sys/net/ipv4/conf/lan0/forwarding"), "0\n");
	assert_string_equal(output_of("cat /proc/sys/net/ipv4/ip_forward"), "0\n");
	gt_net_free(net);
	clean();
	run("ip link del wan0; ip link del lan0");
}

static void both_families_off_is_not_allowed(void **state)
{
	struct gt_net_config config = plain;
	struct gt_net_lease l;
	struct gt_net *net;
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	config.subnet4 = config.subnet6 = "none";
	net = make(&config);
	assert_int_equal(gt_net_lease(net, &l, &err), -EPERM);
	assert_string_equal(err.slug, "network_not_allowed");
	gt_net_free(net);
}

/* What `gantry doctor` tries, where the rest of this file shows that it can be done. */
static void trials_succeed(void **state)
{
	struct gt_err err;

	(void)state;
	NEEDS_ROOT();
	if (gt_net_try_link(&err) < 0 || gt_net_try_filter(&err) < 0)
		fail_msg("%s", err.text);
	assert_non_null(strstr(output_of("ip -o link"), "veth"));
	run("ip link del veth0; nft delete table inet gantry-try");
}

static void without_ipv6(void **state)
{
	struct gt_net *net;

	(void)state;
	NEEDS_ROOT();
	run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
	net = make(&plain);
	assert_false(lease(net).has6);
	assert_null(strstr(output_of("ip -6 route"), "fd67"));
	gt_net_free(net);
	clean();
	run("echo 0 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_names_its_key),
		cmocka_unit_test(addresses_are_distinct_and_named_after_their_slot),
		cmocka_unit_test(a_slot_is_free_when_its_link_is_gone),
		cmocka_unit_test(nothing_of_the_machine_changes_before_a_lease),
		cmocka_unit_test(rules_are_what_nft_lists),
		cmocka_unit_test(groups_are_let_through),
		cmocka_unit_test(as_many_groups_as_may_be_fit),
		cmocka_unit_test(a_flushed_table_comes_back),
		cmocka_unit_test(full_lists_fit),
		cmocka_unit_test(a_subnet_in_use_is_refused),
		cmocka_unit_test(forwards_only_where_it_leads_out),
		cmocka_unit_test(both_families_off_is_not_allowed),
		cmocka_unit_test(trials_succeed),
		cmocka_unit_test(without_ipv6),
	};

	if (geteuid() == 0 && unshare(CLONE_NEWNET) < 0) {
		print_message("skipped: this machine gives no network namespace\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
