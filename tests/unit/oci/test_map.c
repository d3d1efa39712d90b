/* test_map.c - what a bundle becomes: what the engine is asked for, and what is refused. No root.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "oci.h"

#define WITH(x)    "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\".\"}," x "}"
#define PROCESS(x) WITH("\"process\":{\"cwd\":\"/\",\"args\":[\"/p\"]," x "}")
#define LINUX(x)   WITH("\"linux\":{" x "}")
#define MOUNT(x)   WITH("\"mounts\":[{\"destination\":\"/m\"," x "}]")

struct fixture {
	char dir[64], log[80];
	struct oci_args args;
	struct oci_bundle bundle;
	struct oci_plan plan;
	struct gt_err err;
};

static int setup(void **state)
{
	struct fixture *f = gt_alloc(sizeof(*f));

	gt_strcopy(f->dir, sizeof(f->dir), "/tmp/gantry-oci-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->log, sizeof(f->log), "%s.log", f->dir);
	f->args = (struct oci_args){ .log = f->log, .out = stdout, .err = stderr };
	*state = f;
	return 0;
}

static void forget(struct fixture *f)
{
	oci_plan_fini(&f->plan);
	gt_oci_config_free(gt_steal(&f->bundle.config));
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	forget(f);
	rmdir(f->dir);
	unlink(f->log);
	free(f);
	return 0;
}

static int plan(struct fixture *f, const char *text)
{
	forget(f);
	f->bundle.dir = f->dir;
	if (gt_oci_config_read(text, strlen(text), &f->bundle.config, &f->err) < 0)
		fail_msg("not read: %s\n%s", f->err.text, text);
	return oci_plan_make(&f->args, &f->bundle, &f->plan, &f->err);
}

static void plan_ok(struct fixture *f, const char *text)
{
	if (plan(f, text) < 0)
		fail_msg("refused: %s\n%s", f->err.text, text);
}

static bool logged(const struct fixture *f, const char *text)
{
	static char log[65536];
	gt_auto(file) FILE *file = fopen(f->log, "r");
	size_t n = file ? fread(log, 1, sizeof(log) - 1, file) : 0;

	log[n] = '\0';
	return strstr(log, text);
}

static void test_process(void **state)
{
	struct fixture *f = *state;
	const struct gt_spec *spec;

	plan_ok(f, WITH("\"hostname\":\"Name\",\"process\":{\"cwd\":\"/w\",\"args\":[\"/p\",\"x\"],"
			"\"env\":[\"A=b=c\",\"B=\"],\"user\":{\"uid\":7,\"gid\":8,\"umask\":2,"
			"\"additionalGids\":[5]},\"oomScoreAdj\":100,\"rlimits\":["
			"{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":20},"
			"{\"type\":\"RLIMIT_CORE\",\"soft\":1,\"hard\":1}]}"));
	spec = f->plan.spec;
	assert_true(f->plan.has_program);
	assert_string_equal(spec->command[1], "x");
	assert_null(spec->command[2]);
	assert_string_equal(spec->workdir, "/w");
	assert_string_equal(spec->user, "7:8");
	assert_int_equal(spec->n_env, 2);
	assert_string_equal(spec->env[0].value, "b=c");
	assert_string_equal(f->plan.foreign.hostname, "Name");
	assert_int_equal(f->plan.foreign.umask, 2);
	assert_int_equal(f->plan.foreign.groups[0], 5);
	assert_int_equal(f->plan.foreign.oom_score_adj, 100);
	/* Cores stay off: the kernel may hand them to a program of the host's. */
	assert_int_equal(f->plan.foreign.n_limits, 1);
	assert_int_equal(f->plan.foreign.limits[0].resource, RLIMIT_NOFILE);
	assert_int_equal(f->plan.foreign.limits[0].hard, 20);
	assert_true(logged(f, "RLIMIT_CORE"));
}

static void test_without_a_process(void **state)
{
	struct fixture *f = *state;

	plan_ok(f, WITH("\"hostname\":\"h\""));
	assert_false(f->plan.has_program);
}

