/* test_os.c - the wrappers on the real kernel; what needs root says so and is skipped without. */
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/os/child.h>
#include <gantry/os/os.h>

static void needs_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("skipped: needs root\n");
	skip();
}

/* What it is like in there, for who is at the other end of its first descriptor. */
static void look_around(void *arg)
{
	char text[128], cwd[64];
	unsigned open_fds = 0;
	sigset_t mask;

	for (int fd = 0; fd < 256; fd++)
		open_fds += fcntl(fd, F_GETFD) >= 0;
	sigprocmask(SIG_SETMASK, NULL, &mask);
	snprintf(text, sizeof(text), "%s %u %s %d %d %d", (const char *)arg, open_fds,
		 getcwd(cwd, sizeof(cwd)), sigismember(&mask, SIGUSR1),
		 signal(SIGPIPE, SIG_DFL) == SIG_IGN, (int)lseek(GT_OS_CHILD_FD + 1, 0, SEEK_CUR));
	_exit(write(GT_OS_CHILD_FD, text, strlen(text)) < 0 ? 1 : 7);
}

static void a_child_has_what_it_is_given(void **state)
{
	char path[] = "/tmp/gantry-os-XXXXXX", text[128] = "", want[128];
	int ends[2], other = mkstemp(path), pidfd, status;
	struct gt_err err = { 0 };
	sigset_t mask, before;
	pid_t pid;

	(void)state;
	unlink(path);
	assert_int_equal(lseek(other, 42, SEEK_SET), 42);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, &before);
	const int fds[] = { ends[1], other };

	assert_int_equal(gt_os_child(fds, 2, look_around, "hello", &pid, &pidfd, &err), 0);
	sigprocmask(SIG_SETMASK, &before, NULL);
	gt_close(ends[1]);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	snprintf(want, sizeof(want), "hello 5 / 0 1 42");
	assert_string_equal(text, want);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	gt_close(pidfd);
	gt_close(ends[0]);
	gt_close(other);
}

static void small_files(void **state)
{
	char dir[] = "/tmp/gantry-os-XXXXXX", path[64], text[8];
	struct gt_err err = { 0 };

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(gt_os_write_at(AT_FDCWD, path, "x", &err), -ENOENT); /* never creates */
	assert_non_null(strstr(err.text, path));
	gt_close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(gt_os_write_at(AT_FDCWD, path, "12345678901\n", &err), 0);
	assert_int_equal(gt_os_read_at(AT_FDCWD, path, text, sizeof(text), &err), 0);
	assert_string_equal(text, "1234567"); /* cut, still terminated */
	unlink(path);
	assert_int_equal(gt_os_rmdir_at(AT_FDCWD, dir, &err), 0);
	assert_int_equal(gt_os_rmdir_at(AT_FDCWD, dir, &err), 0); /* gone is fine */
}

