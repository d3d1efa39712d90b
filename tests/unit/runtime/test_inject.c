/* test_inject.c - devices and files of the node in real containers. No GPU is needed for it: a node
 * with a number that no driver has opens with ENXIO where the rules let it through, and with EPERM
 * where they do not. GANTRY_SPAWNS says how many containers try that. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/model/inject.h>

#define CONTAINER(f, pool)              \
	struct fixture f;               \
	if (fixture_open(&f, pool) < 0) \
		skip();

#define MAJOR  60 /* for local use: nobody's */
#define MINORS 8
#define SPAWNS 12

static void add_node(struct gt_inject *i, unsigned minor)
{
	struct gt_inject_node n = {
		.type = 'c', .read = true, .write = true, .major = MAJOR, .minor = minor
	};
	struct gt_err err = { 0 };

	snprintf(n.path, sizeof(n.path), "/dev/%sgpu%u", minor == 7 ? "caps/deep/" : "", minor);
	if (gt_inject_node_add(i, &n, &err) < 0)
		fail_msg("%s", err.text);
}

static int start(struct fixture *f, const struct gt_inject *i, struct gt_spec *spec,
		 struct run *run)
{
	return run_start_as(
		f, (struct gt_container_args){ .function = "hello", .revision = 3, .inject = i },
		spec, run);
}

static void run_with(struct fixture *f, const struct gt_inject *i, struct gt_spec *spec,
		     struct run *run)
{
	if (start(f, i, spec, run) < 0)
		fail_msg("refused: %s", run->err.text);
	fixture_until(f, &run->exited);
	run_read(run);
	if (run->failed)
		fail_msg("%s", run->err.text);
}

static void is_said(struct run *run, const char *words)
{
	if (!strstr(gt_buf_str(&run->text), words))
		fail_msg("\"%s\" is not in: %s", words, gt_buf_str(&run->text));
}

/* ---- nodes ---- */

/* Into the container's /dev, as root of the host: nodes of every minor number. So the rules alone
 * are what can refuse. Returns when they are there. */