static void test_capabilities_stay_within_the_engines(void **state)
{
	struct fixture *f = *state;
	const uint64_t *caps = f->plan.foreign.caps;

	plan_ok(f, PROCESS("\"capabilities\":{\"bounding\":[\"CAP_KILL\",\"CAP_SYS_ADMIN\"],"
			   "\"permitted\":[\"CAP_KILL\",\"CAP_SYS_ADMIN\"],"
			   "\"effective\":[\"CAP_KILL\",\"CAP_CHOWN\"],\"inheritable\":[],"
			   "\"ambient\":[\"CAP_KILL\"]}"));
	assert_true(f->plan.foreign.has_caps);
	assert_int_equal(caps[GT_FOREIGN_BOUNDING], 1 << 5);
	assert_int_equal(caps[GT_FOREIGN_PERMITTED], 1 << 5);
	assert_int_equal(caps[GT_FOREIGN_EFFECTIVE], 1 << 5);
	assert_int_equal(caps[GT_FOREIGN_AMBIENT], 0);
	assert_true(logged(f, "CAP_SYS_ADMIN can not be granted"));
	plan_ok(f, PROCESS("\"terminal\":false"));
	assert_false(f->plan.foreign.has_caps);
}

static void test_root(void **state)
{
	struct fixture *f = *state;

	plan_ok(f, WITH("\"hostname\":\"h\""));
	assert_string_equal(f->plan.spec->image_path, f->dir);
	assert_true(f->plan.foreign.root_direct && !f->plan.foreign.root_readonly);
	plan_ok(f, "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\".\",\"readonly\":true}}");
	assert_true(!f->plan.foreign.root_direct && f->plan.foreign.root_readonly);
}

static void test_linux(void **state)
{
	struct fixture *f = *state;

	plan_ok(f, LINUX("\"namespaces\":[{\"type\":\"network\"},{\"type\":\"user\"}],"
			 "\"uidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}],"
			 "\"gidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}],"
			 "\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"},\"maskedPaths\":[\"/a\"],"
			 "\"resources\":{\"memory\":{\"limit\":8388608},"
			 "\"cpu\":{\"quota\":50000,\"period\":100000},\"pids\":{\"limit\":9},"
			 "\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
			 "{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3}]}"));
	assert_int_equal(f->plan.id_base, 200000);
	assert_string_equal(f->plan.foreign.sysctls[0].path, "net/ipv4/ip_forward");
	assert_string_equal(f->plan.foreign.masked[0], "/a");
	assert_int_equal(f->plan.spec->resources.memory_bytes, 8388608);
	assert_int_equal(f->plan.spec->resources.cpu_milli, 500);
	assert_int_equal(f->plan.spec->resources.pids, 9);
	assert_true(logged(f, "a container has a pid namespace of its own, always"));
	plan_ok(f, LINUX("\"resources\":{\"memory\":{\"limit\":-1},\"pids\":{\"limit\":-1}}"));
	assert_int_equal(f->plan.spec->resources.memory_bytes, 0);
	assert_int_equal(f->plan.spec->resources.pids, 0);
}

