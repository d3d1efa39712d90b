/* test_container.c - containers on the real kernel, from start to the last control group. */
#include "fixture.h"

#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTAINER(f, pool)              \
	struct fixture f;               \
	if (fixture_open(&f, pool) < 0) \
		skip();

static void expect_output(struct run *run, const char *text)
{
	if (run->failed)
		fail_msg("%s", run->err.text);
	assert_string_equal(gt_buf_str(&run->text), text);
}

/* Asks over a socket made inside; true when the answer holds the text. */
static bool asks(struct run *run, const char *path, const char *expected)
{
	char request[128], answer[8192];
	struct gt_err err;
	size_t len = 0;
	int fd;

	if (gt_container_dial(run->c, 8000, &fd, &err) < 0)
		fail_msg("%s", err.text);
	struct pollfd p = { fd, POLLOUT, 0 };
	assert_int_equal(poll(&p, 1, 5000), 1);
	snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
		gt_close(fd);
		return false; /* it does not listen yet */
	}
	p.events = POLLIN;
	for (;;) {
		assert_int_equal(poll(&p, 1, 5000), 1);
		ssize_t n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	answer[len] = '\0';
	gt_close(fd);
	return strstr(answer, expected) != NULL;
}

static void echo_answers_inside(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	assert_true(run.placed && run.where.pid > 0 && run.where.start_time > 0);
	print_message("root %llu us, exec %llu us\n", (unsigned long long)run.root_us,
		      (unsigned long long)run.exec_us);
	while (!asks(&run, "/hello", "GET /hello"))
		;
	assert_true(asks(&run, "/env", "GANTRY_FUNCTION=hello"));
	gt_container_signal(run.c, SIGTERM);
	fixture_until(&f, &run.exited);
	assert_int_equal(run.how.code, 0);
	assert_true(run.how.wall_ms > 0);
	run_close(&run);
	fixture_close(&f);
}

static void output_and_exit_code(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	run_all(&f, fixture_shell("echo out; echo err >&2; exit 7"), &run);
	expect_output(&run, "out\nerr\n");
	assert_int_equal(run.how.code, 7);
	assert_int_equal(run.how.signal, 0);
	run_close(&run);
	fixture_close(&f);
}

static void killed_by_signal(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 0);
	run_all(&f, fixture_shell("kill -USR1 $$"), &run);
	assert_int_equal(run.how.code, -1);
	assert_int_equal(run.how.signal, SIGUSR1);
	run_close(&run);
	fixture_close(&f);
}

static void identity_inside(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	run_all(&f,
		fixture_shell("id -u; hostname; cat /proc/self/uid_map | tr -s ' '; echo $$;"
			      "readlink /proc/self/fd/0; pwd; echo $PORT $HOME;"
			      "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status;"
			      "ls /proc/1/fd 2>&1 | grep -c denied"),
		&run);
	expect_output(&run, "0\nhello\n 0 165536 65536\n2\n/dev/null\n/\n8000 /root\n"
			    "CapEff:\t00000000000005fb\nNoNewPrivs:\t1\nSeccomp:\t2\n1\n");
	run_close(&run);
	fixture_close(&f);
}

static void another_user_has_no_rights(void **state)
{
	struct gt_spec *spec = fixture_shell(
		"id -u; id -g; grep CapEff /proc/self/status;"
		"echo ok > /dev/stdout; touch /x 2>&1 | grep -c denied");
	struct run run;

	(void)state;
	spec->user = gt_strdup("1000:1001");
	CONTAINER(f, 1);
	run_all(&f, spec, &run);
	expect_output(&run, "1000\n1001\nCapEff:\t0000000000000000\nok\n1\n");
	run_close(&run);
	fixture_close(&f);
}

