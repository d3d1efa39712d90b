/* Slots across a change of who leads: what the next one hears of the one before and makes of it,
 * and what that one tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "demand.h"
#include "held.h"
#include "leader.h"
#include "peer_tls.h"

#define AUTH     "Host: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\n" AUTH "\r\n"
#define OK_HI    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define THERE    "https://there:1"
#define YONDER   "https://yonder:1"
#define A        SCRIPT_REPLICA "A"
#define B        SCRIPT_REPLICA "B"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nUpgrade: gantry-holds\r\n\r\n"
#define HOUR_MS  ((int64_t)3600 * 1000)

static struct cluster cluster;

static int make_cluster(void **state)
{
	(void)state;
	cluster = cluster_make();
	return 0;
}

static int free_cluster(void **state)
{
	(void)state;
	cluster_free(&cluster);
	return 0;
}

static void close_all(struct script *s)
{
	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(gt_gw_conns(s->gw), 0);
	assert_int_equal(gt_gw_buffered(s->gw), 0);
	assert_int_equal(script_close(s), 0);
}

static struct script_end *asks(struct script *s)
{
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, GET_ECHO);
	return c;
}

/* Of those that the uplink makes. */
static struct script_end *way(struct script *s, size_t i)
{
	return script_up(s, SCRIPT_FORWARD, i);
}

static size_t n_ways(struct script *s)
{
	size_t n = 0;

	while (way(s, n))
		n++;
	return n;
}

static bool runs(struct script *s, size_t n)
{
	return script_up(s, SCRIPT_UP, n - 1) && !script_up(s, SCRIPT_UP, n);
}

/* ---- the next one ---------------------------------------------------------------------------- */

/* It followed the one at THERE, leads now, and knows of a replica with one slot. */
static struct script *next_one(unsigned n_shards)
{
	struct script *s = script_open_shards(1, n_shards);

	script_leads(s, 7, THERE, "");
	script_leads(s, 8, NULL, THERE);
	script_tell(s, 1);
	return s;
}

static void hears(struct script *s, size_t i, const char *text)
{
	script_puts(way(s, i), "ok\n");
	script_puts(way(s, i), SWITCHED);
	script_puts(way(s, i), text);
}

static void test_who_led_before_is_asked(void **state)
{
	struct script *s = next_one(1);
	struct script_end *c = asks(s);

	(void)state;
	assert_string_equal(gt_buf_str(&way(s, 0)->got), "0 " THERE "\n");
	assert_null(way(s, 1)); /* once, though it is known from two sides */
	script_puts(way(s, 0), "ok\n");
	assert_true(script_has(way(s, 0), "GET /link/v1/nodes/here/holds HTTP/1.1\r\n"));
	assert_true(script_has(way(s, 0), "\r\nUpgrade: gantry-holds\r\n"));
	assert_true(script_has(way(s, 0), "\r\nGantry-Epoch: 8\r\n"));
	assert_true(script_has(way(s, 0), "\r\nGantry-Door: https://here:1\r\n"));
	script_puts(way(s, 0), SWITCHED);
	assert_null(script_up(s, SCRIPT_UP, 0)); /* what it holds is not known yet */
	script_puts(way(s, 0), "held 1 " A "\nall\n");
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_wait(s, 30000);
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 0), "given 1 " A "\n");
	assert_true(runs(s, 1));
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	script_eof(way(s, 0)); /* its last word */
	script_wait(s, 30000);
	assert_int_equal(n_ways(s), 1);
	close_all(s);
}

static void test_slots_that_are_not_held_are_free(void **state)
{
	struct script *s = script_open(2);

	(void)state;
	s->route.concurrency = 3;
	script_leads(s, 7, THERE, "");
	script_leads(s, 8, NULL, THERE);
	script_tell(s, 2);
	hears(s, 0, "held 2 " A "\nheld 3 " B "\nall\n");
	asks(s);
	asks(s);
	assert_true(runs(s, 1));
	script_puts(way(s, 0), "given 1 " B "\n");
	assert_true(runs(s, 2));
	close_all(s);
}

