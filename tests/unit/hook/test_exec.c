/* test_exec.c - hooks that are programs: good ones, and those that fail, hang, flood and leave
 * something behind. */
#include <gantry/hook/hook.h>

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct world {
	char dir[64], path[100];
	struct gt_loop *loop;
	struct gt_http_client *client;
	struct gt_hooks *hooks;
	struct gt_provider provider;
	bool done;
	struct gt_err err;
	char id[GT_HOST_ID_MAX + 1];
	size_t n_hosts;
} w;

static int setup(void **state)
{
	static const struct gt_webhook_keys keys = { .at = { { .text = "k" } }, .n = 1 };
	struct gt_hooks_config config = { .keys = &keys, .cluster = "c" };

	signal(SIGPIPE, SIG_IGN);
	w = (struct world){ .provider = {
				    .name = "p", .timeout_ms = 20000, .join = "https://a:1" } };
	snprintf(w.dir, sizeof(w.dir), "/tmp/gt-hook-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	snprintf(w.path, sizeof(w.path), "%s/hook", w.dir);
	gt_strcopy(w.provider.exec, sizeof(w.provider.exec), w.path);
	assert_int_equal(gt_loop_new(&w.loop, NULL), 0);
	assert_int_equal(gt_http_client_new(w.loop, &w.client, NULL), 0);
	config.loop = w.loop;
	config.client = w.client;
	w.hooks = gt_hooks_new(&config);
	*state = &w;
	return 0;
}

static int teardown(void **state GT_UNUSED)
{
	char seen[128];

	snprintf(seen, sizeof(seen), "%s/seen", w.dir);
	gt_hooks_free(w.hooks);
	gt_http_client_free(w.client);
	gt_loop_free(w.loop);
	unlink(seen);
	unlink(w.path);
	return rmdir(w.dir);
}

static void program(const char *script)
{
	FILE *f = fopen(w.path, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\ncd %s\n%s\n", w.dir, script);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(w.path, 0700), 0);
}

static void on_done(const struct gt_err *err, const struct gt_hook_answer *answer,
		    void *arg GT_UNUSED)
{
	assert_false(w.done);
	w.done = true;
	w.err = err ? *err : (struct gt_err){ 0 };
	gt_strcopy(w.id, sizeof(w.id), answer->id);
	w.n_hosts = answer->n_hosts;
}

static void start(enum gt_hook_verb verb)
{
	static const struct gt_offer offer;
	const struct gt_hook_ask ask = { .verb = verb,
					 .provider = &w.provider,
					 .offer = &offer,
					 .key = "p-k",
					 .token = "gtj_t" };

	w.done = false;
	gt_hooks_ask(w.hooks, &ask, on_done, NULL);
	assert_false(w.done); /* never before it returned */
}

/* The text of the error, "" = none. */
static const char *asked(enum gt_hook_verb verb)
{
	start(verb);
	while (!w.done)
		assert_int_equal(gt_loop_step(w.loop, -1, NULL), 0);
	return w.err.text;
}

static void seen(char *ret, size_t size)
{
	char path[128];
	size_t n;

	snprintf(path, sizeof(path), "%s/seen", w.dir);
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	n = fread(ret, 1, size - 1, f);
	ret[n] = '\0';
	fclose(f);
}

static void a_program_is_asked_and_answers(void **state GT_UNUSED)
{
	char text[4096];

	program("cat >seen; echo working >&2; echo '{\"id\":\"i-1\"}'");
	assert_string_equal(asked(GT_HOOK_CREATE), "");
	assert_string_equal(w.id, "i-1");
	seen(text, sizeof(text));
	assert_non_null(strstr(text, "\"verb\":\"create\""));
	assert_non_null(strstr(text, "\"token\":\"gtj_t\""));
}

static void it_has_no_more_than_it_needs(void **state GT_UNUSED)
{
	char text[4096];

	program("{ tr '\\0' '\\n' </proc/$$/environ; echo \"in $(readlink /proc/self/cwd)\"; "
		"echo fds $(ls /proc/self/fd); } >seen\n"
		"echo '{\"hosts\":[{\"key\":\"a\",\"id\":\"b\"}]}'");
	assert_string_equal(asked(GT_HOOK_LIST), "");
	assert_int_equal(w.n_hosts, 1);
	seen(text, sizeof(text));
	assert_true(gt_starts_with(text, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
					 "/sbin:/bin\nHOME=/\nGANTRY_PROVIDER=p\nin "));
	assert_non_null(strstr(text, "\nfds 0 1 2 3\n")); /* 3 is the directory that is listed */
}

static void one_that_does_not_read_may_answer(void **state GT_UNUSED)
{
	program("echo '{}'");
	assert_string_equal(asked(GT_HOOK_RELEASE), "");
}

static void what_it_said_last_is_why_it_failed(void **state GT_UNUSED)
{
	program("echo first >&2; echo 'no quota in zone a' >&2; echo '{\"id\":\"i\"}'; exit 3");
	assert_string_equal(asked(GT_HOOK_CREATE), "create: exit status 3: no quota in zone a");
	program("kill -9 $$");
	assert_string_equal(asked(GT_HOOK_CREATE), "create: signal 9");
	unlink(w.path);
	assert_non_null(strstr(asked(GT_HOOK_CREATE), "create: exit status 126: "));
}

static void rubbish_is_no_answer(void **state GT_UNUSED)
{
	program("echo hello");
	assert_string_equal(asked(GT_HOOK_CREATE), "create: the answer is no JSON object");
}

/* Ends with it, whoever has to reap it. */
static void assert_ends(pid_t pid)
{
	int fd = pidfd_open(pid, 0);
	struct pollfd p = { fd, POLLIN, 0 };

	assert_true(fd >= 0 || errno == ESRCH);
	if (fd < 0)
		return;
	assert_int_equal(poll(&p, 1, 60000), 1);
	close(fd);
}

static void one_that_hangs_is_killed_with_its_children(void **state GT_UNUSED)
{
	char text[128];

	program("sleep 1000 & echo $! >seen; echo waiting >&2; wait");
	snprintf(text, sizeof(text), "%s/seen", w.dir);
	/* On a busy machine it may be late before it has begun. */
	for (w.provider.timeout_ms = 200; access(text, F_OK) < 0; w.provider.timeout_ms *= 2)
		assert_true(gt_starts_with(asked(GT_HOOK_CREATE), "create: no answer within "));
	seen(text, sizeof(text));
	if (text[0])
		assert_ends((pid_t)strtol(text, NULL, 10));
}

static void one_that_floods_is_killed(void **state GT_UNUSED)
{
	program("yes");
	assert_string_equal(asked(GT_HOOK_LIST), "list: its answer is longer than 512 KiB");
	program("yes | head -n 100000 >&2; echo '{}'");
	assert_string_equal(asked(GT_HOOK_RELEASE), "");
}

/* A host on this very machine, for one: it holds what it was given, and is not waited for. */
static void what_it_leaves_behind_goes_on(void **state GT_UNUSED)
{
	char text[64];
	pid_t left;

	program("sleep 1000 & echo $! >seen; echo '{\"id\":\"i-1\"}'");
	assert_string_equal(asked(GT_HOOK_CREATE), "");
	seen(text, sizeof(text));
	left = (pid_t)strtol(text, NULL, 10);
	assert_int_equal(kill(left, 0), 0);
	assert_int_equal(kill(left, SIGKILL), 0);
}

static void nobody_is_told_after_the_end(void **state GT_UNUSED)
{
	program("sleep 1000");
	start(GT_HOOK_CREATE);
	start(GT_HOOK_LIST);
	gt_hooks_free(w.hooks);
	w.hooks = NULL;
	assert_int_equal(gt_loop_step(w.loop, 0, NULL), 0);
	assert_false(w.done);
}

static void an_address_that_does_not_answer_is_an_error(void **state GT_UNUSED)
{
	w.provider.exec[0] = '\0';
	gt_strcopy(w.provider.url, sizeof(w.provider.url), "http://127.0.0.1:1/");
	assert_non_null(strstr(asked(GT_HOOK_CREATE), "create: "));
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(a_program_is_asked_and_answers),
		t(it_has_no_more_than_it_needs),
		t(one_that_does_not_read_may_answer),
		t(what_it_said_last_is_why_it_failed),
		t(rubbish_is_no_answer),
		t(one_that_hangs_is_killed_with_its_children),
		t(one_that_floods_is_killed),
		t(what_it_leaves_behind_goes_on),
		t(nobody_is_told_after_the_end),
		t(an_address_that_does_not_answer_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