static void dangerous_calls_are_refused(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	run_all(&f,
		fixture_shell("unshare -U true 2>/dev/null || echo userns;"
			      "unshare -n true 2>/dev/null || echo netns;"
			      "mount -t tmpfs x /mnt 2>/dev/null || echo mount;"
			      "mknod /tmp/d b 8 0 2>/dev/null || echo mknod;"
			      "echo 1 > /proc/sys/kernel/panic || echo sysctl;"
			      "echo x > /proc/sysrq-trigger || echo sysrq;"
			      "ls /sys/firmware | wc -l;"
			      "touch /sys/x || echo sysfs;"
			      "hostname evil 2>/dev/null || echo hostname;"
			      "chroot / true 2>/dev/null || echo chroot;"
			      "cat /etc/shadow || echo shadow"),
		&run);
	assert_non_null(strstr(gt_buf_str(&run.text), "userns\nnetns\nmount\nmknod\n"));
	for (const char *const *w = (const char *const[]){ "sysctl\n", "sysrq\n0\n", "sysfs\n",
							   "hostname\nchroot\n", "shadow\n", NULL };
	     *w; w++) {
		if (!strstr(gt_buf_str(&run.text), *w))
			fail_msg("no \"%s\" in: %s", *w, gt_buf_str(&run.text));
	}
	assert_null(strstr(gt_buf_str(&run.text), "root:")); /* of /etc/shadow */
	run_close(&run);
	fixture_close(&f);
}

static void mounts_inside_are_its_own(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	/* Nothing of the host's table is left, and nothing but the layer above the image is
	 * writable. */
	run_all(&f,
		fixture_shell("cut -d' ' -f5 /proc/self/mountinfo | sort | head -n 2;"
			      "ls -A /dev | wc -l; ls /dev/shm | wc -l; ls /sys/class/net;"
			      "echo layer > /tmp/gantry-layer && cat /tmp/gantry-layer"),
		&run);
	expect_output(&run, "/\n/dev\n14\n0\nlo\nlayer\n");
	assert_int_equal(access("/tmp/gantry-layer", F_OK), -1);
	run_close(&run);
	fixture_close(&f);
}

static void writable_layer_is_bounded(void **state)
{
	struct gt_spec *spec = fixture_shell("head -c 9000000 /dev/zero > /big; wc -c < /big");
	struct run run;

	(void)state;
	spec->resources.disk_bytes = 4 * GT_MIB;
	CONTAINER(f, 1);
	run_all(&f, spec, &run);
	assert_non_null(strstr(gt_buf_str(&run.text), "No space left"));
	run_close(&run);
	fixture_close(&f);
}

static void image_files_belong_to_its_root(void **state)
{
	struct gt_spec *spec;
	struct run run;
	struct stat st;
	char path[160];

	(void)state;
	CONTAINER(f, 1);
	spec = fixture_echo(&f);
	/* A root with nothing but the host's programs mounted into it. */
	for (const char *const *p = (const char *const[]){ "/bin", "/lib", "/lib64", "/usr", NULL };
	     *p; p++) {
		if (access(*p, F_OK) == 0)
			fixture_mount(spec, *p, *p, true);
	}
	snprintf(path, sizeof(path), "%s/data", f.dir);
	assert_int_equal(mkdir(path, 0755), 0);
	fixture_mount(spec, path, "/deep/data", false);
	for (size_t i = 0; i < spec->n_command; i++)
		free(spec->command[i]);
	free(spec->command);
	fixture_command(spec,
			(const char *const[]){ "sh", "-c",
					       "stat -c %u /echo /; touch /usr/x || echo ro;"
					       "echo mine > /deep/data/f; stat -c %u /deep/data/f;"
					       "ln -s /etc/passwd /deep/data/link",
					       NULL });
	run_all(&f, spec, &run);
	if (gt_starts_with(gt_buf_str(&run.text), "65534\n")) {
		print_message("skipped: the file system of /tmp can not map ids on this kernel\n");
		run_close(&run);
		fixture_close(&f);
		skip();
	}
	assert_non_null(strstr(gt_buf_str(&run.text), "0\n0\n"));
	assert_non_null(strstr(gt_buf_str(&run.text), "ro\n0\n"));
	snprintf(path, sizeof(path), "%s/data/f", f.dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0); /* mapped back: a volume keeps its owner */
	snprintf(path, sizeof(path), "%s/data/link", f.dir);
	unlink(path);
	run_close(&run);
	fixture_close(&f);
}

