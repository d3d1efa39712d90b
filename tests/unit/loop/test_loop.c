/* test_loop.c - descriptors, deferred calls, signals and wake-ups; nothing here sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/loop/loop.h>

struct fixture {
	struct gt_loop *loop;
	int a[2], b[2]; /* two socket pairs; the loop watches [0] */
	struct gt_watch *wa, *wb;
	unsigned calls, events;
	char trace[64];
	struct gt_err err;
};

static int setup(void **state)
{
	struct fixture *f = gt_alloc(sizeof(*f));

	*state = f;
	if (gt_loop_new(&f->loop, &f->err) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, f->a) < 0)
		return -1;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, f->b);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	gt_loop_free(f->loop);
	for (int i = 0; i < 2; i++) {
		gt_close(f->a[i]);
		gt_close(f->b[i]);
	}
	free(f);
	return 0;
}

static void step(struct fixture *f)
{
	if (gt_loop_step(f->loop, 0, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

static void note(struct fixture *f, char c)
{
	size_t len = strlen(f->trace);

	assert_true(len + 1 < sizeof(f->trace));
	f->trace[len] = c;
}

static void on_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct fixture *f = arg;

	f->calls++;
	f->events = events;
	note(f, w == f->wa ? 'a' : 'b');
}

static struct gt_watch *watch(struct fixture *f, int fd, unsigned events, gt_watch_fn *fn)
{
	struct gt_watch *w = NULL;

	if (gt_loop_watch(f->loop, fd, events, fn, f, &w, &f->err) < 0)
		fail_msg("%s", f->err.text);
	assert_int_equal(gt_watch_fd(w), fd);
	return w;
}

static void a_level_watch_is_called_until_it_was_read(void **state)
{
	struct fixture *f = *state;
	char c;

	f->wa = watch(f, f->a[0], GT_EV_READ, on_event);
	step(f);
	assert_int_equal(f->calls, 0);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	step(f);
	step(f);
	assert_int_equal(f->calls, 2);
	assert_int_equal(f->events, GT_EV_READ);
	assert_int_equal(read(f->a[0], &c, 1), 1);
	step(f);
	assert_int_equal(f->calls, 2);
}

static void an_edge_watch_is_called_once_an_arrival(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_READ | GT_EV_EDGE, on_event);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	step(f);
	step(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	step(f);
	assert_int_equal(f->calls, 2);
}

static void what_is_watched_can_change(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_WRITE, on_event);
	step(f);
	assert_int_equal(f->events, GT_EV_WRITE);
	assert_int_equal(gt_watch_set(f->wa, GT_EV_READ, &f->err), 0);
	step(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	assert_int_equal(gt_watch_set(f->wa, GT_EV_READ | GT_EV_WRITE, &f->err), 0);
	step(f);
	assert_int_equal(f->events, GT_EV_READ | GT_EV_WRITE);
}

static void a_paused_watch_hears_nothing_until_it_is_set(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], 0, on_event);
	f->a[1] = gt_close(f->a[1]);
	step(f);
	assert_int_equal(f->calls, 0);
	assert_int_equal(gt_watch_set(f->wa, GT_EV_HANGUP, &f->err), 0);
	step(f);
	assert_int_equal(f->events, GT_EV_HANGUP);
	assert_int_equal(gt_watch_set(f->wa, 0, &f->err), 0);
	step(f);
	assert_int_equal(f->calls, 1);
}

static void a_half_close_is_a_hang_up_for_who_asked(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_HANGUP, on_event);
	assert_int_equal(shutdown(f->a[1], SHUT_WR), 0);
	step(f);
	assert_int_equal(f->events, GT_EV_HANGUP);
}

static void a_reader_learns_of_a_full_close_as_readable(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	f->wa = watch(f, p[0], GT_EV_READ, on_event);
	gt_close(p[1]);
	step(f); /* epoll says only EPOLLHUP for an empty pipe */
	assert_int_equal(f->events, GT_EV_READ | GT_EV_HANGUP);
	gt_watch_close(f->wa);
	gt_close(p[0]);
}

static void a_reset_is_a_failure(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_READ, on_event);
	assert_int_equal(write(f->a[0], "x", 1), 1);
	f->a[1] = gt_close(f->a[1]); /* with the byte unread */
	step(f);
	assert_int_equal(f->events, GT_EV_READ | GT_EV_HANGUP | GT_EV_FAILED);
}