static void plant_nodes(pid_t init)
{
	char path[64];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)init);
	pid = fork();
	if (pid == 0) {
		int ns = open(path, O_RDONLY | O_CLOEXEC);

		if (ns < 0 || setns(ns, CLONE_NEWNS) < 0 ||
		    mount(NULL, "/dev", NULL, MS_REMOUNT | MS_BIND, NULL) < 0)
			_exit(1);
		for (unsigned m = 0; m < MINORS; m++) {
			snprintf(path, sizeof(path), "/dev/planted%u", m);
			if (mknod(path, S_IFCHR | 0666, makedev(MAJOR, m)) < 0 ||
			    chmod(path, 0666) < 0)
				_exit(2);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void until_said(struct fixture *f, struct run *run, const char *words)
{
	for (int i = 0; i < 1000 && !strstr(gt_buf_str(&run->text), words); i++) {
		assert_int_equal(gt_loop_step(f->loop, 10, NULL), 0);
		run_read(run);
	}
	is_said(run, words);
}

/* Tries each when it is told to. dash says "cannot open /dev/x: <why>". */
#define TRY_ALL                                                                       \
	"trap 'for m in 0 1 2 3 4 5 6 7; do (exec 3</dev/planted$m) 2>&1; done; "     \
	"(exec 3</dev/gpu%u) 2>&1; mknod /tmp/n c 60 1 2>&1; exit 0' USR1; echo up; " \
	"while :; do sleep 9 & wait; done"

struct tally {
	unsigned granted, let_through, denied_wrongly, others, others_denied;
};

static void count(struct run *run, unsigned minor, struct tally *t)
{
	char path[32];

	for (unsigned m = 0; m < MINORS; m++) {
		const char *why;

		snprintf(path, sizeof(path), "/dev/planted%u: ", m);
		why = strstr(gt_buf_str(&run->text), path);
		if (!why)
			fail_msg("%s was not tried: %s", path, gt_buf_str(&run->text));
		why += strlen(path);
		if (m == minor) {
			t->granted++;
			t->let_through += gt_starts_with(why, "No such device or address");
			t->denied_wrongly += gt_starts_with(why, "Operation not permitted");
		} else {
			t->others++;
			t->others_denied += gt_starts_with(why, "Operation not permitted");
		}
	}
	snprintf(path, sizeof(path), "/dev/gpu%u: No such device", minor);
	is_said(run, path); /* its own node is there */
	is_said(run, "mknod: ");
}

static void spawn_one(struct fixture *f, unsigned minor, struct tally *t)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	char script[512];
	struct run run;

	add_node(i, minor);
	snprintf(script, sizeof(script), TRY_ALL, minor);
	if (start(f, i, fixture_shell(script), &run) < 0)
		fail_msg("refused: %s", run.err.text);
	fixture_until(f, &run.started);
	until_said(f, &run, "up");
	plant_nodes(run.where.pid);
	gt_container_signal(run.c, SIGUSR1);
	fixture_until(f, &run.exited);
	run_read(&run);
	count(&run, minor, t);
	run_close(&run);
}

static void other_devices_are_denied_in_each(void **state)
{
	const char *text = getenv("GANTRY_SPAWNS");
	unsigned n = text ? (unsigned)atoi(text) : SPAWNS;
	struct tally t = { 0 };

	(void)state;
	CONTAINER(f, 2);
	for (unsigned i = 0; i < n; i++)
		spawn_one(&f, i % (MINORS - 1), &t);
	print_message("N1 spawns=%u granted=%u let_through=%u others=%u denied=%u\n", n, t.granted,
		      t.let_through, t.others, t.others_denied);
	assert_int_equal(t.let_through, t.granted);
	assert_int_equal(t.denied_wrongly, 0);
	assert_int_equal(t.others_denied, t.others);
	assert_int_equal(t.others, n * (MINORS - 1));
	fixture_close(&f);
}

static void nodes_are_the_users_and_dev_stays_read_only(void **state)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_spec *spec = fixture_shell(
		"stat -c '%n %F %t:%T %a %u' /dev/gpu1 /dev/caps/deep/gpu7; ls /dev/gpu*; "
		"(exec 3<>/dev/gpu1) 2>&1; touch /dev/x 2>&1; mkdir /dev/caps/y 2>&1; exit 0");
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	add_node(i, 1);
	add_node(i, 7);
	spec->user = gt_strdup("1000:1000");
	run_with(&f, i, spec, &run);
	is_said(&run, "/dev/gpu1 character special file 3c:1 666 0\n"
		      "/dev/caps/deep/gpu7 character special file 3c:7 666 0\n/dev/gpu1\n");
	is_said(&run, "/dev/gpu1: No such device or address");
	is_said(&run, "'/dev/x': Read-only file system");
	is_said(&run, "'/dev/caps/y': Read-only file system");
	run_close(&run);
	/* And nobody else's container has any of it. */
	run_all(&f, fixture_shell("ls /dev/gpu1 2>&1; ls /proc/driver | wc -l; exit 0"), &run);
	is_said(&run, "cannot access '/dev/gpu1'");
	is_said(&run, "\n0\n");
	run_close(&run);
	fixture_close(&f);
}

/* A sandbox prepared for one device is not used for another. */
static void a_prepared_sandbox_keeps_its_devices(void **state)
{
	static const char script[] = "cd /dev; echo gpu*";
	struct run run;

	(void)state;
	struct fixture f;
	if (fixture_open_with(&f, (struct gt_runtime_config){ .pool = 1, .prepared_max = 4 }) < 0)
		skip();
	for (unsigned k = 0; k < 4; k++) {
		gt_auto(inject) struct gt_inject *i = gt_inject_new();
		char name[16];

		add_node(i, k / 2);
		fixture_until_waiting(&f, 1, k > 0);
		run_with(&f, i, fixture_shell(script), &run);
		snprintf(name, sizeof(name), "gpu%u\n", k / 2);
		assert_string_equal(gt_buf_str(&run.text), name);
		assert_int_equal(gt_container_start_kind(run.c) == GT_START_PREPARED, k % 2);
		run_close(&run);
	}
	fixture_close(&f);
}

/* ---- files, links, views ---- */

static int bind(struct gt_inject *i, const char *host, const char *path, struct gt_err *err)
{
	int fd = open(host, O_PATH | O_CLOEXEC);

	assert_true(fd >= 0);
	return gt_inject_bind_add(i, path, fd, err);
}

static struct gt_spec *busybox(const struct fixture *f, const char *script)
{
	const char *words[] = { "/bin/busybox", "sh", "-c", script, NULL };
	struct gt_spec *spec = fixture_echo(f);
	char command[256];

	free(spec->command[0]);
	free(spec->command);
	fixture_command(spec, words);
	snprintf(command, sizeof(command), "mkdir -p %s/bin && cp /bin/busybox %s/bin/busybox",
		 f->rootfs, f->rootfs);
	if (access("/bin/busybox", X_OK) < 0) {
		gt_spec_free(spec);
		return NULL;
	}
	assert_int_equal(WEXITSTATUS(pclose(popen(command, "r"))), 0);
	return spec;
}