static void links_in_an_image_do_not_lead_out(void **state)
{
	struct gt_spec *spec;
	struct run run;
	char path[160];

	(void)state;
	CONTAINER(f, 1);
	snprintf(path, sizeof(path), "%s/out", f.rootfs);
	assert_int_equal(symlink("../../../../../../../../tmp", path), 0);
	spec = fixture_echo(&f);
	fixture_mount(spec, f.rootfs, "/out/escaped-mount-point", true);
	if (run_start(&f, spec, &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.failed);
	assert_string_equal(run.err.slug, "sandbox_failed");
	assert_int_equal(access("/tmp/escaped-mount-point", F_OK), -1);
	run_close(&run);
	snprintf(path, sizeof(path), "%s/dev", f.rootfs);
	assert_int_equal(symlink("/tmp", path), 0);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.failed);
	assert_string_equal(run.err.slug, "sandbox_failed");
	run_close(&run);
	fixture_close(&f);
}

static void refusals_have_a_cause(void **state)
{
	struct gt_spec *spec;
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	spec = fixture_echo(&f);
	free(spec->command[0]);
	spec->command[0] = gt_strdup("nowhere");
	run_all(&f, spec, &run);
	assert_true(run.failed);
	assert_string_equal(run.err.slug, "command_missing");
	run_close(&run);

	spec = fixture_echo(&f);
	free(spec->command[0]);
	spec->command[0] = gt_strdup("/");
	run_all(&f, spec, &run);
	assert_string_equal(run.err.slug, "exec_failed");
	run_close(&run);

	spec = fixture_echo(&f);
	free(spec->workdir);
	spec->workdir = gt_strdup("/missing");
	run_all(&f, spec, &run);
	assert_string_equal(run.err.slug, "exec_failed");
	assert_non_null(strstr(run.err.text, "/missing"));
	run_close(&run);

	spec = fixture_echo(&f);
	free(spec->image_path);
	spec->image_path = gt_strdup("/nowhere");
	assert_true(run_start(&f, spec, &run) < 0);
	assert_string_equal(run.err.slug, "image_missing");
	run_close(&run);

	spec = fixture_echo(&f);
	fixture_mount(spec, "/nowhere", "/data", true);
	assert_true(run_start(&f, spec, &run) < 0);
	assert_string_equal(run.err.slug, "volume_missing");
	run_close(&run);
	fixture_close(&f);
}

static void out_of_memory_is_named(void **state)
{
	struct gt_spec *spec = fixture_shell(
		"head -c 100000000 /dev/zero | tail -c 90000000 | wc -c");
	struct run run;

	(void)state;
	spec->resources.memory_bytes = 24 * GT_MIB;
	free(spec->command[2]);
	spec->command[2] = gt_strdup("exec tail /dev/zero");
	CONTAINER(f, 1);
	run_all(&f, spec, &run);
	assert_true(run.how.oom);
	run_close(&run);
	fixture_close(&f);
}

static void fork_bomb_is_bounded(void **state)
{
	struct gt_spec *spec = fixture_shell(
		"for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; echo all");
	struct run run;

	(void)state;
	spec->resources.pids = 6;
	CONTAINER(f, 1);
	run_all(&f, spec, &run);
	assert_null(strstr(gt_buf_str(&run.text), "all"));
	run_close(&run);
	fixture_close(&f);
}

static void many_at_once_without_a_pool(void **state)
{
	struct run runs[12];

	(void)state;
	CONTAINER(f, 0);
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		if (run_start(&f, fixture_echo(&f), &runs[i]) < 0)
			fail_msg("%s", runs[i].err.text);
	}
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		fixture_until(&f, &runs[i].started);
		gt_container_kill(runs[i].c);
	}
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		fixture_until(&f, &runs[i].exited);
		assert_int_equal(runs[i].how.signal, SIGKILL);
		run_close(&runs[i]);
	}
	fixture_close(&f);
}

