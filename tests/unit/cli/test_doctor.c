#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/http/pki.h>

#include "doctor.h"
#include "fake.h"
#include "run.h"

static void the_worst_finding_decides(void **state)
{
	struct gt_finding f[3] = { 0 };

	(void)state;
	assert_int_equal(gt_doctor_exit(f, 3), 0);
	f[0].state = GT_CHECK_SKIP;
	assert_int_equal(gt_doctor_exit(f, 3), 0);
	f[2].state = GT_CHECK_WARN;
	assert_int_equal(gt_doctor_exit(f, 3), 1);
	f[1].state = GT_CHECK_ERROR;
	assert_int_equal(gt_doctor_exit(f, 3), 2);
}

static int give(void *arg)
{
	return *(int *)arg;
}

static int crash(void *arg GT_UNUSED)
{
	raise(SIGKILL);
	return 0;
}

static void a_child_tells_or_dies(void **state)
{
	int value = EPERM;

	(void)state;
	assert_int_equal(gt_in_child(give, &value), EPERM);
	value = 0;
	assert_int_equal(gt_in_child(give, &value), 0);
	assert_int_equal(gt_in_child(crash, NULL), ECHILD);
}

static struct gt_value *report(const char *line, int *code)
{
	gt_auto(run) struct run r = run_cli(line);
	struct gt_value *v = NULL;

	*code = r.code;
	assert_int_equal(gt_value_parse(r.out, strlen(r.out), &v, NULL), 0);
	return v;
}

/* The finding of one check; NULL when there is no such check. */
static const struct gt_value *finding(const struct gt_value *doc, const char *check)
{
	const struct gt_value *items = gt_value_at(doc, "items");

	for (size_t i = 0; i < gt_value_len(items); i++)
		if (gt_streq(gt_value_str(gt_value_item(items, i), "check", ""), check))
			return gt_value_item(items, i);
	return NULL;
}

static void every_bad_finding_has_a_text(void **state)
{
	gt_auto(value) struct gt_value *v = NULL;
	const struct gt_value *items;
	int code;

	(void)state;
	unsetenv("GANTRY_URL");
	v = report("doctor --json", &code);
	items = gt_value_at(v, "items");
	assert_true(gt_value_len(items) >= 18);
	for (size_t i = 0; i < gt_value_len(items); i++)
		assert_true(gt_value_str(gt_value_item(items, i), "detail", "")[0]);
	assert_true(gt_value_bool(v, "ok", false) == (code == 0));
	assert_string_equal(gt_value_str(finding(v, "token"), "state", ""), "skip");
}

static void a_read_only_place_for_state_is_an_error(void **state)
{
	gt_auto(value) struct gt_value *v = NULL;
	int code;

	(void)state;
	v = report("doctor --json --state /proc/gantry", &code);
	assert_string_equal(gt_value_str(finding(v, "durable writes"), "state", ""), "skip");
	assert_string_equal(gt_value_str(finding(v, "disk"), "state", ""), "error");
	assert_int_equal(code, 2);
}

static void put(const char *dir, const char *name, const char *text, size_t len)
{
	gt_auto(free) char *path = gt_asprintf("%s/link/%s", dir, name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
}

/* A certificate for a node, good from `signed_ms` on for a minute. */
static void put_certificate(const char *dir, uint64_t signed_ms)
{
	gt_auto(buf) struct gt_buf ca_cert = { 0 }, csr = { 0 }, cert = { 0 };
	struct gt_buf ca_key = { 0 }, key = { 0 };
	gt_auto(pki_ca) struct gt_pki_ca *ca = NULL;
	struct gt_err err;

	assert_int_equal(gt_pki_ca_new(signed_ms, &ca_key, &ca_cert, &err), 0);
	assert_int_equal(gt_pki_ca_open(ca_key.data, ca_cert.data, &ca, &err), 0);
	assert_int_equal(gt_pki_key_new(&key, &err), 0);
	assert_int_equal(gt_pki_request(key.data, &csr, &err), 0);
	assert_int_equal(gt_pki_sign(ca, csr.data, csr.len, GT_PKI_NODE, "n-1", signed_ms, 60000,
				     &cert, &err),
			 0);
	put(dir, "node.crt", cert.data, cert.len);
	gt_buf_wipe(&ca_key);
	gt_buf_wipe(&key);
}

static void is_found(const char *words, const char *check, const char *state, const char *text)
{
	gt_auto(value) struct gt_value *v = NULL;
	int code;

	v = report(words, &code);
	assert_string_equal(gt_value_str(finding(v, check), "state", ""), state);
	assert_non_null(strstr(gt_value_str(finding(v, check), "detail", ""), text));
}

static void a_host_that_has_joined_is_looked_at(void **state)
{
	char dir[] = "/tmp/gantry-doctor-XXXXXX";
	uint64_t now_ms = gt_wall_ms(&gt_clock_system);
	/* Nobody serves the port of discard. */
	static const char joined[] = "{\"url\":\"https://127.0.0.1:9\",\"node\":\"n-1\"}";

	(void)state;
	assert_non_null(mkdtemp(dir));
	gt_auto(free) char *words = gt_asprintf("doctor --json --state %s", dir);
	gt_auto(free) char *link = gt_asprintf("%s/link", dir);
	gt_auto(free) char *join = gt_asprintf("%s/link/join.json", dir);
	gt_auto(free) char *cert = gt_asprintf("%s/link/node.crt", dir);

	is_found(words, "cluster", "skip", "has not joined");
	is_found(words, "certificate", "skip", "has not joined");
	assert_int_equal(mkdir(link, 0700), 0);
	put(dir, "join.json", joined, strlen(joined));
	is_found(words, "cluster", "error", "https://127.0.0.1:9: ");
	put_certificate(dir, now_ms);
	is_found(words, "certificate", "ok", "node n-1, until ");
	put_certificate(dir, now_ms - 55000);
	is_found(words, "certificate", "warn", "is not renewed");
	put_certificate(dir, now_ms - 90000);
	is_found(words, "certificate", "error", "ended at");
	put_certificate(dir, now_ms + 1000000);
	is_found(words, "certificate", "error", "has not begun");
	put(dir, "node.crt", "nonsense", 8);
	is_found(words, "certificate", "error", "");
	unlink(join);
	unlink(cert);
	rmdir(link);
	rmdir(dir);
}

/* In a child, which has given up for good what a container's process 1 would need. */
static int doctor_without_core_limit(void *arg)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2];
	gt_auto(value) struct gt_value *v = NULL;
	const char *state;
	int code;

	if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) < 0 ||
	    syscall(SYS_capget, &head, caps) < 0)
		return errno;
	caps[0].effective &= ~(1U << CAP_SYS_RESOURCE);
	caps[0].permitted &= ~(1U << CAP_SYS_RESOURCE);
	if (syscall(SYS_capset, &head, caps) < 0)
		return errno;
	v = report("doctor --json", &code);
	state = gt_value_str(finding(v, "core dumps"), "state", "");
	return gt_streq(state, *(bool *)arg ? "warn" : "ok") ? 0 : ERANGE;
}