static void fifo_replaces_what_was_there(void **state)
{
	char dir[] = "/tmp/gantry-os-XXXXXX";
	struct gt_err err = { 0 };
	struct stat st;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(gt_os_open_dir(AT_FDCWD, dir, &fd, &err), 0);
	assert_int_equal(symlinkat("/etc/passwd", fd, "out"), 0);
	assert_int_equal(gt_os_fifo_at(fd, "out", &err), 0);
	assert_int_equal(fstatat(fd, "out", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	unlinkat(fd, "out", 0);
	gt_close(fd);
	rmdir(dir);
}

static void sealed_memory_can_not_change(void **state)
{
	struct gt_err err = { 0 };
	char text[8] = { 0 };
	int fd;

	(void)state;
	assert_int_equal(gt_os_memfd("test", "hello", 5, &fd, &err), 0);
	assert_int_equal(pread(fd, text, sizeof(text), 0), 5);
	assert_string_equal(text, "hello");
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	gt_close(fd);
}

static void packets_carry_descriptors(void **state)
{
	int pair[2], got[1], pipes[2];
	struct gt_err err = { 0 };
	char data[8] = { 0 };
	size_t len, n;

	(void)state;
	assert_int_equal(gt_os_socketpair(pair, &err), 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(gt_os_recv(pair[1], data, sizeof(data), &len, got, 1, &n, &err), -EAGAIN);
	/* One is wanted, two come: the second is closed, not leaked. */
	assert_int_equal(gt_os_send(pair[0], "hi", 2, pipes, 2, &err), 0);
	assert_int_equal(gt_os_recv(pair[1], data, sizeof(data), &len, got, 1, &n, &err), 0);
	assert_int_equal(len, 2);
	assert_int_equal(n, 1);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	gt_close(pipes[1]);
	assert_int_equal(read(got[0], data, 1), 0); /* no writing end is left anywhere */
	gt_close(pair[0]);
	assert_int_equal(gt_os_recv(pair[1], data, sizeof(data), &len, got, 1, &n, &err),
			 -ECONNRESET);
	gt_close(got[0]);
	gt_close(pipes[0]);
	gt_close(pair[1]);
}

static void a_process_is_told_from_its_successor(void **state)
{
	struct gt_err err = { 0 };
	uint64_t mine, again;
	int pidfd;
	pid_t pid;

	(void)state;
	assert_int_equal(gt_os_start_time(getpid(), &mine, &err), 0);
	assert_int_equal(gt_os_start_time(getpid(), &again, &err), 0);
	assert_true(mine > 0 && mine == again);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(gt_os_pidfd_open(pid, &pidfd, &err), 0);
	assert_false(gt_os_pidfd_ended(pidfd));
	assert_false(gt_os_pid_ending(pid));
	assert_int_equal(gt_os_pidfd_signal(pidfd, SIGKILL, &err), 0);
	while (!gt_os_pidfd_ended(pidfd))
		;
	assert_true(gt_os_pid_ending(pid));
	assert_int_equal(gt_os_pidfd_reap(pidfd, &err), 0);
	assert_true(gt_os_pid_ending(pid)); /* or was never there */
	assert_int_equal(gt_os_pidfd_reap(pidfd, &err), -ECHILD);
	assert_true(gt_os_start_time(pid, &again, &err) < 0);
	gt_close(pidfd);
}

/* Runs in the child: raw system calls and memory that both see. */
static void spawned(void *arg)
{
	int *seen = arg;
	sigset_t mask = { 0 };

	seen[0] = (int)syscall(SYS_getpid);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, 8);
	seen[1] = sigismember(&mask, SIGUSR1);
}

static void a_child_in_our_memory(void **state)
{
	int seen[2] = { 0, 0 }, pidfd;
	const struct gt_os_spawn spawn = { .cgroup = -1, .fn = spawned, .arg = seen };
	const struct gt_os_spawn bad = { .cgroup = 0, .fn = spawned, .arg = seen };
	struct gt_err err = { 0 };
	siginfo_t how = { 0 };
	sigset_t mask;
	pid_t pid;

	(void)state;
	assert_int_equal(gt_os_spawn(&spawn, &pid, &pidfd, &err), 0);
	assert_int_equal(seen[0], pid); /* it ran to its end before we went on */
	assert_int_equal(seen[1], 1);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &how, WEXITED), 0);
	assert_int_equal(how.si_status, 127);
	assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &mask), 0);
	assert_int_equal(sigismember(&mask, SIGUSR1), 0);
	gt_close(pidfd);
	assert_true(gt_os_spawn(&bad, &pid, &pidfd, &err) < 0); /* no control group */
	assert_non_null(strstr(err.text, "clone3"));
}

static void user_namespace_is_mapped(void **state)
{
	struct gt_err err = { 0 };
	uid_t owner = 0;
	int fd;

	(void)state;
	needs_root();
	assert_int_equal(prctl(PR_SET_DUMPABLE, 0), 0);
	assert_int_equal(gt_os_userns_new(100000, 65536, &fd, &err), 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 0); /* the child shared our memory */
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1), 0);
	assert_int_equal(ioctl(fd, NS_GET_OWNER_UID, &owner), 0);
	assert_int_equal(owner, 100000);
	gt_close(fd);
	assert_int_equal(gt_os_userns_new(200000, 65536, &fd, &err), 0);
	assert_int_equal(prctl(PR_GET_DUMPABLE), 1);
	assert_int_equal(geteuid(), 0);
	gt_close(fd);
	assert_true(gt_os_userns_new(4294967295u, 65536, &fd, &err) < 0);
	assert_non_null(strstr(err.text, "user namespace"));
}