static void test_mounts(void **state)
{
	struct fixture *f = *state;
	const struct gt_spec *spec;

	plan_ok(f, WITH("\"mounts\":["
			"{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
			"{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"options\":[\"mode=755\"]},"
			"{\"destination\":\"/t/"
			"\",\"type\":\"tmpfs\",\"options\":[\"nosuid\",\"size=2m\"]},"
			"{\"destination\":\"b\",\"source\":\".\",\"options\":[\"bind\",\"ro\"]},"
			"{\"destination\":\"/c\",\"type\":\"bind\",\"source\":\"/"
			"tmp\",\"options\":[\"rw\"]}]"));
	spec = f->plan.spec;
	assert_int_equal(spec->n_tmpfs, 1);
	assert_string_equal(spec->tmpfs[0].path, "/t");
	assert_int_equal(spec->tmpfs[0].size_bytes, 2 * GT_MIB);
	assert_int_equal(spec->n_volumes, 2);
	assert_string_equal(spec->volumes[0].path, "/b");
	assert_string_equal(spec->volumes[0].host, f->dir);
	assert_true(spec->volumes[0].readonly);
	assert_false(spec->volumes[1].readonly);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{ "{\"ociVersion\":\"2.0.0\",\"root\":{\"path\":\".\"}}", "ociVersion" },
		{ "{\"ociVersion\":\"1.x\",\"root\":{\"path\":\".\"}}", "ociVersion" },
		{ "{\"ociVersion\":\"1.0.2\"}", "root" },
		{ PROCESS("\"terminal\":true"), "process.terminal" },
		{ PROCESS("\"env\":[\"A\"]"), "process.env" },
		{ PROCESS("\"user\":{\"uid\":65536}"), "process.user" },
		{ PROCESS("\"apparmorProfile\":\"a\""), "process.apparmorProfile" },
		{ PROCESS("\"oomScoreAdj\":-1"), "process.oomScoreAdj" },
		{ PROCESS("\"capabilities\":{\"bounding\":[\"CAP_X\"]}"), "process.capabilities" },
		{ PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":1,\"hard\":1}]"),
		  "process.rlimits" },
		{ PROCESS("\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":2,\"hard\":1}]"),
		  "process.rlimits" },
		{ WITH("\"process\":{\"cwd\":\"rel\"}"), "process.cwd" },
		{ LINUX("\"namespaces\":[{\"type\":\"time\"}]"), "linux.namespaces" },
		{ LINUX("\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]"),
		  "linux.namespaces" },
		{ LINUX("\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]"),
		  "linux.namespaces" },
		/* The host's root must be nobody inside. */
		{ LINUX("\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":65536}],"
			"\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":65536}]"),
		  "linux.uidMappings" },
		{ LINUX("\"uidMappings\":[{\"containerID\":0,\"hostID\":200000,\"size\":65536}]"),
		  "linux.uidMappings" },
		{ LINUX("\"namespaces\":[{\"type\":\"network\"}],\"sysctl\":{\"kernel.core_"
			"pattern\":\"|/x\"}"),
		  "linux.sysctl" },
		{ LINUX("\"namespaces\":[{\"type\":\"network\"}],\"sysctl\":{\"net./../"
			"kernel.x\":\"1\"}"),
		  "linux.sysctl" },
		/* The bundle means the host's. */
		{ LINUX("\"sysctl\":{\"net.ipv4.ip_forward\":\"1\"}"), "linux.sysctl" },
		{ LINUX("\"rootfsPropagation\":\"shared\""), "linux.rootfsPropagation" },
		{ LINUX("\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwm\"}]}"),
		  "linux.resources.devices" },
		{ LINUX("\"resources\":{\"devices\":[{\"allow\":true,\"major\":1,\"minor\":1}]}"),
		  "linux.resources.devices" },
		{ LINUX("\"devices\":[{\"path\":\"/dev/sda\"}]"), "linux.devices" },
		{ WITH("\"hooks\":{\"startContainer\":[{\"path\":\"/x\"}]}"),
		  "hooks.startContainer" },
		{ WITH("\"hooks\":{\"createContainer\":[{\"path\":\"/x\"}]}"),
		  "hooks.createContainer" },
		{ MOUNT("\"type\":\"ext4\",\"source\":\"/dev/sda\""), "mounts" },
		{ MOUNT("\"type\":\"proc\""), "mounts" },
		{ MOUNT("\"type\":\"bind\""), "mounts" },
		{ MOUNT("\"type\":\"tmpfs\",\"options\":[\"shared\"]"), "mounts" },
		{ MOUNT("\"type\":\"tmpfs\",\"options\":[\"size=5x\"]"), "mounts" },
		{ WITH("\"mounts\":[{\"destination\":\"/\",\"type\":\"tmpfs\"}]"), "mounts" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		f->err = (struct gt_err){ 0 };
		if (plan(f, cases[i].text) != -ENOTSUP)
			fail_msg("not refused: %s", cases[i].text);
		assert_null(f->plan.spec);
		assert_string_equal(f->err.path, cases[i].path);
	}
}

static void test_ids(void **state)
{
	char long_id[GT_OCI_ID_MAX + 2];

	(void)state;
	memset(long_id, 'a', sizeof(long_id) - 1);
	long_id[sizeof(long_id) - 1] = '\0';
	assert_true(oci_id_ok("a") && oci_id_ok("A-1_b+c.d") && oci_id_ok(long_id + 1));
	assert_false(oci_id_ok("") || oci_id_ok(".") || oci_id_ok("..") || oci_id_ok("a/b") ||
		     oci_id_ok("a b") || oci_id_ok(long_id));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_process),
		TEST(test_without_a_process),
		TEST(test_capabilities_stay_within_the_engines),
		TEST(test_root),
		TEST(test_linux),
		TEST(test_mounts),
		TEST(test_refusals),
		cmocka_unit_test(test_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