/* Else control would stop it under them. */
static void test_a_replica_with_held_slots_is_not_drained(void **state)
{
	struct script *s = next_one(1);
	struct gt_demand d;

	(void)state;
	hears(s, 0, "held 2 " A "\nall\n");
	s->replicas[0].draining = true;
	script_tell(s, 1);
	for (size_t i = 0; i < 3; i++) {
		gt_demander_build(s->gw, true, &d);
		assert_int_equal(d.n_drained, i == 2);
		gt_demand_fini(&d);
		if (i < 2)
			script_puts(way(s, 0), "given 1 " A "\n");
	}
	assert_true(s->gw->demand.urgent); /* control hears of it now */
	close_all(s);
}

/* A function is at home on any of them, and its replica is told of before its route is. */
static void test_all_shards_hear_of_it(void **state)
{
	struct script *s = script_open_shards(0, 3);

	(void)state;
	script_leads(s, 7, THERE, "");
	script_leads(s, 8, NULL, "");
	hears(s, 0, "held 1 " A "\nall\n");
	script_tell(s, 1);
	asks(s);
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 0), "given 1 " A "\n");
	assert_true(runs(s, 1));
	close_all(s);
}

static void test_nobody_listens_there(void **state)
{
	struct script *s = next_one(2);

	(void)state;
	asks(s);
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 0), "none\n");
	assert_true(runs(s, 1));
	close_all(s);
}

static void test_one_that_says_nothing_is_not_waited_for_long(void **state)
{
	static const char *const before[] = { "", "ok\n", "ok\n" SWITCHED,
					      "ok\n" SWITCHED "held 1 " A "\n" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(before); i++) {
		struct script *s = next_one(2);

		asks(s);
		script_puts(way(s, 0), before[i]);
		script_wait(s, GT_HOLDS_MS - 1);
		assert_null(script_up(s, SCRIPT_UP, 0));
		script_wait(s, 1);
		assert_true(runs(s, 1));
		assert_false(way(s, 0)->open);
		script_wait(s, 3000); /* it still has to hear who leads */
		assert_int_equal(n_ways(s), 2);
		close_all(s);
	}
}

static void test_a_way_that_breaks_is_tried_again_at_once(void **state)
{
	struct script *s = next_one(1);

	(void)state;
	asks(s);
	script_eof(way(s, 0));
	script_wait(s, 100);
	script_puts(way(s, 1), "ok\n");
	script_fail(way(s, 1), ECONNRESET);
	script_wait(s, 100);
	assert_null(script_up(s, SCRIPT_UP, 0));
	hears(s, 2, "all\n");
	assert_true(runs(s, 1));
	close_all(s);
}

/* Its calls count until it has told them anew, and not twice. */
static void test_a_break_is_no_end_of_calls(void **state)
{
	struct script *s = next_one(1);

	(void)state;
	asks(s);
	hears(s, 0, "held 1 " A "\nall\n");
	script_fail(way(s, 0), ECONNRESET);
	script_wait(s, 100);
	assert_null(script_up(s, SCRIPT_UP, 0));
	hears(s, 1, "held 1 " A "\n");
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 1), "all\n");
	script_wait(s, 30000);
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 1), "given 1 " A "\n");
	assert_true(runs(s, 1));
	close_all(s);
}

static void test_one_that_is_gone_holds_nothing(void **state)
{
	static const char *const then[] = { "none\n", "" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(then); i++) {
		struct script *s = next_one(1);

		asks(s);
		hears(s, 0, "held 1 " A "\nall\n");
		script_fail(way(s, 0), ECONNRESET);
		script_wait(s, 100);
		assert_null(script_up(s, SCRIPT_UP, 0));
		script_puts(way(s, 1), then[i]);
		script_wait(s, *then[i] ? 0 : GT_HOLDS_MS);
		assert_true(runs(s, 1));
		close_all(s);
	}
}

static void test_nonsense_holds_nothing(void **state)
{
	static const char *const rows[] = {
		"held 1 " A "\nheld\n",
		"held 1 " A "\nheld \n",
		"held 1 " A "\nheld 0 " A "\n",
		"held 1 " A "\nheld -1 " A "\n",
		"held 1 " A "\nheld 65536 " A "\n",
		"held 1 " A "\nheld 99999999999 " A "\n",
		"held 1 " A "\nheld 1 x\n",
		"held 1 " A "\nheld 1 " A "A\n",
		"held 1 " A "\nheld 1 ../../../../../../../../a\n",
		"held 1 " A "\nALL\n",
		"held 1 " A "\n\n",
		"held 1 " A "\nall\nall of it\n",
		"held 1 " A "\r\n",
	};
	char flood[2 * GT_HOLDS_LINE];

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct script *s = next_one(2);

		asks(s);
		hears(s, 0, rows[i]);
		if (way(s, 0)->open || !runs(s, 1))
			fail_msg("%s", rows[i]);
		close_all(s);
	}
	memset(flood, 'x', sizeof(flood));
	flood[sizeof(flood) - 1] = '\0';
	for (int after = 0; after < 3; after++) {
		struct script *s = next_one(1);

		asks(s);
		script_puts(way(s, 0), after > 0 ? "ok\n" : "");
		script_puts(way(s, 0), after > 1 ? SWITCHED : "");
		script_puts(way(s, 0), flood);
		assert_false(way(s, 0)->open);
		assert_true(runs(s, 1));
		close_all(s);
	}
}