static void close_both(struct gt_watch *w, unsigned events, void *arg)
{
	struct fixture *f = arg;

	(void)w;
	(void)events;
	f->calls++;
	gt_watch_close(f->wa);
	gt_watch_close(f->wb);
}

static void a_watch_closed_by_another_callback_is_not_called(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_WRITE, close_both);
	f->wb = watch(f, f->b[0], GT_EV_WRITE, close_both);
	step(f); /* both are ready in this one round */
	assert_int_equal(f->calls, 1);
	step(f);
	assert_int_equal(f->calls, 1);
}

static void pause_both(struct gt_watch *w, unsigned events, void *arg)
{
	struct fixture *f = arg;

	(void)w;
	(void)events;
	f->calls++;
	assert_int_equal(gt_watch_set(f->wa, 0, &f->err), 0);
	assert_int_equal(gt_watch_set(f->wb, 0, &f->err), 0);
}

static void a_watch_paused_by_another_callback_is_not_called(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_WRITE, pause_both);
	f->wb = watch(f, f->b[0], GT_EV_WRITE, pause_both);
	step(f);
	assert_int_equal(f->calls, 1);
}

static void replace_self(struct gt_watch *w, unsigned events, void *arg)
{
	struct fixture *f = arg;
	int fd = gt_watch_fd(w);

	(void)events;
	f->calls++;
	gt_watch_close(w);
	f->wa = watch(f, fd, GT_EV_READ, on_event);
}

static void a_descriptor_can_change_hands_within_a_round(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_WRITE, replace_self);
	step(f);
	step(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	step(f);
	assert_string_equal(f->trace, "a");
}

static void what_epoll_can_not_watch_is_an_error_that_names_it(void **state)
{
	struct fixture *f = *state;
	struct gt_watch *w = NULL;

	assert_int_equal(gt_loop_watch(f->loop, 99999, GT_EV_READ, on_event, f, &w, &f->err),
			 -EBADF);
	assert_null(w);
	assert_non_null(strstr(f->err.text, "99999"));
	gt_watch_close(NULL);
}

/* ---- deferred calls ---- */

static void note_d(void *arg)
{
	note(arg, 'd');
}

static void defer_from_event(struct gt_watch *w, unsigned events, void *arg)
{
	struct fixture *f = arg;

	gt_loop_defer(f->loop, note_d, f);
	on_event(w, events, arg);
}

static void deferred_calls_come_after_all_descriptors(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_WRITE | GT_EV_EDGE, defer_from_event);
	f->wb = watch(f, f->b[0], GT_EV_WRITE | GT_EV_EDGE, defer_from_event);
	step(f);
	assert_int_equal(strspn(f->trace, "ab"), 2);
	assert_string_equal(f->trace + 2, "dd");
	step(f);
	assert_int_equal(strlen(f->trace), 4);
}

static void defer_again(void *arg)
{
	struct fixture *f = arg;

	f->calls++;
	for (int i = 0; i < 40; i++) /* makes the array move */
		gt_loop_defer(f->loop, note_d, f);
	gt_loop_defer(f->loop, defer_again, f);
}

static void a_deferred_call_that_defers_does_not_hold_the_round(void **state)
{
	struct fixture *f = *state;

	gt_loop_defer(f->loop, defer_again, f);
	/* It waits for nothing although told to wait for ever: a call is pending. */
	assert_int_equal(gt_loop_step(f->loop, -1, &f->err), 0);
	assert_int_equal(f->calls, 1);
	assert_int_equal(strlen(f->trace), 0);
	assert_int_equal(gt_loop_step(f->loop, -1, &f->err), 0);
	assert_int_equal(f->calls, 2);
	assert_int_equal(strlen(f->trace), 40);
}

/* ---- stopping, signals, wake-ups ---- */

static void stop_loop(void *arg)
{
	gt_loop_stop(((struct fixture *)arg)->loop);
}

static void run_ends_by_stop_and_can_start_again(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		gt_loop_defer(f->loop, stop_loop, f);
		gt_loop_defer(f->loop, note_d, f); /* the round is finished first */
		assert_int_equal(gt_loop_run(f->loop, &f->err), 0);
	}
	assert_string_equal(f->trace, "dd");
}