static void adopted_by_another_runtime(void **state)
{
	struct gt_runtime_config config = { .allow_host_image = true };
	struct gt_container_events events;
	struct gt_runtime *other;
	struct run run;
	struct gt_err err;

	(void)state;
	CONTAINER(f, 0);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	events = (struct gt_container_events){ .arg = NULL };
	gt_container_leave(run.c);
	gt_runtime_free(f.rt);
	config.dir = f.dir;
	assert_int_equal(gt_runtime_new(f.loop, &config, &other, &err), 0);
	f.rt = other;
	if (gt_container_adopt(other, &run.where, run.status, &events, &run.c, &run.how, &err) < 0)
		fail_msg("%s", err.text);
	gt_runtime_sweep(other); /* must spare what was adopted */
	while (!asks(&run, "/again", "GET /again"))
		;
	run_close(&run);
	fixture_close(&f);
}

static const char *searched;
static unsigned found;

static int look(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (gt_streq(path + ftw->base, searched)) {
		print_message("left behind: %s\n", path);
		found++;
	}
	return 0;
}

static void assert_no_group(const char *leaf)
{
	searched = leaf;
	found = 0;
	nftw("/sys/fs/cgroup", look, 16, FTW_PHYS);
	assert_int_equal(found, 0);
}

/* No loop turns after the release: the runtime's end has to see it through. */
static void its_end_leaves_nothing(void **state)
{
	struct run run;

	(void)state;
	for (int started = 0; started < 2; started++) {
		CONTAINER(f, 0);
		if (run_start(&f, fixture_echo(&f), &run) < 0)
			fail_msg("%s", run.err.text);
		fixture_until(&f, started ? &run.started : &run.placed);
		gt_container_release(gt_steal(&run.c));
		gt_runtime_free(gt_steal(&f.rt));
		assert_no_group(run.where.sandbox);
		run_close(&run);
		fixture_close(&f);
	}
}

static void sweep_removes_what_nobody_adopts(void **state)
{
	struct gt_exit how;
	struct run run;
	struct gt_err err;
	struct gt_container *c;

	(void)state;
	CONTAINER(f, 0);
	if (run_start(&f, fixture_echo(&f), &run) < 0)
		fail_msg("%s", run.err.text);
	fixture_until(&f, &run.started);
	gt_container_leave(run.c);
	run.c = NULL;
	assert_int_equal(gt_runtime_cleanup(f.dir, &err), 0);
	assert_int_equal(gt_container_adopt(f.rt, &run.where, run.status,
					    &(struct gt_container_events){ .arg = NULL }, &c, &how,
					    &err),
			 -ESRCH);
	assert_int_equal(how.signal, SIGKILL);
	run_close(&run);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(echo_answers_inside),
		cmocka_unit_test(output_and_exit_code),
		cmocka_unit_test(killed_by_signal),
		cmocka_unit_test(identity_inside),
		cmocka_unit_test(another_user_has_no_rights),
		cmocka_unit_test(dangerous_calls_are_refused),
		cmocka_unit_test(mounts_inside_are_its_own),
		cmocka_unit_test(writable_layer_is_bounded),
		cmocka_unit_test(image_files_belong_to_its_root),
		cmocka_unit_test(links_in_an_image_do_not_lead_out),
		cmocka_unit_test(refusals_have_a_cause),
		cmocka_unit_test(out_of_memory_is_named),
		cmocka_unit_test(fork_bomb_is_bounded),
		cmocka_unit_test(many_at_once_without_a_pool),
		cmocka_unit_test(adopted_by_another_runtime),
		cmocka_unit_test(its_end_leaves_nothing),
		cmocka_unit_test(sweep_removes_what_nobody_adopts),
	};

	return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
