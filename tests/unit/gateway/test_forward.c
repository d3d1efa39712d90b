/* Calls and requests that are passed on to the gateway that leads: when they go there, when they go
 * again, and never twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "leader.h"
#include "peer_tls.h"

#define AUTH      "Host: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO  "GET /f/echo/x HTTP/1.1\r\n" AUTH "\r\n"
#define POST_ECHO "POST /f/echo/x HTTP/1.1\r\n" AUTH "Content-Length: 4\r\n\r\nbody"
#define OK_HI     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define AWAY      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
#define THERE     "https://there:1"
#define YONDER    "https://yonder:1"
#define SECONDS   1000

static int setup(void **state)
{
	struct script *s = script_open(1);

	script_leads(s, 7, THERE, "");
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct script *s = *state;

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(s->gw->n_conns, 0);
	assert_int_equal(s->gw->buffered, 0);
	assert_int_equal(script_close(s), 0);
	return 0;
}

static struct script_end *asks(struct script *s, const char *request)
{
	struct script_end *c = script_client(s, "10.0.0.9");

	script_puts(c, request);
	return c;
}

/* The i-th connection to another gateway, and all that was said there. */
static struct script_end *to(struct script *s, size_t i)
{
	return script_up(s, SCRIPT_FORWARD, i);
}

static void assert_said(struct script_end *e, const char *text)
{
	assert_non_null(e);
	assert_string_equal(gt_buf_str(&e->got), text);
}

/* The way is there: from now on it is the gateway that leads. */
static void arrives(struct script_end *e)
{
	gt_buf_reset(&e->got);
	script_puts(e, "ok\n");
}

static void test_nothing_is_sent_before_the_other_end_is_there(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	assert_said(to(s, 0), "7 " THERE "\n");
	arrives(to(s, 0));
	assert_true(script_has(to(s, 0), "POST /f/echo/x HTTP/1.1\r\n"));
	assert_true(script_has(to(s, 0), "X-Forwarded-For: 10.0.0.9\r\n"));
	assert_true(script_has(to(s, 0), "\r\n\r\nbody"));
	script_puts(to(s, 0), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	gt_buf_reset(&to(s, 0)->got);
	script_puts(c, GET_ECHO); /* the next one needs no new way */
	assert_true(script_has(to(s, 0), "GET /f/echo/x HTTP/1.1\r\n"));
	assert_null(to(s, 1));
	script_puts(to(s, 0), OK_HI);
}

static void test_a_way_that_is_not_there_is_tried_again(void **state)
{
	static const char *const no[] = { "none\n", "no", "ok", "okay\n" };
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);
	size_t i;

	for (i = 0; i < GT_LEN(no); i++) {
		script_puts(to(s, i), no[i]);
		script_eof(to(s, i));
		assert_false(to(s, i)->open);
		assert_int_equal(c->got.len, 0);
		script_wait(s, 100);
		assert_said(to(s, i + 1), "7 " THERE "\n");
	}
	arrives(to(s, i));
	script_puts(to(s, i), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_null(to(s, i + 1));
}

static void test_who_finds_no_leader_is_told_so_in_time(void **state)
{
	struct script *s = *state;
	struct script_end *c;

	s->api_away = true;
	c = asks(s, GET_ECHO);
	script_wait(s, GT_GW_LEADER_MS - 1 * SECONDS);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 2 * SECONDS);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(c, "the gateway of node there, which leads, could not be reached"));
	assert_true(script_has(c, "\r\nRetry-After: "));
}

/* ---- another one leads -----------------------------------------------------------------------
 */

static void test_another_leads_before_anything_was_sent(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	script_leads(s, 8, YONDER, "");
	script_eof(to(s, 0)); /* the uplink leaves it, as another one leads */
	script_wait(s, 100);
	assert_said(to(s, 1), "8 " YONDER "\n");
	arrives(to(s, 1));
	assert_true(script_has(to(s, 1), "\r\n\r\nbody"));
	script_puts(to(s, 1), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
}

static void test_this_one_leads_before_anything_was_sent(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	script_leads(s, 8, NULL, "");
	script_puts(to(s, 1), "none\n"); /* who led before is asked what it still has */
	script_tell(s, 1);
	script_eof(to(s, 0));
	script_wait(s, 100);
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "POST /x HTTP/1.1\r\n"));
	assert_true(script_has(script_up(s, SCRIPT_UP, 0), "\r\n\r\nbody"));
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
}

static void test_what_was_sent_goes_on_where_it_is(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	arrives(to(s, 0));
	script_leads(s, 8, YONDER, "");
	script_wait(s, 1 * SECONDS);
	assert_true(to(s, 0)->open);
	assert_null(to(s, 1));
	script_puts(to(s, 0), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_false(to(s, 0)->open); /* the next call has another way */
}

static void test_idle_ways_end_with_the_leader(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_ECHO);

	arrives(to(s, 0));
	script_puts(to(s, 0), OK_HI);
	assert_true(to(s, 0)->open);
	script_leads(s, 8, YONDER, "");
	assert_false(to(s, 0)->open);
	script_puts(c, GET_ECHO);
	assert_said(to(s, 1), "8 " YONDER "\n");
}