static void make_file(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* Paths of the image that lead elsewhere are followed inside of it alone. */
static void files_and_links_stay_inside_the_root(void **state)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };
	struct gt_spec *spec;
	char path[256];
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	spec = busybox(&f, "B=/bin/busybox; cd /usr/local/nvidia/lib64; $B cat libcuda.so.1; "
			   "$B readlink libcuda.so.1; echo x > libcuda.so.580 2>&1; "
			   "$B cat /escaped/lib64/libcuda.so.580; exit 0");
	if (!spec) {
		print_message("skipped: no busybox\n");
		fixture_close(&f);
		skip();
	}
	make_file(f.dir, "library", "the driver's\n");
	snprintf(path, sizeof(path), "%s/usr", f.rootfs);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/usr/local", f.rootfs);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/usr/local/nvidia", f.rootfs);
	assert_int_equal(symlink("../../../../../../escaped", path), 0);
	snprintf(path, sizeof(path), "%s/escaped", f.rootfs);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/escaped/lib64", f.rootfs);
	assert_int_equal(mkdir(path, 0755), 0);
	make_file(path, "libcuda.so.1", "an old one of the image\n");
	snprintf(path, sizeof(path), "%s/library", f.dir);
	assert_int_equal(bind(i, path, "/usr/local/nvidia/lib64/libcuda.so.580", &err), 0);
	assert_int_equal(gt_inject_link_add(i, "/usr/local/nvidia/lib64/libcuda.so.1",
					    "libcuda.so.580", &err),
			 0);
	run_with(&f, i, spec, &run);
	is_said(&run, "the driver's\nlibcuda.so.580\n");
	is_said(&run, "Read-only file system");
	is_said(&run, "the driver's\n");
	run_close(&run);
	fixture_close(&f);
}

static void a_link_into_our_own_mounts_is_refused(void **state)
{
	static const char *const places[] = { "/proc/driver/x", "/dev/x", "/sys/x" };
	struct gt_err err = { 0 };
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	for (size_t k = 0; k < GT_LEN(places); k++) {
		gt_auto(inject) struct gt_inject *i = gt_inject_new();

		assert_int_equal(gt_inject_link_add(i, places[k], "y", &err), 0);
		assert_int_equal(start(&f, i, fixture_echo(&f), &run), 0);
		fixture_until(&f, &run.failed);
		if (!strstr(run.err.text, places[k]))
			fail_msg("%s", run.err.text);
		run_close(&run);
	}
	fixture_close(&f);
}

static void first_pci_device(char *out, size_t size)
{
	char to[256];
	ssize_t n = readlink("/sys/bus/pci/devices/0000:00:01.0", to, sizeof(to) - 1);

	out[0] = '\0';
	if (n > 9) {
		to[n] = '\0';
		gt_strcopy(out, size, to + strlen("../../../"));
	}
}

static void proc_and_sys_show_what_was_granted(void **state)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };
	char pci[200], script[700];
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	first_pci_device(pci, sizeof(pci));
	assert_int_equal(gt_inject_text_add(i, "nvidia/version", "NVRM version: x\n", &err), 0);
	assert_int_equal(gt_inject_text_add(i, "nvidia/gpus/0000:00:02.0/information",
					    "Device Minor: 1\n", &err),
			 0);
	assert_int_equal(gt_inject_hide_add(i, "devices/virtual/mem", &err), 0);
	assert_int_equal(gt_inject_hide_add(i, "devices/not/there", &err), 0);
	if (*pci)
		assert_int_equal(gt_inject_hide_add(i, pci, &err), 0);
	snprintf(script, sizeof(script),
		 "cat /proc/driver/nvidia/version; echo /proc/driver/*; echo "
		 "/proc/driver/nvidia/gpus/*; "
		 "rm /proc/driver/nvidia/version 2>&1; echo mem $(ls /sys/devices/virtual/mem | wc "
		 "-l); "
		 "echo pci $(ls /sys/%s | wc -l)",
		 *pci ? pci : "devices/virtual/mem");
	run_with(&f, i, fixture_shell(script), &run);
	is_said(&run, "NVRM version: x\n/proc/driver/nvidia\n"
		      "/proc/driver/nvidia/gpus/0000:00:02.0\n");
	is_said(&run, "Read-only file system");
	is_said(&run, "mem 0\n");
	is_said(&run, "pci 0\n");
	run_close(&run);
	fixture_close(&f);
}