static void test_too_many_replicas(void **state)
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	struct script *s = next_one(1);
	char text[64];

	(void)state;
	asks(s);
	hears(s, 0, "");
	for (unsigned i = 0; i < 20000 && way(s, 0)->open; i++) {
		snprintf(text, sizeof(text), "held 1 0000000000000000000000%c%c%c%c\n",
			 digits[i >> 15 & 31], digits[i >> 10 & 31], digits[i >> 5 & 31],
			 digits[i & 31]);
		script_puts(way(s, 0), text);
	}
	assert_false(way(s, 0)->open);
	assert_null(s->gw->others.held); /* nothing is kept of it */
	assert_true(runs(s, 1));
	close_all(s);
}

/* It follows another one, or is of a version that knows nothing of this. */
static void test_an_answer_that_is_none(void **state)
{
	struct script *s = next_one(1);

	(void)state;
	asks(s);
	script_puts(way(s, 0), "ok\n");
	script_puts(way(s, 0), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	assert_false(way(s, 0)->open);
	assert_true(runs(s, 1));
	close_all(s);
}

static void test_all_that_led_before_are_asked(void **state)
{
	struct script *s = script_open(1);

	(void)state;
	script_leads(s, 7, THERE, "");
	script_leads(s, 8, YONDER, "");
	script_leads(s, 9, NULL, YONDER);
	script_tell(s, 1);
	asks(s);
	assert_int_equal(n_ways(s), 2);
	hears(s, 0, "all\n");
	assert_null(script_up(s, SCRIPT_UP, 0));
	hears(s, 1, "held 1 " A "\nall\n");
	assert_null(script_up(s, SCRIPT_UP, 0));
	script_puts(way(s, 1), "given 1 " A "\n");
	assert_true(runs(s, 1));
	close_all(s);
}

static void test_who_leads_no_more_asks_no_more(void **state)
{
	struct script *s = next_one(3);

	(void)state;
	hears(s, 0, "held 1 " A "\nall\n");
	script_leads(s, 9, YONDER, "");
	assert_false(way(s, 0)->open);
	script_wait(s, 10000);
	assert_int_equal(n_ways(s), 1);
	for (unsigned i = 0; i < 3; i++)
		assert_null(s->shards[i]->others.held);
	close_all(s);
}

static void test_nobody_led_before(void **state)
{
	struct script *s = script_open(1);

	(void)state;
	script_leads(s, 1, NULL, "");
	script_tell(s, 1);
	asks(s);
	assert_true(runs(s, 1));
	script_leads(s, 2, NULL, "https://here:1");
	assert_int_equal(n_ways(s), 0);
	close_all(s);
}

/* ---- the one before -------------------------------------------------------------------------- */

/* It leads by epoch 7, and its control hangs from now on. */
static struct script *one_before(unsigned n_shards)
{
	struct script *s = script_open_shards(1, n_shards);

	for (unsigned i = 0; i < n_shards; i++)
		s->shards[i]->cfg.lead_path = "lead";
	s->route.concurrency = 2;
	script_leads(s, 7, NULL, "");
	script_tell(s, 1);
	cluster_identify(&cluster, s);
	return s;
}

static struct node_end next(struct script *s, const char *epoch, const char *door)
{
	struct node_end n = node_open(&cluster, s, GT_PKI_GATEWAY, "there", HOUR_MS);
	char text[512];

	snprintf(text, sizeof(text),
		 "GET /link/v1/nodes/there/holds HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
		 "Upgrade: gantry-holds\r\nGantry-Epoch: %s\r\nGantry-Door: %s\r\n\r\n",
		 epoch, door);
	node_say(&n, text);
	return n;
}

static bool told(struct node_end *n, const char *text)
{
	bool has;

	node_pump(n);
	has = gt_streq(gt_buf_str(&n->said), text);
	node_forget(n);
	return has;
}

#define ANSWER                                                        \
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n" \
	"Upgrade: gantry-holds\r\n\r\n"

static void tells_what_it_holds(unsigned n_shards)
{
	struct script *s = one_before(n_shards);
	struct script_end *c = asks(s), *d = asks(s), *e = asks(s);
	struct node_end n = next(s, "8", THERE);

	/* The uplink is told, and the call that waited for a slot goes to the next one. */
	assert_true(told(&n, ANSWER "held 2 " A "\nall\n"));
	assert_true(gt_follows(s->gw));
	assert_string_equal(gt_buf_str(&way(s, 0)->got), "8 " THERE "\n");
	assert_string_equal(gt_buf_str(&way(s, 1)->got), "8 " THERE "\n");
	assert_int_equal(n_ways(s), 2);
	assert_true(runs(s, 2));
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_true(told(&n, "given 1 " A "\n"));
	assert_true(n.end->open);
	script_fail(d, ECONNRESET); /* whatever ends it */
	assert_true(told(&n, "given 1 " A "\n"));
	assert_true(n.goodbye);
	assert_false(n.end->open);
	assert_null(s->gw->others.tells);
	script_fail(e, ECONNRESET);
	node_close(&n);
	close_all(s);
}

static void test_it_tells_what_it_holds_and_follows(void **state)
{
	(void)state;
	tells_what_it_holds(1);
	tells_what_it_holds(3);
}

static void test_it_holds_nothing(void **state)
{
	struct script *s = one_before(2);
	struct node_end n = next(s, "8", THERE);

	(void)state;
	assert_true(told(&n, ANSWER "all\n"));
	assert_false(n.end->open);
	node_close(&n);
	n = next(s, "8", THERE); /* whoever asks again is told again */
	assert_true(told(&n, ANSWER "all\n"));
	node_close(&n);
	close_all(s);
}

static void test_each_who_asks_is_told(void **state)
{
	struct script *s = one_before(2);
	struct node_end n, m;

	(void)state;
	asks(s);
	n = next(s, "8", THERE);
	m = next(s, "8", THERE);
	assert_true(told(&n, ANSWER "held 1 " A "\nall\n"));
	assert_true(told(&m, ANSWER "held 1 " A "\nall\n"));
	node_close(&m); /* which is no reason for anything */
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(told(&n, "given 1 " A "\n"));
	node_close(&n);
	close_all(s);
}

/* What the gateway before this one of the same daemon has: it may have led. */
static void test_it_tells_of_the_one_that_it_replaces(void **state)
{
	struct script *s = one_before(1);
	struct node_end n;

	(void)state;
	assert_int_equal(gt_held_change(s->gw, GT_HELD_BEFORE, A, 2), 0);
	n = next(s, "8", THERE);
	assert_true(told(&n, ANSWER "held 2 " A "\nall\n"));
	assert_int_equal(gt_held_change(s->gw, GT_HELD_BEFORE, A, -1), 0);
	script_run(s);
	assert_true(told(&n, "given 1 " A "\n"));
	gt_held_forget(s->gw, GT_HELD_BEFORE);
	script_run(s);
	assert_true(told(&n, "given 1 " A "\n"));
	assert_false(n.end->open);
	node_close(&n);
	close_all(s);
}

static void test_it_leads_again(void **state)
{
	struct script *s = one_before(1);
	struct node_end n;

	(void)state;
	asks(s);
	n = next(s, "8", THERE);
	script_leads(s, 9, NULL, THERE);
	assert_false(n.end->open);
	script_puts(way(s, 1), "none\n");
	script_tell(s, 1);
	asks(s);
	asks(s);
	assert_true(runs(s, 2)); /* with the one that never ended that is all there is */
	node_close(&n);
	close_all(s);
}

static void test_who_may_not_say_that_it_leads(void **state)
{
	static const struct {
		const char *epoch, *door;
		int status;
	} rows[] = {
		{ "7", THERE, 503 },
		{ "6", THERE, 503 },
		{ "0", THERE, 503 },
		{ "", THERE, 400 },
		{ "-8", THERE, 400 },
		{ "8x", THERE, 400 },
		{ "9223372036854775808", THERE, 400 },
		{ "88888888888888888888888888888888", THERE, 400 },
		{ "8", "", 400 },
		{ "8", "http://there:1", 400 },
		{ "8", "https://there:1 x", 400 },
		{ "8", "https://here:1", 400 },
	};
	struct script *s = one_before(2);
	struct node_end n;
	char line[32];

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		n = next(s, rows[i].epoch, rows[i].door);
		snprintf(line, sizeof(line), "HTTP/1.1 %d ", rows[i].status);
		if (!node_has(&n, line) || gt_follows(s->gw))
			fail_msg("%s %s: %s", rows[i].epoch, rows[i].door, gt_buf_str(&n.said));
		node_close(&n);
	}
	n = node_open(&cluster, s, GT_PKI_GATEWAY, "there", HOUR_MS);
	node_say(&n, "GET /link/v1/nodes/there/holds HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(node_has(&n, "HTTP/1.1 400 "));
	node_close(&n);
	n = node_open(&cluster, s, GT_PKI_GATEWAY, "yonder", HOUR_MS);
	node_say(&n, "GET /link/v1/nodes/there/holds HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(node_has(&n, "HTTP/1.1 403 "));
	node_close(&n);
	cluster_members(s, "there", NULL);
	n = node_open(&cluster, s, GT_PKI_NODE, "there", HOUR_MS);
	node_say(&n, "GET /link/v1/nodes/there/holds HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
		     "Upgrade: gantry-holds\r\nGantry-Epoch: 8\r\nGantry-Door: " THERE "\r\n\r\n");
	assert_true(node_has(&n, "HTTP/1.1 403 "));
	assert_false(gt_follows(s->gw));
	node_close(&n);
	close_all(s);
}

static void test_one_of_an_earlier_epoch_is_told_who_leads(void **state)
{
	struct script *s = one_before(1);
	struct node_end n;

	(void)state;
	script_leads(s, 9, YONDER, "");
	n = next(s, "8", THERE);
	assert_true(node_has(&n, "HTTP/1.1 503 ") &&
		    node_has(&n, "\r\nGantry-Leader: " YONDER "\r\n"));
	node_close(&n);
	close_all(s);
}

static void test_too_many_ask(void **state)
{
	struct script *s = one_before(1);
	struct node_end n[GT_HOLDS_MAX + 1];

	(void)state;
	asks(s);
	for (size_t i = 0; i < GT_LEN(n); i++)
		n[i] = next(s, "8", THERE);
	assert_true(node_has(&n[GT_HOLDS_MAX - 1], ANSWER));
	assert_true(node_has(&n[GT_HOLDS_MAX], "HTTP/1.1 503 "));
	for (size_t i = 0; i < GT_LEN(n); i++)
		node_close(&n[i]);
	close_all(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_led_before_is_asked),
		cmocka_unit_test(test_slots_that_are_not_held_are_free),
		cmocka_unit_test(test_a_replica_with_held_slots_is_not_drained),
		cmocka_unit_test(test_all_shards_hear_of_it),
		cmocka_unit_test(test_nobody_listens_there),
		cmocka_unit_test(test_one_that_says_nothing_is_not_waited_for_long),
		cmocka_unit_test(test_a_way_that_breaks_is_tried_again_at_once),
		cmocka_unit_test(test_a_break_is_no_end_of_calls),
		cmocka_unit_test(test_one_that_is_gone_holds_nothing),
		cmocka_unit_test(test_nonsense_holds_nothing),
		cmocka_unit_test(test_too_many_replicas),
		cmocka_unit_test(test_an_answer_that_is_none),
		cmocka_unit_test(test_all_that_led_before_are_asked),
		cmocka_unit_test(test_who_leads_no_more_asks_no_more),
		cmocka_unit_test(test_nobody_led_before),
		cmocka_unit_test(test_it_tells_what_it_holds_and_follows),
		cmocka_unit_test(test_it_holds_nothing),
		cmocka_unit_test(test_each_who_asks_is_told),
		cmocka_unit_test(test_it_tells_of_the_one_that_it_replaces),
		cmocka_unit_test(test_it_leads_again),
		cmocka_unit_test(test_who_may_not_say_that_it_leads),
		cmocka_unit_test(test_one_of_an_earlier_epoch_is_told_who_leads),
		cmocka_unit_test(test_too_many_ask),
	};

	return cmocka_run_group_tests(tests, make_cluster, free_cluster);
}
