/* What network a container has. In a network namespace of the test's own. */
#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "fixture.h"

static const struct gt_net_config egress = { .set_forwarding = true, .dns = "192.0.2.53" };
static const struct gt_runtime_config plain = { .allow_host_image = true, .egress = &egress };

#define CONTAINER(f, config)                                \
	struct fixture f;                                   \
	do {                                                \
		if (fixture_open_with(&f, *(config)) < 0) { \
			skip();                             \
			return;                             \
		}                                           \
	} while (0)

static struct gt_spec *shell(enum gt_network network, const char *script)
{
	struct gt_spec *spec = fixture_shell(script);

	spec->network = network;
	return spec;
}

/* Links of replicas in the test's own namespace. */
static unsigned links(void)
{
	DIR *d = opendir("/proc/sys/net/ipv4/conf");
	const struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		n += strncmp(e->d_name, "gt", 2) == 0;
	closedir(d);
	return n;
}

/* f: NULL when it is closed. The kernel takes links away in the background. */
static void until_links(struct fixture *f, unsigned n)
{
	struct timespec tick = { .tv_nsec = 2000000 };
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + 10 * GT_NS_PER_S;

	while (links() != n && gt_mono_ns(&gt_clock_system) < until_ns) {
		if (f)
			assert_int_equal(gt_loop_step(f->loop, 10, NULL), 0);
		else
			nanosleep(&tick, NULL);
	}
	assert_int_equal(links(), n);
}

static void says(const struct run *run, const char *what)
{
	if (!run->text.data || !strstr(run->text.data, what))
		fail_msg("no \"%s\" in:\n%s", what, run->text.data ? run->text.data : "");
}

static void close_all(struct fixture *f)
{
	gt_runtime_retire(f->rt);
	fixture_close(f);
	until_links(NULL, 0);
}

static void none_is_loopback(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, &plain);
	run_all(&f,
		shell(GT_NETWORK_NONE, "ls /sys/class/net; cat /etc/hosts /etc/hostname; "
				       "wc -c < /etc/resolv.conf; stat -c '%a %u' /etc/hosts"),
		&run);
	assert_string_equal(run.text.data,
			    "lo\n127.0.0.1\tlocalhost\n"
			    "::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\thello\n"
			    "hello\n0\n644 0\n");
	run_close(&run);
	fixture_close(&f);
	assert_int_equal(links(), 0);
}

static void egress_is_a_link_of_its_own(void **state)
{
	struct run runs[2];

	(void)state;
	CONTAINER(f, &plain);
	for (size_t i = 0; i < 2; i++) {
		run_all(&f,
			shell(GT_NETWORK_EGRESS,
			      "ip -4 -o addr show eth0; ip route; ip -6 route; ip link show eth0; "
			      "cat /etc/resolv.conf; ip link set eth0 down; ip addr flush dev "
			      "eth0; "
			      "ip route del default; echo 1 > /proc/sys/net/ipv4/ip_forward; "
			      "ip link show eth0 | grep -c UP"),
			&runs[i]);
		says(&runs[i], i == 0 ? "198.18.0.2/32" : "198.18.0.3/32");
		says(&runs[i], "default via 198.18.0.1 dev eth0 proto static onlink");
		says(&runs[i], "NOARP,UP,LOWER_UP");
		says(&runs[i], "nameserver 192.0.2.53\n");
		assert_int_equal(runs[i].how.code, 0);
		assert_non_null(strstr(runs[i].text.data + strlen(runs[i].text.data) - 3, "1\n"));
	}
	run_close(&runs[0]);
	run_close(&runs[1]);
	close_all(&f);
}

/* While starts are frequent, the next one of the plan has the link of one that is gone. */
static void a_link_serves_again(void **state)
{
	struct gt_runtime_config config = plain;
	struct gt_container_args args = { .function = "a", .revision = 1 };
	char addresses[16][16];
	unsigned n = 0, again = 0;
	struct run runs[4];

	(void)state;
	config.pool_max = 4;
	config.prepared_max = 1;
	CONTAINER(f, &config);
	for (unsigned round = 0; round < 4; round++) {
		for (size_t i = 0; i < GT_LEN(runs); i++) {
			struct gt_spec *spec = shell(GT_NETWORK_EGRESS,
						     "ip -4 -o addr show eth0 | tr / ' ' | "
						     "awk '{ print $4 }'; "
						     "cat /etc/resolv.conf; ip route");

			assert_int_equal(run_start_as(&f, args, spec, &runs[i]), 0);
			if (round == 0)
				fixture_until(&f, &runs[i].started);
		}
		for (size_t i = 0; i < GT_LEN(runs); i++, n++) {
			fixture_until(&f, &runs[i].exited);
			if (runs[i].failed)
				fail_msg("%s", runs[i].err.text);
			run_read(&runs[i]);
			says(&runs[i], "nameserver 192.0.2.53\n");
			says(&runs[i], "default via 198.18.0.1 dev eth0 proto static onlink");
			assert_int_equal(sscanf(runs[i].text.data, "%15s", addresses[n]), 1);
			for (unsigned k = 0; k < n && round > 0; k++)
				again += gt_streq(addresses[k], addresses[n]);
			run_close(&runs[i]);
		}
	}
	assert_true(again > 0);
	close_all(&f);
}