/* ---- the list itself ---- */

static void bad_lists_are_refused(void **state)
{
	static const char *const paths[] = { "/dev/",   "/dev/../etc/x", "/dev//x",    "nvidia0",
					     "/etc/x",  "/dev/null",     "/dev/pts/7", "/dev/shm/x",
					     "/dev/x/", "/dev/a\nb" };
	struct gt_inject_node n = { .type = 'c', .read = true };
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };

	(void)state;
	for (size_t k = 0; k < GT_LEN(paths); k++) {
		gt_strcopy(n.path, sizeof(n.path), paths[k]);
		assert_int_equal(gt_inject_node_add(i, &n, &err), -EINVAL);
		assert_string_equal(err.slug, "device_unavailable");
	}
	gt_strcopy(n.path, sizeof(n.path), "/dev/gpu0");
	assert_int_equal(gt_inject_node_add(i, &n, &err), 0);
	assert_int_equal(gt_inject_node_add(i, &n, &err), 0); /* the very same */
	assert_int_equal(i->n_nodes, 1);
	n.minor = 1;
	assert_int_equal(gt_inject_node_add(i, &n, &err), -EEXIST);
	n.type = 'p';
	gt_strcopy(n.path, sizeof(n.path), "/dev/gpu1");
	assert_int_equal(gt_inject_node_add(i, &n, &err), -EINVAL);
	n.type = 'c';
	for (unsigned k = 1; k < GT_INJECT_NODES_MAX; k++) {
		snprintf(n.path, sizeof(n.path), "/dev/gpu%u", k);
		assert_int_equal(gt_inject_node_add(i, &n, &err), 0);
	}
	gt_strcopy(n.path, sizeof(n.path), "/dev/more");
	assert_int_equal(gt_inject_node_add(i, &n, &err), -E2BIG);
	assert_int_equal(gt_inject_hide_add(i, "../etc", &err), -EINVAL);
	assert_int_equal(gt_inject_text_add(i, "/nvidia", "", &err), -EINVAL);
	assert_int_equal(gt_inject_link_add(i, "relative", "x", &err), -EINVAL);
	assert_int_equal(gt_inject_bind_add(i, "/a/../b", -EBADF, &err), -EINVAL);
	assert_int_equal(gt_inject_library_dir_add(i, "/a:b", &err), -EINVAL);
	assert_int_equal(gt_inject_env_add(i, "A=B", "", &err), -EINVAL);
}

static const char *value(const struct gt_spec *spec, const char *name)
{
	for (size_t k = 0; k < spec->n_env; k++) {
		if (gt_streq(spec->env[k].name, name))
			return spec->env[k].value;
	}
	return NULL;
}

static void the_environment_is_merged(void **state)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_spec *spec = gt_spec_new();
	struct gt_err err = { 0 };

	(void)state;
	spec->env = gt_alloc_array(2, sizeof(*spec->env));
	spec->env[spec->n_env++] = (struct gt_env){ gt_strdup("LD_LIBRARY_PATH"), gt_strdup("/a") };
	spec->env[spec->n_env++] = (struct gt_env){ gt_strdup("MODE"), gt_strdup("all") };
	assert_int_equal(gt_inject_env_add(i, "MODE", "some", &err), 0);
	assert_int_equal(gt_inject_library_dir_add(i, "/l1", &err), 0);
	assert_int_equal(gt_inject_library_dir_add(i, "/l2", &err), 0);
	assert_int_equal(gt_inject_library_dir_add(i, "/l1", &err), 0);
	assert_int_equal(gt_inject_program_dir_add(i, "/p", &err), 0);
	gt_inject_env_apply(i, spec);
	assert_string_equal(value(spec, "MODE"), "some");
	assert_string_equal(value(spec, "LD_LIBRARY_PATH"), "/l1:/l2:/a");
	assert_string_equal(value(spec, "PATH"), GT_DEFAULT_PATH ":/p");
	gt_spec_free(spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_devices_are_denied_in_each),
		cmocka_unit_test(nodes_are_the_users_and_dev_stays_read_only),
		cmocka_unit_test(a_prepared_sandbox_keeps_its_devices),
		cmocka_unit_test(files_and_links_stay_inside_the_root),
		cmocka_unit_test(a_link_into_our_own_mounts_is_refused),
		cmocka_unit_test(proc_and_sys_show_what_was_granted),
		cmocka_unit_test(bad_lists_are_refused),
		cmocka_unit_test(the_environment_is_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