static int last_signo;

static void on_signal(int signo, void *arg)
{
	((struct fixture *)arg)->calls++;
	last_signo = signo;
}

static void signals_arrive_on_the_loop(void **state)
{
	struct fixture *f = *state;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGUSR2);
	assert_int_equal(gt_loop_signals(f->loop, &mask, on_signal, f, &f->err), 0);
	kill(getpid(), SIGUSR1);
	assert_int_equal(gt_loop_step(f->loop, -1, &f->err), 0);
	assert_int_equal(last_signo, SIGUSR1);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR2);
	step(f);
	step(f);
	assert_int_equal(f->calls, 3);
	assert_int_equal(last_signo, SIGUSR2);
	assert_int_equal(gt_loop_signals(f->loop, &mask, on_signal, f, &f->err), -EALREADY);
}

static void *ring_many(void *arg)
{
	for (int i = 0; i < 1000; i++)
		gt_wake_ring(arg);
	return NULL;
}

static void rings_of_a_thread_wake_the_loop_and_merge(void **state)
{
	struct fixture *f = *state;
	struct gt_wake *wake = NULL;
	pthread_t thread;

	assert_int_equal(gt_wake_new(f->loop, note_d, f, &wake, &f->err), 0);
	assert_int_equal(pthread_create(&thread, NULL, ring_many, wake), 0);
	pthread_join(thread, NULL);
	assert_int_equal(gt_loop_step(f->loop, -1, &f->err), 0);
	step(f);
	assert_string_equal(f->trace, "d");
	gt_wake_ring(wake);
	step(f);
	assert_string_equal(f->trace, "dd");
	gt_wake_free(wake);
	gt_wake_free(NULL);
}

static struct gt_wake *own_wake;

static void free_own_wake(void *arg)
{
	note(arg, 'w');
	gt_wake_free(own_wake);
}

static void a_wake_may_free_itself(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(gt_wake_new(f->loop, free_own_wake, f, &own_wake, &f->err), 0);
	gt_wake_ring(own_wake);
	step(f);
	step(f);
	assert_string_equal(f->trace, "w");
}

static void an_exclusive_watch_can_be_paused_and_resumed(void **state)
{
	struct fixture *f = *state;

	f->wa = watch(f, f->a[0], GT_EV_READ | GT_EV_EXCLUSIVE, on_event);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	step(f);
	assert_int_equal(f->events, GT_EV_READ);
	assert_int_equal(gt_watch_set(f->wa, 0, &f->err), 0);
	step(f);
	assert_int_equal(f->calls, 1);
	assert_int_equal(gt_watch_set(f->wa, GT_EV_READ | GT_EV_EXCLUSIVE, &f->err), 0);
	step(f);
	assert_int_equal(f->calls, 2);
}

#define LOOP_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(a_level_watch_is_called_until_it_was_read),
		LOOP_TEST(an_edge_watch_is_called_once_an_arrival),
		LOOP_TEST(what_is_watched_can_change),
		LOOP_TEST(a_paused_watch_hears_nothing_until_it_is_set),
		LOOP_TEST(an_exclusive_watch_can_be_paused_and_resumed),
		LOOP_TEST(a_half_close_is_a_hang_up_for_who_asked),
		LOOP_TEST(a_reader_learns_of_a_full_close_as_readable),
		LOOP_TEST(a_reset_is_a_failure),
		LOOP_TEST(a_watch_closed_by_another_callback_is_not_called),
		LOOP_TEST(a_watch_paused_by_another_callback_is_not_called),
		LOOP_TEST(a_descriptor_can_change_hands_within_a_round),
		LOOP_TEST(what_epoll_can_not_watch_is_an_error_that_names_it),
		LOOP_TEST(deferred_calls_come_after_all_descriptors),
		LOOP_TEST(a_deferred_call_that_defers_does_not_hold_the_round),
		LOOP_TEST(run_ends_by_stop_and_can_start_again),
		LOOP_TEST(signals_arrive_on_the_loop),
		LOOP_TEST(rings_of_a_thread_wake_the_loop_and_merge),
		LOOP_TEST(a_wake_may_free_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