static void the_host_end_takes_one_address(void **state)
{
	char text[16] = "";
	struct run run;
	FILE *p;

	(void)state;
	CONTAINER(f, &plain);
	if (run_start(&f, shell(GT_NETWORK_EGRESS, "exec sleep 60"), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	assert_int_equal(links(), 1);
	p = popen(
		"cat /proc/sys/net/ipv4/conf/gt*/forwarding /proc/sys/net/ipv4/conf/gt*/rp_filter; "
		"ip route show 198.18.0.2 | wc -l; cat /proc/sys/net/ipv4/ip_forward",
		"re");
	assert_non_null(p);
	text[fread(text, 1, sizeof(text) - 1, p)] = '\0';
	pclose(p);
	assert_string_equal(text, "1\n1\n1\n0\n");
	run_close(&run);
	close_all(&f);
}

/* Not before somebody wanted one, then as many as the pool holds. */
static void staged_ahead_after_the_first(void **state)
{
	struct gt_runtime_config config = plain;
	struct run run;

	(void)state;
	config.pool = 2;
	CONTAINER(f, &config);
	run_all(&f, shell(GT_NETWORK_NONE, "true"), &run);
	run_close(&run);
	assert_int_equal(links(), 0);
	run_all(&f, shell(GT_NETWORK_EGRESS, "true"), &run);
	run_close(&run);
	until_links(&f, 2);
	close_all(&f);
}

static void host_network_needs_permission(void **state)
{
	struct gt_runtime_config config = plain;
	struct run run;

	(void)state;
	CONTAINER(f, &config);
	assert_int_equal(run_start(&f, shell(GT_NETWORK_HOST, "true"), &run), -EPERM);
	assert_string_equal(run.err.slug, "network_not_allowed");
	assert_non_null(strstr(run.err.text, "allow_host_network"));
	run_close(&run);
	fixture_close(&f);
	config.allow_host_network = true;
	assert_int_equal(fixture_open_with(&f, config), 0);
	run_all(&f,
		shell(GT_NETWORK_HOST, "readlink /proc/self/ns/net; ip link add x type bridge || "
				       "echo refused"),
		&run);
	says(&run, "refused");
	char own[64] = "";
	assert_true(readlink("/proc/self/ns/net", own, sizeof(own) - 1) > 0);
	says(&run, own);
	run_close(&run);
	fixture_close(&f);
}

static void a_subnet_in_use_fails_only_egress(void **state)
{
	static const struct gt_net_config taken = { .subnet4 = "198.18.0.0/16",
						    .set_forwarding = true };
	struct gt_runtime_config config = plain;
	struct run run;

	(void)state;
	config.egress = &taken;
	CONTAINER(f, &config);
	assert_int_equal(pclose(popen("ip link add lan0 type bridge && ip addr add 198.18.9.1/24 "
				      "dev lan0 && ip link set lan0 up",
				      "re")),
			 0);
	if (run_start(&f, shell(GT_NETWORK_EGRESS, "true"), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.failed);
	assert_string_equal(run.err.slug, "sandbox_failed");
	assert_non_null(strstr(run.err.text, "[agent] egress_subnet4"));
	run_close(&run);
	run_all(&f, shell(GT_NETWORK_NONE, "echo fine"), &run);
	says(&run, "fine");
	run_close(&run);
	pclose(popen("ip link del lan0", "re"));
	close_all(&f);
}

/* What an image has at /etc is walked by nobody. */
static void etc_of_an_image(void **state)
{
	char path[160];
	struct run run;
	FILE *file;

	(void)state;
	CONTAINER(f, &plain);
	snprintf(path, sizeof(path), "%s/outside", f.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/etc", f.rootfs);
	assert_int_equal(symlink("../outside", path), 0);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	run_close(&run);
	snprintf(path, sizeof(path), "%s/outside/hosts", f.dir);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "%s/etc", f.rootfs);
	unlink(path);
	file = fopen(path, "we"); /* a file in its place */
	assert_non_null(file);
	fclose(file);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	run_close(&run);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_loopback),
		cmocka_unit_test(egress_is_a_link_of_its_own),
		cmocka_unit_test(a_link_serves_again),
		cmocka_unit_test(the_host_end_takes_one_address),
		cmocka_unit_test(staged_ahead_after_the_first),
		cmocka_unit_test(host_network_needs_permission),
		cmocka_unit_test(a_subnet_in_use_fails_only_egress),
		cmocka_unit_test(etc_of_an_image),
	};

	if (geteuid() == 0 && unshare(CLONE_NEWNET) < 0) {
		print_message("skipped: this machine gives no network namespace\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