static void a_host_that_handles_crashes_is_told(void **state)
{
	FILE *f = fopen("/proc/sys/kernel/core_pattern", "r");
	bool pipe = f && fgetc(f) == '|';

	(void)state;
	if (f)
		fclose(f);
	if (geteuid() != 0)
		skip();
	assert_int_equal(gt_in_child(doctor_without_core_limit, &pipe), 0);
}

#define JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

static void a_daemon_is_asked_how_it_is(void **state)
{
	static const struct rule rules[] = {
		{ "GET /readyz ", JSON, "{\"status\":\"ok\"}" },
		{ "GET /v1/nodes ", JSON, "{\"items\":[{\"name\":\"a\",\"state\":\"up\"}]}" },
		{ "GET /v1/version ", JSON, "{\"version\":\"" GT_VERSION "\"}" },
		{ 0 },
	};
	static const char *const checks[] = { "daemon", "daemon ready", "token", "nodes",
					      "version" };
	gt_auto(value) struct gt_value *v = NULL;
	int code;

	(void)state;
	fake_start(rules);
	v = report("doctor --json", &code);
	free(fake_stop());
	for (size_t i = 0; i < GT_LEN(checks); i++)
		assert_string_equal(gt_value_str(finding(v, checks[i]), "state", ""), "ok");
}

static void a_sick_daemon_is_told_with_the_fix(void **state)
{
	static const struct rule rules[] = {
		{ "GET /readyz ", "HTTP/1.1 503 Service Unavailable\r\n", "no node" },
		{ "GET /v1/nodes ", "HTTP/1.1 401 Unauthorized\r\n", "{}" },
		{ "GET /v1/version ", JSON, "{\"version\":\"99.0\"}" },
		{ 0 },
	};
	static const struct {
		const char *check, *state;
	} want[] = { { "daemon ready", "error" }, { "token", "error" }, { "version", "warn" } };
	gt_auto(value) struct gt_value *v = NULL;
	int code;

	(void)state;
	fake_start(rules);
	v = report("doctor --json", &code);
	free(fake_stop());
	assert_int_equal(code, 2);
	for (size_t i = 0; i < GT_LEN(want); i++) {
		const struct gt_value *f = finding(v, want[i].check);
		assert_string_equal(gt_value_str(f, "state", ""), want[i].state);
		assert_true(gt_value_str(f, "fix", "")[0]);
	}
}

static int nowhere(void **state)
{
	(void)state;
	return setenv("GANTRY_STATE", "/nonexistent/gantry", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_worst_finding_decides),
		cmocka_unit_test(a_child_tells_or_dies),
		cmocka_unit_test(every_bad_finding_has_a_text),
		cmocka_unit_test(a_read_only_place_for_state_is_an_error),
		cmocka_unit_test(a_host_that_has_joined_is_looked_at),
		cmocka_unit_test(a_host_that_handles_crashes_is_told),
		cmocka_unit_test(a_daemon_is_asked_how_it_is),
		cmocka_unit_test(a_sick_daemon_is_told_with_the_fix),
	};

	return cmocka_run_group_tests(tests, nowhere, NULL);
}
