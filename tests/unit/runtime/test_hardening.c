/* test_hardening.c - what the kernel keeps a running container from, seen from inside, and what the
 * node sees of it: frozen, thawed, counted. */
#include "fixture.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#define CONTAINER(f, pool)              \
	struct fixture f;               \
	if (fixture_open(&f, pool) < 0) \
		skip();

#define WAIT_MS 5000

static bool can_freeze(struct fixture *f, struct run *run)
{
	struct gt_err err = { 0 };
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	int r;

	(void)f;
	while ((r = gt_container_freeze(run->c, &err)) == -EAGAIN &&
	       gt_mono_ns(&gt_clock_system) - since_ns < WAIT_MS * GT_NS_PER_MS)
		;
	if (r == -EOPNOTSUPP)
		return false;
	if (r < 0)
		fail_msg("%s", err.text);
	return true;
}

/* How long the answer takes to a byte sent to a listening echo, in ms; -1 = none within the time.
 */
static int answer_ms(struct run *run, int wait_ms)
{
	static const char request[] = "GET /x HTTP/1.0\r\n\r\n";
	uint64_t since_ns = gt_mono_ns(&gt_clock_system);
	struct pollfd p = { .events = POLLIN };
	struct gt_err err;
	char byte;
	int got;

	if (gt_container_dial(run->c, 8000, &p.fd, &err) < 0)
		fail_msg("%s", err.text);
	if (poll(&(struct pollfd){ p.fd, POLLOUT, 0 }, 1, wait_ms) == 1 &&
	    send(p.fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0 && poll(&p, 1, wait_ms) == 1)
		got = recv(p.fd, &byte, 1, 0) == 1;
	else
		got = 0;
	gt_close(p.fd);
	return got ? (int)((gt_mono_ns(&gt_clock_system) - since_ns) / GT_NS_PER_MS) : -1;
}

static void start_echo(struct fixture *f, struct run *run)
{
	if (run_start(f, fixture_echo(f), run) < 0)
		fail_msg("%s", run->err.text);
	fixture_until(f, &run->started);
	while (answer_ms(run, WAIT_MS) < 0)
		;
}

static void frozen_thawed_and_answers(void **state)
{
	struct gt_err err = { 0 };
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	if (!can_freeze(&f, &run)) {
		print_message("skipped: nothing can be frozen here\n");
	} else {
		assert_int_equal(gt_container_frozen(run.c, &err), 1);
		assert_int_equal(answer_ms(&run, 50), -1);
		assert_int_equal(gt_container_thaw(run.c, &err), 0);
		assert_int_equal(gt_container_frozen(run.c, &err), 0);
		assert_true(answer_ms(&run, WAIT_MS) >= 0);
	}
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	assert_int_equal(gt_container_frozen(run.c, &err), -ENOENT);
	assert_int_equal(gt_container_freeze(run.c, &err), -ENOENT);
	run_close(&run);
	fixture_close(&f);
}

static void killed_while_frozen(void **state)
{
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	if (can_freeze(&f, &run)) {
		gt_container_kill(run.c);
		fixture_until(&f, &run.exited);
		assert_int_equal(run.how.signal, SIGKILL);
	}
	run_close(&run);
	fixture_close(&f);
}

static void adopted_while_frozen(void **state)
{
	struct gt_runtime_config config = { .allow_host_image = true };
	struct gt_container_events events = { .arg = NULL };
	struct gt_runtime *other;
	struct gt_err err = { 0 };
	struct run run;
	bool frozen;

	(void)state;
	CONTAINER(f, 0);
	start_echo(&f, &run);
	frozen = can_freeze(&f, &run);
	gt_container_leave(run.c);
	gt_runtime_free(f.rt);
	config.dir = f.dir;
	assert_int_equal(gt_runtime_new(f.loop, &config, &other, &err), 0);
	f.rt = other;
	if (gt_container_adopt(other, &run.where, run.status, &events, &run.c, &run.how, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(gt_container_frozen(run.c, &err), frozen);
	if (frozen)
		assert_int_equal(gt_container_thaw(run.c, &err), 0);
	assert_true(answer_ms(&run, WAIT_MS) >= 0);
	run_close(&run);
	fixture_close(&f);
}

/* A frozen one that nobody adopts must not stay for ever. */
static void swept_while_frozen(void **state)
{
	struct gt_err err;
	struct run run;

	(void)state;
	CONTAINER(f, 0);
	start_echo(&f, &run);
	can_freeze(&f, &run);
	gt_container_leave(run.c);
	run.c = NULL;
	if (gt_runtime_cleanup(f.dir, &err) < 0)
		fail_msg("%s", err.text);
	run_close(&run);
	fixture_close(&f);
}

static void usage_of_a_container(void **state)
{
	struct gt_usage u = { 0 };
	struct gt_err err = { 0 };
	struct run run;

	(void)state;
	CONTAINER(f, 1);
	start_echo(&f, &run);
	assert_int_equal(gt_container_usage(run.c, &u, &err), 0);
	if (u.has & GT_USAGE_MEMORY)
		assert_true(u.memory_bytes > 0);
	if (u.has & GT_USAGE_PIDS)
		assert_true(u.pids >= 2); /* process 1 and the program */
	if (u.has & GT_USAGE_CPU)
		assert_true(u.cpu_us > 0);
	if (u.has & GT_USAGE_OOM)
		assert_int_equal(u.oom_kills, 0);
	gt_container_kill(run.c);
	fixture_until(&f, &run.exited);
	assert_int_equal(gt_container_usage(run.c, &u, &err), -ENOENT);
	run_close(&run);
	fixture_close(&f);
}

/* ---- what programs need, and what they do not get ---- */

/* In an image that has it; the host's own may not be for everybody to read. */
static void run_script(struct fixture *f, const char *program, const char *flag, const char *script,
		       struct run *run)
{
	const char *const words[] = { program, flag, script, NULL };
	struct gt_spec *spec = fixture_shell("");

	for (size_t i = 0; i < spec->n_command; i++)
		free(spec->command[i]);
	free(spec->command);
	fixture_command(spec, words);
	run_all(f, spec, run);
}

static void expect_lines(struct run *run, const char *lines)
{
	if (run->failed)
		fail_msg("%s", run->err.text);
	assert_string_equal(gt_buf_str(&run->text), lines);
}

#define PYTHON "/usr/bin/python3"
#define NODE   "/usr/bin/node"

static void python_finds_what_it_needs(void **state)
{
	static const char script[] =
		"import ctypes, os, socket, subprocess, threading, mmap, multiprocessing as mp\n"
		"libc = ctypes.CDLL(None, use_errno=True)\n"
		"def call(nr, *args):\n"
		"    ctypes.set_errno(0)\n"
		"    r = libc.syscall(nr, *[ctypes.c_long(a) for a in args])\n"
		"    return r if r >= 0 else -ctypes.get_errno()\n"
		"seen = []\n"
		"t = threading.Thread(target=lambda: seen.append(1)); t.start(); t.join()\n"
		"print('thread', seen)\n"
		"print('child', subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout)\n"
		"fd = os.memfd_create('m'); os.ftruncate(fd, 4096); mmap.mmap(fd, 4096)[0] = 1\n"
		"print('memfd')\n"
		"mp.set_start_method('fork'); q = mp.Queue()\n"
		"p = mp.Process(target=lambda: q.put('sent')); p.start(); print(q.get()); "
		"p.join()\n"
		"print('clone3', call(435, 0, 0), 'io_uring', call(425, 1, 0))\n"
		"print('membarrier', call(324, 0, 0) > 0, 'mempolicy', call(238, 0, 0, 0) == ("
		"0 if os.path.exists('/proc/self/numa_maps') else -38))\n"
		"print('personality', call(135, 0xffffffff), 'userfaultfd', call(323, 0))\n"
		"me = os.pidfd_open(os.getpid()); one = os.pidfd_open(1)\n"
		"print('getfd', call(438, me, 1, 0) > 0, call(438, one, 0, 0))\n"
		"print('madvise', call(440, me, 0, 0, 20, 0) in (0, -1))\n"
		"def sock(*a):\n"
		"    try: socket.socket(*a).close(); return 'ok'\n"
		"    except OSError as e: return e.errno\n"
		"print('inet', sock(), sock(socket.AF_INET6) in ('ok', 97), 'unix', "
		"sock(socket.AF_UNIX))\n"
		"print('route', sock(16, 3, 0), 'netfilter', sock(16, 3, 12), 'packet', sock(17, "
		"3),"
		" 'vsock', sock(40, 1), 'alg', sock(38, 5))\n"
		"def make(path, kind, dev):\n"
		"    try: os.mknod(path, kind | 0o600, dev); return 'ok'\n"
		"    except OSError as e: return e.errno\n"
		"print('mknod', make('/tmp/b', 0o060000, os.makedev(8, 0)),"
		" make('/tmp/c', 0o020000, os.makedev(1, 1)), make('/tmp/f', 0o010000, 0))\n"
		"master, slave = os.openpty(); os.write(slave, b'!')\n"
		"print('terminal', os.read(master, 1))\n";
	struct run run;

	(void)state;
	if (access(PYTHON, X_OK) < 0) {
		print_message("skipped: no " PYTHON "\n");
		skip();
	}
	CONTAINER(f, 1);
	run_script(&f, PYTHON, "-c", script, &run);
	expect_lines(&run, "thread [1]\nchild b'x\\n'\nmemfd\nsent\n"
			   "clone3 -38 io_uring -38\n"
			   "membarrier True mempolicy True\n"
			   "personality 0 userfaultfd -1\n"
			   "getfd True -1\n"
			   "madvise True\n" /* before 6.13 a right is asked for */
			   "inet ok True unix ok\n"
			   "route ok netfilter 38 packet 38 vsock 38 alg 38\n"
			   "mknod 1 1 ok\n"
			   "terminal b'!'\n");
	run_close(&run);
	fixture_close(&f);
}

static void node_finds_what_it_needs(void **state)
{
	static const char script[] =
		"const { Worker } = require('worker_threads');"
		"const { execFileSync } = require('child_process');"
		"const fs = require('fs'), x = fs.mkdtempSync('/tmp/node-') + '/x';"
		"fs.writeFileSync(x, 'file'); console.log(execFileSync('/bin/cat', "
		"[x]).toString());"
		"console.log(require('crypto').randomBytes(4).length);"
		"new Worker('require(\"worker_threads\").parentPort.postMessage(7)', { eval: true "
		"})"
		".on('message', m => { console.log(m);"
		"const s = require('http').createServer((q, r) => r.end('served')).listen(8000, () "
		"=>"
		"fetch('http://127.0.0.1:8000/').then(r => r.text()).then(t => {"
		"console.log(t); s.close(); process.exit(0); })); });";
	struct run run;

	(void)state;
	if (access(NODE, X_OK) < 0) {
		print_message("skipped: no " NODE "\n");
		skip();
	}
	CONTAINER(f, 1);
	run_script(&f, NODE, "-e", script, &run);
	expect_lines(&run, "file\n4\n7\nserved\n");
	run_close(&run);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frozen_thawed_and_answers),
		cmocka_unit_test(killed_while_frozen),
		cmocka_unit_test(adopted_while_frozen),
		cmocka_unit_test(swept_while_frozen),
		cmocka_unit_test(usage_of_a_container),
		cmocka_unit_test(python_finds_what_it_needs),
		cmocka_unit_test(node_finds_what_it_needs),
	};

	return cmocka_run_group_tests_name("hardening", tests, NULL, NULL);
}
