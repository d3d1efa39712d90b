/* What a gateway tells the one that takes its place of others that led before: both are here, with
 * the packet socket between them, and the test is their uplink. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "handover.h"
#include "held.h"
#include "leader.h"

#define STEPS 500 /* of 10 ms at most */
#define HERE  "https://here:1"
#define THERE "https://there:1"
#define A     "01ARZ3NDEKTSV4RRFFQ69G5FAA"
#define TOLD  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: gantry-holds\r\n\r\n"

struct world {
	char dir[64], forward[80];
	struct gt_loop *loop;
	struct gt_gateway *old, *new;
	int listen_fd, pair[2];
};

static void step(struct world *w)
{
	assert_int_equal(gt_loop_step(w->loop, 10, NULL), 0);
}

/* The next connection of a gateway to its uplink, and what it says first. */
static int way(struct world *w, char *text, size_t size)
{
	struct pollfd p = { .fd = w->listen_fd, .events = POLLIN };
	ssize_t n;
	int fd;

	for (int i = 0; i < STEPS && poll(&p, 1, 0) == 0; i++)
		step(w);
	assert_int_equal(poll(&p, 1, 0), 1);
	fd = accept(w->listen_fd, NULL, NULL);
	n = recv(fd, text, size - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	return fd;
}

/* The new one has all that the old one told. */
static void is_over(struct world *w)
{
	for (int i = 0; i < STEPS && !w->old->quiet; i++)
		step(w);
	assert_true(w->old->quiet);
	for (int i = 0; i < 3; i++)
		step(w);
}

static void puts_to(struct world *w, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	for (int i = 0; i < 3; i++)
		assert_int_equal(gt_loop_step(w->loop, 0, NULL), 0);
}

static struct gt_gateway *gateway(struct world *w, int before, int after)
{
	const struct gt_gateway_config cfg = { .listen_fd = -1,
					       .tls_listen_fd = -1,
					       .files_fd = -1,
					       .door_fd = -1,
					       .ready_fd = -1,
					       .predecessor_fd = before,
					       .successor_fd = after,
					       .forward_path = w->forward };
	struct gt_gateway *gw;

	assert_int_equal(gt_gw_new(w->loop, &gt_port_system, &cfg, &gw, NULL), 0);
	assert_int_equal(gt_handover_open(gw, NULL), 0);
	return gw;
}

/* door NULL: the daemon here does. */
static void leads(struct gt_gateway *gw, uint64_t epoch, const char *door)
{
	struct gt_leader l = { .state = door ? GT_LEADER_OTHER : GT_LEADER_SELF, .epoch = epoch };
	gt_auto(buf) struct gt_buf line = { 0 };

	gt_strcopy(l.node, sizeof(l.node), door ? "there" : "here");
	gt_strcopy(l.door, sizeof(l.door), door ? door : "");
	gt_strcopy(l.own_door, sizeof(l.own_door), HERE);
	gt_leader_write(&l, &line);
	gt_leader_line(line.data, line.len - 1, gw);
}

static int set_up(void **state)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct world *w = gt_alloc(sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "/tmp/gantry-handover-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->forward, sizeof(w->forward), "%s/forward", w->dir);
	gt_strcopy(at.sun_path, sizeof(at.sun_path), w->forward);
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(w->listen_fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(w->listen_fd, 16), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, w->pair), 0);
	assert_int_equal(gt_loop_new(&w->loop, NULL), 0);
	w->old = gateway(w, -1, w->pair[0]);
	w->new = gateway(w, w->pair[1], -1);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	gt_gw_free(w->new);
	gt_gw_free(w->old);
	gt_loop_free(w->loop);
	close(w->listen_fd);
	close(w->pair[0]);
	close(w->pair[1]);
	unlink(w->forward);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* The one at `door` led before, and has a slot. */
static int counts_one(struct world *w, const char *door)
{
	char text[1024];
	int fd;

	leads(w->old, 7, door);
	leads(w->old, 8, NULL);
	fd = way(w, text, sizeof(text));
	puts_to(w, fd, "ok\n" TOLD "held 1 " A "\nall\n");
	assert_false(w->old->others.shut);
	return fd;
}

static void the_next_one_asks_too(struct world *w, const char *door)
{
	char text[1024], line[512];
	int old = counts_one(w, door), new;

	leads(w->new, 9, NULL);
	assert_false(w->new->others.shut);
	gt_gw_ready(w->new);
	new = way(w, text, sizeof(text));
	snprintf(line, sizeof(line), "0 %s\n", door);
	assert_string_equal(text, line);
	assert_true(w->new->others.shut); /* no slot is given out before it has told */
	puts_to(w, new, "ok\n" TOLD "held 1 " A "\nall\n");
	assert_false(w->new->others.shut);
	assert_true(gt_held_any(w->new, GT_HELD_LED + 1));
	close(old);
	close(new);
}

static void who_led_before_is_asked_by_the_next_one(void **state)
{
	the_next_one_asks_too(*state, THERE);
}

static void also_at_a_long_address(void **state)
{
	char door[GT_DOOR_SIZE];

	snprintf(door, sizeof(door), "https://%0*d:8080", (int)sizeof(door) - 14, 7);
	assert_int_equal(strlen(door), sizeof(door) - 1);
	the_next_one_asks_too(*state, door);
}

/* It was found to be gone. It is asked as it is by the old one, and nobody waits. */
static void one_that_has_nothing_is_not_waited_for(void **state)
{
	struct world *w = *state;
	char text[1024];
	int old, new;

	leads(w->old, 7, THERE);
	leads(w->old, 8, NULL);
	old = way(w, text, sizeof(text));
	puts_to(w, old, "none\n");
	leads(w->new, 9, NULL);
	gt_gw_ready(w->new);
	new = way(w, text, sizeof(text));
	assert_string_equal(text, "0 " THERE "\n");
	assert_false(w->new->others.shut);
	close(old);
	close(new);
}

/* It leads later. */
static void one_that_follows_remembers(void **state)
{
	struct world *w = *state;
	char text[1024];
	int fd;

	leads(w->old, 7, THERE);
	leads(w->old, 8, "https://yonder:1");
	leads(w->new, 8, "https://yonder:1"); /* which tells the old one that it is ready */
	is_over(w);
	leads(w->new, 9, NULL);
	assert_true(w->new->others.shut);
	fd = way(w, text, sizeof(text));
	assert_string_equal(text, "0 https://yonder:1\n");
	close(fd);
	fd = way(w, text, sizeof(text));
	assert_string_equal(text, "0 " THERE "\n");
	close(fd);
}

/* Where control names it, too, it is asked once. */
static void what_is_known_already_shuts_nothing(void **state)
{
	struct world *w = *state;
	char text[1024];
	int old = counts_one(w, THERE), new;

	leads(w->new, 8, THERE);
	leads(w->new, 9, NULL);
	new = way(w, text, sizeof(text));
	puts_to(w, new, "ok\n" TOLD "held 1 " A "\nall\n");
	is_over(w);
	assert_false(w->new->others.shut);
	close(old);
	close(new);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(who_led_before_is_asked_by_the_next_one), TEST(also_at_a_long_address),
		TEST(one_that_has_nothing_is_not_waited_for),  TEST(one_that_follows_remembers),
		TEST(what_is_known_already_shuts_nothing),
	};

	gt_log_init("test", GT_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