static void sockets_are_made_elsewhere_and_we_stay(void **state)
{
	struct stat before, after;
	struct gt_err err = { 0 };
	int home, away, fd;

	(void)state;
	needs_root();
	assert_int_equal(gt_os_ns_open(getpid(), "net", &home, &err), 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	assert_int_equal(gt_os_ns_open(getpid(), "net", &away, &err), 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	assert_int_equal(stat("/proc/self/ns/net", &before), 0);
	assert_int_equal(gt_os_socket_in(away, home, &fd, &err), 0);
	assert_int_equal(stat("/proc/self/ns/net", &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	gt_close(fd);
	gt_close(home);
	gt_close(away);
}

static void trees_know_their_path(void **state)
{
	struct gt_err err = { 0 };
	char path[128];
	int at, tree;

	(void)state;
	needs_root();
	assert_int_equal(gt_os_path_open("/usr/../etc", &at, &err), 0);
	assert_int_equal(gt_os_fd_path(at, path, sizeof(path), &err), 0);
	assert_string_equal(path, "/etc");
	assert_int_equal(gt_os_tree_open(at, &tree, &err), 0);
	assert_int_equal(gt_os_tree_attr(tree, 1 /* MOUNT_ATTR_RDONLY */, -1, &err), 0);
	assert_int_equal(openat(tree, "gantry-test", O_CREAT | O_WRONLY, 0600), -1);
	gt_close(tree);
	gt_close(at);
	assert_int_equal(gt_os_path_open("/nowhere", &at, &err), -ENOENT);
	/* Only a link that stands in the root directory is followed. */
	assert_int_equal(gt_os_path_open("/proc/self/cwd", &at, &err), -ELOOP);
	assert_int_equal(gt_os_path_open("/proc/self/status", &at, &err), -ELOOP);
	if (readlink("/lib", path, sizeof(path)) > 0) {
		assert_int_equal(gt_os_path_open("/lib", &at, &err), 0);
		gt_close(at);
	}
}

/* Also when the end is a reset, as something that we sent was not read. */
static void last_words_are_heard(void **state)
{
	struct gt_err err = { 0 };
	char data[8] = { 0 };
	size_t len = 0;
	int pair[2];

	(void)state;
	assert_int_equal(gt_os_socketpair(pair, &err), 0);
	assert_int_equal(gt_os_send(pair[1], "unread", 6, NULL, 0, &err), 0);
	assert_int_equal(gt_os_send(pair[0], "last", 4, NULL, 0, &err), 0);
	gt_close(pair[0]);
	assert_int_equal(gt_os_recv(pair[1], data, sizeof(data), &len, NULL, 0, NULL, &err), 0);
	assert_int_equal(len, 4);
	assert_memory_equal(data, "last", 4);
	assert_int_equal(gt_os_recv(pair[1], data, sizeof(data), &len, NULL, 0, NULL, &err),
			 -ECONNRESET);
	gt_close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_has_what_it_is_given),
		cmocka_unit_test(small_files),
		cmocka_unit_test(fifo_replaces_what_was_there),
		cmocka_unit_test(sealed_memory_can_not_change),
		cmocka_unit_test(packets_carry_descriptors),
		cmocka_unit_test(last_words_are_heard),
		cmocka_unit_test(a_process_is_told_from_its_successor),
		cmocka_unit_test(a_child_in_our_memory),
		cmocka_unit_test(user_namespace_is_mapped),
		cmocka_unit_test(sockets_are_made_elsewhere_and_we_stay),
		cmocka_unit_test(trees_know_their_path),
	};

	return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
