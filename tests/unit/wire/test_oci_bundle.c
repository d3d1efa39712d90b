/* test_oci_bundle.c - the documents of the OCI runtime specification: what is read, what is passed
 * over, what is refused and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/oci_runtime.h>

#define PROCESS(x) "{\"ociVersion\":\"1.0.2\",\"process\":{\"cwd\":\"/\"," x "}}"
#define LINUX(x)   "{\"ociVersion\":\"1.0.2\",\"linux\":{" x "}}"

static const char full[] =
	"{\"ociVersion\":\"1.2.0\",\"process\":{\"terminal\":true,\"noNewPrivileges\":true,"
	"\"user\":{\"uid\":1,\"gid\":2,\"umask\":63,\"additionalGids\":[5,6]},"
	"\"args\":[\"a\",\"\"],\"env\":[\"A=1\",\"B=\"],\"cwd\":\"/w\",\"oomScoreAdj\":-5,"
	"\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"ambient\":[]},"
	"\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":2}]},"
	"\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"hostname\":\"h\",\"domainname\":\"d\","
	"\"mounts\":[{\"destination\":\"/"
	"t\",\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"ro\"]}],"
	"\"hooks\":{\"prestart\":[{\"path\":\"/"
	"h\",\"args\":[\"h\"],\"env\":[\"X=1\"],\"timeout\":3}],"
	"\"poststop\":[{\"path\":\"/p\"}]},\"annotations\":{\"k\":\"v\",\"e\":\"\"},"
	"\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/n\"}],"
	"\"uidMappings\":[{\"containerID\":0,\"hostID\":7,\"size\":9}],"
	"\"maskedPaths\":[\"/m\"],\"readonlyPaths\":[\"/r\",\"/s\"],\"sysctl\":{\"net.a\":\"1\"},"
	"\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\"},\"cgroupsPath\":\"/c\","
	"\"resources\":{\"memory\":{\"limit\":-1},\"cpu\":{\"quota\":50000,\"period\":100000},"
	"\"pids\":{\"limit\":9},\"devices\":[{\"allow\":false,\"access\":\"rwm\"}]},"
	"\"rootfsPropagation\":\"slave\"}}";

static void read_ok(const char *text, struct gt_oci_config **ret)
{
	struct gt_err err = { 0 };

	if (gt_oci_config_read(text, strlen(text), ret, &err) < 0)
		fail_msg("refused: %s\n%s", err.text, text);
}

static void test_reads_all_of_it(void **state)
{
	gt_auto(oci_config) struct gt_oci_config *c = NULL;

	(void)state;
	read_ok(full, &c);
	assert_string_equal(c->version, "1.2.0");
	assert_true(c->has_process && c->has_caps && c->has_root && c->has_seccomp);
	assert_true(c->process.terminal && c->process.no_new_privileges && c->root.readonly);
	assert_int_equal(c->process.uid, 1);
	assert_int_equal(c->process.gid, 2);
	assert_int_equal(c->process.umask, 077);
	assert_int_equal(c->process.n_groups, 2);
	assert_int_equal(c->process.groups[1], 6);
	assert_int_equal(c->process.args.n, 2);
	assert_string_equal(c->process.args.v[1], "");
	assert_null(c->process.args.v[2]);
	assert_string_equal(c->process.env.v[0], "A=1");
	assert_true(c->has_oom_score_adj);
	assert_int_equal(c->process.oom_score_adj, -5);
	assert_string_equal(c->process.caps[GT_OCI_CAP_BOUNDING].v[0], "CAP_KILL");
	assert_int_equal(c->process.caps[GT_OCI_CAP_AMBIENT].n, 0);
	assert_int_equal(c->process.rlimits[0].hard, 2);
	assert_string_equal(c->mounts[0].options.v[0], "ro");
	assert_string_equal(c->hostname, "h");
	assert_string_equal(c->domainname, "d");
	assert_int_equal(c->hooks[GT_OCI_PRESTART].v[0].timeout_s, 3);
	assert_string_equal(c->hooks[GT_OCI_PRESTART].v[0].env.v[0], "X=1");
	assert_string_equal(c->hooks[GT_OCI_POSTSTOP].v[0].path, "/p");
	assert_int_equal(c->n_annotations, 2);
	assert_string_equal(c->annotations[1].value, "");
	assert_string_equal(c->linux_.namespaces[1].path, "/n");
	assert_int_equal(c->linux_.uid_maps[0].host, 7);
	assert_int_equal(c->linux_.n_gid_maps, 0);
	assert_string_equal(c->linux_.masked.v[0], "/m");
	assert_string_equal(c->linux_.readonly.v[1], "/s");
	assert_string_equal(c->linux_.sysctl[0].name, "net.a");
	assert_string_equal(c->linux_.propagation, "slave");
	assert_int_equal(c->resources.memory_bytes, -1);
	assert_int_equal(c->resources.cpu_quota_us, 50000);
	assert_int_equal(c->resources.pids, 9);
	assert_int_equal(c->resources.devices[0].major, -1);
	assert_string_equal(c->unsupported, "");
}

static void test_passes_over_what_it_does_not_know(void **state)
{
	gt_auto(oci_config) struct gt_oci_config *c = NULL;

	(void)state;
	read_ok("{\"ociVersion\":\"1.0.2\",\"new\":{\"x\":1},\"process\":{\"cwd\":\"/"
		"\",\"newer\":1},"
		"\"annotations\":{\"org.example\":\"\"}}",
		&c);
	assert_string_equal(c->unsupported, "");
	assert_int_equal(c->process.umask, 022);
	assert_int_equal(c->resources.cpu_period_us, 100000);
}

static void test_names_what_the_engine_lacks(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ LINUX("\"devices\":[{\"path\":\"/dev/x\"}]"), "linux.devices" },
		{ LINUX("\"resources\":{\"memory\":{\"swap\":1}}"), "memory.swap" },
		{ LINUX("\"resources\":{\"blockIO\":{\"weight\":1}}"), "resources.blockIO" },
		{ PROCESS("\"scheduler\":{\"policy\":\"SCHED_FIFO\"}"), "process.scheduler" },
		/* Nothing is asked for. */
		{ LINUX("\"devices\":[],\"intelRdt\":{},\"personality\":null"), "" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(oci_config) struct gt_oci_config *c = NULL;

		read_ok(cases[i].text, &c);
		assert_string_equal(c->unsupported, cases[i].path);
	}
}

