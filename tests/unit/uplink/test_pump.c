/* test_pump.c - bytes go through, nothing piles up, and an end is told as what it was. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "pump.h"

struct world {
	struct gt_loop *loop;
	struct pump *pump;
	int left, right; /* the far ends */
	unsigned ended;
};

static void on_end(void *arg)
{
	((struct world *)arg)->ended++;
}

static void open_pump(struct world *w, const char *to_left, const char *to_right)
{
	int l[2], r[2];

	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, l), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, r), 0);
	struct end left = { .fd = l[1] }, right = { .fd = r[1] };
	struct pump_config config = { .loop = w->loop,
				      .left = &left,
				      .right = &right,
				      .to_left = to_left,
				      .to_right = to_right,
				      .to_left_len = to_left ? strlen(to_left) : 0,
				      .to_right_len = to_right ? strlen(to_right) : 0,
				      .fn = on_end,
				      .arg = w };

	assert_int_equal(pump_new(&config, &w->pump, NULL), 0);
	assert_int_equal(left.fd, -EBADF);
	assert_int_equal(right.fd, -EBADF);
	w->left = l[0];
	w->right = r[0];
}

static int set_up(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	*state = w;
	open_pump(w, NULL, NULL);
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	if (!w->ended)
		pump_free(w->pump);
	gt_close(w->left);
	gt_close(w->right);
	gt_loop_free(w->loop);
	free(w);
	return 0;
}

static void turn(struct world *w)
{
	for (int i = 0; i < 50; i++)
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
}

static void expect(int fd, const char *text)
{
	char buf[64] = "";

	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
}

static void both_ways_and_ends_one_by_one(void **state)
{
	struct world *w = *state;
	char c;

	assert_int_equal(write(w->left, "ask", 3), 3);
	assert_int_equal(shutdown(w->left, SHUT_WR), 0);
	turn(w);
	expect(w->right, "ask");
	assert_int_equal(read(w->right, &c, 1), 0); /* the end came through, and is one side's */
	assert_int_equal(w->ended, 0);
	assert_int_equal(write(w->right, "answer", 6), 6);
	turn(w);
	expect(w->left, "answer");
	assert_int_equal(shutdown(w->right, SHUT_WR), 0);
	turn(w);
	assert_int_equal(read(w->left, &c, 1), 0);
	assert_int_equal(w->ended, 1);
}

static void what_was_said_before_comes_first(void **state)
{
	struct world *w = gt_alloc(sizeof(*w));

	(void)state;
	open_pump(w, "ok\n", "early");
	assert_int_equal(write(w->left, " late", 5), 5);
	turn(w);
	expect(w->left, "ok\n");
	expect(w->right, "early late");
	state = (void **)&w;
	tear_down(state);
}

/* Fills the pump until it takes no more; returns how much that was. */
static size_t stuff(struct world *w, char *next)
{
	char block[4096];
	size_t all = 0;

	for (int idle = 0; idle < 3;) {
		for (size_t i = 0; i < sizeof(block); i++)
			block[i] = (char)(*next + (char)i);
		ssize_t n = write(w->left, block, sizeof(block));

		idle = n > 0 ? 0 : idle + 1;
		all += n > 0 ? (size_t)n : 0;
		*next = (char)(*next + (n > 0 ? n : 0));
		turn(w);
	}
	return all;
}

static void who_does_not_read_stops_the_other(void **state)
{
	struct world *w = *state;
	char next = 0, expected = 0, buf[8192];
	size_t sent = stuff(w, &next), got = 0;
	int room = 0;
	socklen_t size = sizeof(room);

	getsockopt(w->left, SOL_SOCKET, SO_SNDBUF, &room, &size);
	assert_true(sent < 2 * (size_t)room + PUMP_ROOM); /* two sockets and what is here */
	for (ssize_t n; got < sent; turn(w)) {
		while ((n = read(w->right, buf, sizeof(buf))) > 0) {
			for (ssize_t i = 0; i < n; i++)
				assert_int_equal(buf[i], expected++);
			got += (size_t)n;
		}
	}
	assert_int_equal(got, sent);
}

/* A server that has heard enough: its answer must arrive though it reads no more. */
static void an_early_answer_arrives(void **state)
{
	struct world *w = *state;

	assert_int_equal(write(w->right, "too large", 9), 9);
	assert_int_equal(shutdown(w->right, SHUT_RDWR), 0);
	assert_int_equal(write(w->left, "body", 4), 4);
	turn(w);
	expect(w->left, "too large");
}

static void one_that_breaks_breaks_the_other(void **state)
{
	struct world *w = *state;
	char buf[16];

	assert_int_equal(write(w->left, "unread", 6), 6);
	turn(w);
	assert_int_equal(write(w->right, "last", 4), 4);
	w->right = gt_close(w->right); /* with bytes unread: a reset */
	turn(w);
	assert_int_equal(w->ended, 1);
	expect(w->left, "last");
	assert_true(read(w->left, buf, sizeof(buf)) <= 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_ways_and_ends_one_by_one, set_up, tear_down),
		cmocka_unit_test(what_was_said_before_comes_first),
		cmocka_unit_test_setup_teardown(who_does_not_read_stops_the_other, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(an_early_answer_arrives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_that_breaks_breaks_the_other, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