/* It was not taken there, so that it is safe to send it again, whatever it asks for. */
static void test_a_gateway_that_does_not_lead_is_no_answer(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	arrives(to(s, 0));
	script_puts(to(s, 0), AWAY "Gantry-Leader: " YONDER "\r\n\r\n");
	assert_false(to(s, 0)->open);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 100);
	assert_said(to(s, 1), "7 " THERE "\n");
	arrives(to(s, 1));
	assert_true(script_has(to(s, 1), "\r\n\r\nbody"));
	script_puts(to(s, 1), AWAY "\r\n"); /* and this is one */
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_null(to(s, 2));
}

/* A control that does not know yet, or is one of before, changes nothing. */
static void test_who_led_before_does_not_lead_again(void **state)
{
	struct script *s = *state;

	script_leads(s, 6, NULL, "");
	script_leads(s, 5, YONDER, "");
	assert_true(gt_follows(s->gw));
	asks(s, GET_ECHO);
	assert_said(to(s, 0), "7 " THERE "\n");
}

/* ---- it breaks -------------------------------------------------------------------------------
 */

static void test_what_may_have_arrived_is_not_sent_again(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, POST_ECHO);

	arrives(to(s, 0));
	script_fail(to(s, 0), ECONNRESET);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	script_wait(s, 30 * SECONDS);
	assert_null(to(s, 1));
}

static void test_what_is_idempotent_is_sent_again(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_ECHO);

	arrives(to(s, 0));
	script_fail(to(s, 0), ECONNRESET);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 100);
	arrives(to(s, 1));
	assert_true(script_has(to(s, 1), "GET /f/echo/x HTTP/1.1\r\n"));
	script_puts(to(s, 1), OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
}

static void test_half_an_answer_is_cut(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_ECHO);

	arrives(to(s, 0));
	script_puts(to(s, 0), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
	assert_true(script_has(c, "half"));
	script_fail(to(s, 0), ECONNRESET);
	assert_false(c->open);
	assert_null(to(s, 1));
}

static void test_an_idle_way_that_speaks_is_closed(void **state)
{
	struct script *s = *state;

	asks(s, GET_ECHO);
	arrives(to(s, 0));
	script_puts(to(s, 0), OK_HI);
	script_puts(to(s, 0), OK_HI);
	assert_false(to(s, 0)->open);
}

static void test_a_client_that_leaves_closes_its_way(void **state)
{
	struct script *s = *state;
	struct script_end *c = asks(s, GET_ECHO), *d;

	script_eof(c);
	assert_false(to(s, 0)->open);
	d = asks(s, GET_ECHO);
	arrives(to(s, 1));
	script_eof(d);
	assert_false(to(s, 1)->open);
}

/* ---- at the other end ------------------------------------------------------------------------
 */

static void test_there_is_no_second_hop(void **state)
{
	struct script *s = *state;
	struct cluster cluster = cluster_make();
	struct node_end n;

	s->gw->cfg.lead_path = "lead";
	cluster_identify(&cluster, s);
	n = node_open(&cluster, s, GT_PKI_GATEWAY, "yonder", 3600 * SECONDS);
	node_say(&n, POST_ECHO);
	assert_true(node_has(&n, "HTTP/1.1 503 "));
	assert_true(node_has(&n, "\r\nGantry-Leader: " THERE "\r\n"));
	assert_null(to(s, 0));
	node_close(&n);
	script_leads(s, 8, NULL, "");
	script_puts(to(s, 0), "none\n");
	script_tell(s, 1);
	n = node_open(&cluster, s, GT_PKI_GATEWAY, "yonder", 3600 * SECONDS);
	node_say(&n, GET_ECHO);
	script_puts(script_up(s, SCRIPT_UP, 0), OK_HI);
	assert_true(node_has(&n, "\r\n\r\nhi"));
	assert_int_equal(s->gw->stats.forwarded, 1);
	node_close(&n);
	cluster_free(&cluster);
}

int main(void)
{
#define t(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(test_nothing_is_sent_before_the_other_end_is_there),
		t(test_a_way_that_is_not_there_is_tried_again),
		t(test_who_finds_no_leader_is_told_so_in_time),
		t(test_another_leads_before_anything_was_sent),
		t(test_this_one_leads_before_anything_was_sent),
		t(test_what_was_sent_goes_on_where_it_is),
		t(test_idle_ways_end_with_the_leader),
		t(test_a_gateway_that_does_not_lead_is_no_answer),
		t(test_who_led_before_does_not_lead_again),
		t(test_what_may_have_arrived_is_not_sent_again),
		t(test_what_is_idempotent_is_sent_again),
		t(test_half_an_answer_is_cut),
		t(test_an_idle_way_that_speaks_is_closed),
		t(test_a_client_that_leaves_closes_its_way),
		t(test_there_is_no_second_hop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