static void test_refuses_with_the_path(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ "{}", "ociVersion" },
		{ "{\"ociVersion\":1}", "ociVersion" },
		{ "{\"ociVersion\":\"1.0.2\",\"root\":{}}", "root.path" },
		{ "{\"ociVersion\":\"1.0.2\",\"process\":{}}", "process.cwd" },
		{ "{\"ociVersion\":\"1.0.2\",\"mounts\":[{\"type\":\"tmpfs\"}]}",
		  "mounts[0].destination" },
		{ "{\"ociVersion\":\"1.0.2\",\"annotations\":{\"a\":1}}", "annotations.a" },
		{ PROCESS("\"args\":\"sh\""), "process.args" },
		{ PROCESS("\"args\":[1]"), "process.args[0]" },
		{ PROCESS("\"env\":[\"A=\\u0000\"]"), "process.env[0]" },
		{ PROCESS("\"user\":{\"uid\":-1}"), "process.user.uid" },
		{ PROCESS("\"user\":{\"additionalGids\":[4294967295]}"),
		  "process.user.additionalGids[0]" },
		{ PROCESS("\"oomScoreAdj\":1001"), "process.oomScoreAdj" },
		{ PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":1}]"),
		  "process.rlimits[0].hard" },
		{ LINUX("\"namespaces\":[{\"path\":\"/x\"}]"), "linux.namespaces[0].type" },
		{ LINUX("\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":0}]"),
		  "linux.uidMappings[0].size" },
		{ LINUX("\"resources\":{\"devices\":[{\"access\":\"r\"}]}"),
		  "linux.resources.devices[0].allow" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		struct gt_oci_config *c = NULL;
		struct gt_err err = { 0 };
		int r = gt_oci_config_read(cases[i].text, strlen(cases[i].text), &c, &err);

		assert_int_equal(r, -EINVAL);
		assert_null(c);
		assert_string_equal(err.slug, "invalid_spec");
		assert_string_equal(err.path, cases[i].path);
	}
}

static void test_state_comes_back(void **state)
{
	struct gt_oci_pair pairs[] = { { "a", "1" }, { "b", "" } };
	const struct gt_oci_state s = { .id = "x",
					.status = GT_OCI_RUNNING,
					.pid = 42,
					.start_time = 1234567890123ull,
					.bundle = "/b",
					.annotations = pairs,
					.n_annotations = 2 };
	gt_auto(buf) struct gt_buf own = { 0 }, shown = { 0 };
	struct gt_oci_state back;
	struct gt_err err;

	(void)state;
	gt_oci_state_write(&s, false, &shown);
	assert_string_equal(
		shown.data,
		"{\"ociVersion\":\"1.0.2\",\"id\":\"x\",\"status\":\"running\","
		"\"pid\":42,\"bundle\":\"/b\",\"annotations\":{\"a\":\"1\",\"b\":\"\"}}");
	gt_oci_state_write(&s, true, &own);
	assert_int_equal(gt_oci_state_read(own.data, own.len, &back, &err), 0);
	assert_string_equal(back.id, "x");
	assert_int_equal(back.status, GT_OCI_RUNNING);
	assert_int_equal(back.pid, 42);
	assert_true(back.start_time == s.start_time);
	assert_string_equal(back.bundle, "/b");
	assert_int_equal(back.n_annotations, 2);
	assert_string_equal(back.annotations[0].name, "a");
	gt_oci_state_fini(&back);
	assert_int_equal(gt_oci_state_read("{\"status\":\"odd\"}", 16, &back, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_all_of_it),
		cmocka_unit_test(test_passes_over_what_it_does_not_know),
		cmocka_unit_test(test_names_what_the_engine_lacks),
		cmocka_unit_test(test_refuses_with_the_path),
		cmocka_unit_test(test_state_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
