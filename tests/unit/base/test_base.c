/* test_base.c - allocation, strings and cleanup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/base/buf.h>

/* Runs fn in a child whose standard error is dropped; true when it did not come
 * back from it: by SIGABRT, or by the exit of a sanitizer that refused the size before we could. */
static bool aborts(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		close(STDERR_FILENO);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) == SIGABRT : WEXITSTATUS(status) != 0;
}

static void allocations_are_zeroed_and_never_null(void **state)
{
	static const char zeros[64];
	gt_auto(free) char *p = gt_alloc(64);
	gt_auto(free) char *none = gt_alloc(0);
	gt_auto(free) char *array = gt_alloc_array(8, 8);

	(void)state;
	assert_memory_equal(p, zeros, 64);
	assert_memory_equal(array, zeros, 64);
	assert_non_null(none);
	memset(p, 'x', 64);
	p = gt_grow(p, 128, 1);
	assert_int_equal(p[63], 'x');
}

static void grow_too_far(void)
{
	volatile size_t huge = SIZE_MAX / 2;

	free(gt_grow(NULL, huge, 4));
}

static void a_size_that_overflows_aborts(void **state)
{
	(void)state;
	assert_true(aborts(grow_too_far));
}

static void strings_are_copied(void **state)
{
	gt_auto(free) char *a = gt_strdup("abc");
	gt_auto(free) char *b = gt_strndup("abcdef", 4);
	gt_auto(free) char *c = gt_strndup("ab", 4);
	gt_auto(free) char *d = gt_asprintf("%s-%d", "x", 5);

	(void)state;
	assert_null(gt_strdup(NULL));
	assert_string_equal(a, "abc");
	assert_string_equal(b, "abcd");
	assert_string_equal(c, "ab");
	assert_string_equal(d, "x-5");
}

static void strcopy_says_when_it_cuts(void **state)
{
	char dst[4] = "...";

	(void)state;
	assert_true(gt_strcopy(dst, sizeof(dst), "abc"));
	assert_string_equal(dst, "abc");
	assert_false(gt_strcopy(dst, sizeof(dst), "defg"));
	assert_string_equal(dst, "def");
	assert_false(gt_strcopy(dst, 0, "x"));
	assert_string_equal(dst, "def");
}

static void comparing_takes_null(void **state)
{
	(void)state;
	assert_true(gt_streq(NULL, NULL));
	assert_false(gt_streq(NULL, ""));
	assert_false(gt_streq("", NULL));
	assert_true(gt_streq("a", "a"));
	assert_true(gt_starts_with("gantry", "gan"));
	assert_true(gt_starts_with("gantry", ""));
	assert_false(gt_starts_with("ga", "gan"));
	assert_false(gt_starts_with(NULL, "x"));
}

static void a_descriptor_is_closed_at_the_end_of_its_scope_unless_stolen(void **state)
{
	int closed, stolen;

	(void)state;
	{
		gt_auto(fd) int a = open("/dev/null", O_RDONLY | O_CLOEXEC);
		gt_auto(fd) int b = open("/dev/null", O_RDONLY | O_CLOEXEC);

		closed = a;
		stolen = gt_steal_fd(&b);
		assert_int_equal(b, -EBADF);
	}
	assert_int_equal(fcntl(closed, F_GETFD), -1);
	assert_true(fcntl(stolen, F_GETFD) >= 0);
	errno = ENOENT;
	assert_int_equal(gt_close(stolen), -EBADF);
	assert_int_equal(gt_close(-EBADF), -EBADF);
	assert_int_equal(errno, ENOENT);
}

static void steal_leaves_null(void **state)
{
	char *p = gt_strdup("x"), *q = gt_steal(&p);

	(void)state;
	assert_null(p);
	assert_string_equal(q, "x");
	free(q);
}

/* Whoever adds a few bytes need not look whether they were taken. */
static void fill_small_buffers(void)
{
	char text[60 * GT_KIB] = { 0 };

	setrlimit(RLIMIT_AS, &(struct rlimit){ 0 });
	for (unsigned i = 0; i < 100; i++) {
		struct gt_buf b = { 0 };

		if (gt_buf_add(&b, text, sizeof(text)) < 0)
			return;
	}
}

static void a_small_buffer_without_memory_aborts(void **state)
{
	(void)state;
	assert_true(aborts(fill_small_buffers));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allocations_are_zeroed_and_never_null),
		cmocka_unit_test(a_size_that_overflows_aborts),
		cmocka_unit_test(a_small_buffer_without_memory_aborts),
		cmocka_unit_test(strings_are_copied),
		cmocka_unit_test(strcopy_says_when_it_cuts),
		cmocka_unit_test(comparing_takes_null),
		cmocka_unit_test(a_descriptor_is_closed_at_the_end_of_its_scope_unless_stolen),
		cmocka_unit_test(steal_leaves_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
