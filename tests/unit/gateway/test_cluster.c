/* Nodes at the gateway's door: who gets in, what is there for them, pipes and the calls over them,
 * and nodes that say anything else than they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "nodes.h"
#include "peer_tls.h"
#include "tls.h"

#define HOUR_MS  ((int64_t)3600 * 1000)
#define AUTH     "Host: h\r\nAuthorization: Bearer " SCRIPT_TOKEN "\r\n"
#define GET_ECHO "GET /f/echo/x HTTP/1.1\r\n" AUTH "\r\n"
#define OK_HI    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define ASKED_A  "replica " SCRIPT_REPLICA "A\n"
#define ASKED_B  "replica " SCRIPT_REPLICA "B\n"

static struct cluster cluster, another;

static int make_clusters(void **state)
{
	(void)state;
	cluster = cluster_make();
	another = cluster_make();
	return 0;
}

static int free_clusters(void **state)
{
	(void)state;
	cluster_free(&cluster);
	cluster_free(&another);
	return 0;
}

/* "far" and "away" joined; the first replica runs on "far", the others on "away". */
static struct script *open_shards(size_t n_replicas, unsigned n_shards)
{
	struct script *s = script_open_shards(0, n_shards);

	gt_strcopy(s->replicas[0].node, sizeof(s->replicas[0].node), "far");
	for (size_t i = 1; i < GT_LEN(s->replicas); i++)
		gt_strcopy(s->replicas[i].node, sizeof(s->replicas[i].node), "away");
	cluster_identify(&cluster, s);
	cluster_members(s, "far", "away", NULL);
	script_tell(s, n_replicas);
	return s;
}

static struct script *open_cluster(size_t n_replicas)
{
	return open_shards(n_replicas, 1);
}

/* Nothing is left of clients, their slots and bytes. */
static void close_all(struct script *s)
{
	struct gt_fn *fn = gt_routes_function(s->gw, "echo", 4);

	for (size_t i = 0; i < s->n_ends; i++)
		if (s->ends[i].open && s->ends[i].role == SCRIPT_CLIENT)
			script_fail(&s->ends[i], ECONNRESET);
	assert_int_equal(gt_gw_conns(s->gw), 0);
	assert_int_equal(gt_gw_buffered(s->gw), 0);
	if (fn) {
		assert_int_equal(fn->in_flight, 0);
		assert_int_equal(fn->n_waiting, 0);
	}
	assert_int_equal(script_close(s), 0);
}

static struct node_end node(struct script *s, const char *name)
{
	return node_open(&cluster, s, GT_PKI_NODE, name, HOUR_MS);
}

static struct script_end *link_end(struct script *s, size_t i)
{
	struct script_end *e = script_up(s, SCRIPT_LINK, i);

	assert_non_null(e);
	return e;
}

static unsigned idle_pipes(struct script *s, const char *name)
{
	return gt_node_find(s->gw, name, strlen(name))->n_idle;
}

/* ---- who gets in ---- */

static void test_a_node_asks_control_through_the_plain_port(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end n = node(s, "far");

	(void)state;
	node_say(&n, "POST /link/v1/nodes/far/report HTTP/1.1\r\nHost: h\r\n"
		     "Gantry-Peer: node/away\r\nGantry_Peer2: x\r\nContent-Length: 2\r\n\r\n{}");
	assert_true(script_has(link_end(s, 0), "POST /link/v1/nodes/far/report HTTP/1.1\r\n"));
	assert_true(script_has(link_end(s, 0), "Gantry-Peer: node/far\r\n"));
	assert_false(script_has(link_end(s, 0), "node/away"));
	assert_true(script_has(link_end(s, 0), "\r\n\r\n{}"));
	script_puts(link_end(s, 0), "HTTP/1.1 204 No Content\r\n\r\n");
	assert_true(node_has(&n, "HTTP/1.1 204 "));
	assert_int_equal(s->guarded, 1);
	node_close(&n);
	close_all(s);
}

static void test_no_client_says_who_it_is_to_control(void **state)
{
	struct script *s = open_cluster(0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, "GET /v1/nodes HTTP/1.1\r\nHost: h\r\nGantry-Peer: node/far\r\n\r\n");
	assert_true(script_has(script_up(s, SCRIPT_API, 0), "GET /v1/nodes HTTP/1.1\r\n"));
	assert_false(script_has(script_up(s, SCRIPT_API, 0), "Gantry-Peer"));
	script_eof(c);
	close_all(s);
}

/* A watch goes on for as long as it likes, each line at once, and ends with the node. */
static void test_a_watch_streams_and_is_cut_by_no_idle_limit(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end n = node(s, "far");

	(void)state;
	node_say(&n, "GET /link/v1/nodes/far/desired HTTP/1.1\r\nHost: h\r\n\r\n");
	script_puts(link_end(s, 0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
				    "7\r\nline 1\n\r\n");
	assert_true(node_has(&n, "line 1\n"));
	script_wait(s, 20 * 60 * 1000);
	script_puts(link_end(s, 0), "7\r\nline 2\n\r\n");
	assert_true(node_has(&n, "line 2\n"));
	/* Its certificate is over: it has to come again by the next one. */
	assert_true(n.end->open);
	script_wait(s, 45 * 60 * 1000);
	assert_false(n.end->open);
	assert_false(link_end(s, 0)->open);
	node_close(&n);
	close_all(s);
}

static void expect(struct script *s, struct node_end *n, const char *request, int status)
{
	char text[256], line[32];

	(void)s;
	snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: h\r\n\r\n", request);
	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	node_forget(n);
	node_say(n, text);
	if (!node_has(n, line))
		fail_msg("%s: %s", request, gt_buf_str(&n->said));
}

static void test_a_node_speaks_for_itself_alone(void **state)
{
	static const struct {
		const char *request;
		int status;
	} rows[] = {
		{ "GET /link/v1/nodes/away/desired", 403 },
		{ "POST /link/v1/nodes/away/report", 403 },
		{ "GET /link/v1/nodes/away/pipe?shard=0", 403 },
		{ "GET /link/v1/nodes/far", 403 },
		{ "GET /link/v1/nodes/far/", 403 },
		{ "GET /link/v1/nodes/far/desired/", 403 },
		{ "GET /link/v1/nodes/far/desired?x", 403 },
		{ "GET /link/v1/nodes/far/../away/desired", 403 },
		{ "GET /link/v1/nodes/%66ar/desired", 403 },
		{ "GET /link/v1/nodes/fa/r/desired", 403 },
		{ "GET /link//v1/nodes/far/desired", 403 },
		{ "GET /link/v1/nodes/far/agent/link/v1/logs", 403 },
		{ "GET /link/v1/gateways/gw-1/routes", 403 },
		{ "POST /link/v1/join", 403 },
		{ "GET /link/", 403 },
		{ "GET /link", 404 },
		{ "GET /v1/functions", 404 },
		{ "GET /f/echo/x", 404 },
		{ "GET /livez", 404 },
		{ "OPTIONS *", 404 },
		{ "GET /link/v1/nodes/far/pipe?shard=0", 400 },
		{ "GET /link/v1/nodes/far/pipe", 403 },
		{ "GET /link/v1/nodes/far/pipe?shard=99999", 403 },
		{ "GET /link/v1/nodes/far/pipe?shard=-1", 403 },
	};
	struct script *s = open_cluster(0);

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct node_end n = node(s, "far");

		expect(s, &n, rows[i].request, rows[i].status);
		node_close(&n);
	}
	assert_null(script_up(s, SCRIPT_LINK, 0));
	assert_null(script_up(s, SCRIPT_API, 0));
	close_all(s);
}

static void test_who_has_no_certificate_may_join_and_nothing_else(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end n = node_open(&cluster, s, GT_PKI_NODE, NULL, 0);

	(void)state;
	expect(s, &n, "GET /v1/functions", 404);
	expect(s, &n, "GET /link/v1/nodes/far/desired", 403);
	assert_false(n.end->open); /* and no more */
	node_close(&n);
	n = node_open(&cluster, s, GT_PKI_NODE, NULL, 0);
	node_say(&n, "POST /link/v1/join HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
	assert_true(script_has(link_end(s, 0), "POST /link/v1/join HTTP/1.1\r\n"));
	assert_false(script_has(link_end(s, 0), "Gantry-Peer"));
	script_puts(link_end(s, 0), "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
	assert_true(node_has(&n, "HTTP/1.1 201 "));
	node_forget(&n);
	node_say(&n,
		 "POST /link/v1/join HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 17; i++) {
		char piece[4096 + 16];

		snprintf(piece, sizeof(piece), "1000\r\n%04096d\r\n", 0);
		node_say(&n, piece);
	}
	assert_true(node_has(&n, "HTTP/1.1 413 "));
	node_close(&n);
	close_all(s);
}

static void expect_no_entry(struct cluster *c, enum gt_pki_kind kind, const char *name,
			    int64_t life_ms, bool removed)
{
	struct script *s = open_cluster(0);
	struct node_end n = node_open(c, s, kind, name, life_ms);

	node_say(&n, "GET /link/v1/nodes/far/desired HTTP/1.1\r\nHost: h\r\n\r\n");
	if (removed)
		assert_true(node_has(&n, "HTTP/1.1 403 ") && node_has(&n, "\"node_removed\""));
	else
		assert_false(n.end->open || n.said.len);
	assert_null(script_up(s, SCRIPT_LINK, 0));
	node_close(&n);
	close_all(s);
}

static void test_certificates_that_are_not_good_enough(void **state)
{
	(void)state;
	expect_no_entry(&cluster, GT_PKI_NODE, "gone", HOUR_MS, true);
	expect_no_entry(&cluster, GT_PKI_GATEWAY, "far", HOUR_MS, true);
	expect_no_entry(&cluster, GT_PKI_NODE, "far", -60000, false); /* expired */
}

/* It was signed by a clock that was an hour ahead then. */
static void test_when_a_certificate_begins_is_no_question(void **state)
{
	struct script *s = open_cluster(0);
	struct cluster ahead = { .ca = cluster.ca,
				 .ca_cert = cluster.ca_cert,
				 .ahead_ms = HOUR_MS };
	struct node_end n = node_open(&ahead, s, GT_PKI_NODE, "far", HOUR_MS);

	(void)state;
	node_say(&n, "GET /link/v1/nodes/far/desired HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(n.end->open);
	assert_non_null(script_up(s, SCRIPT_LINK, 0));
	node_close(&n);
	close_all(s);
}

/* The node knows this gateway's authority, and has a certificate of another one. */
static void test_a_certificate_of_another_cluster(void **state)
{
	struct script *s = open_cluster(0);
	struct cluster mixed = { .ca = another.ca, .ca_cert = cluster.ca_cert };
	struct node_end n = node_open(&mixed, s, GT_PKI_NODE, "far", HOUR_MS);

	(void)state;
	node_say(&n, "GET /link/v1/nodes/far/desired HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_false(n.end->open);
	assert_null(script_up(s, SCRIPT_LINK, 0));
	node_close(&n);
	close_all(s);
}

/* One of an earlier machine that had the name. */
static void test_a_certificate_from_before_the_node_joined(void **state)
{
	struct script *s = open_cluster(0);
	struct gt_member again = { .node = "far", .since_ms = UINT64_MAX / 2 };
	struct node_end before = node_pipe(&cluster, s, "far", 0);

	(void)state;
	script_members(s, &again, 1);
	assert_false(before.end->open);
	struct node_end n = node(s, "far");

	expect(s, &n, "GET /link/v1/nodes/far/desired", 403);
	assert_true(node_has(&n, "\"node_removed\""));
	node_close(&n);
	node_close(&before);
	close_all(s);
}

static void test_a_handshake_waits_for_the_first_identity(void **state)
{
	struct script *s = script_open(0);
	struct node_end n;

	(void)state;
	cluster_members(s, "far", NULL);
	n = node(s, "far"); /* says hello, and nothing comes */
	assert_true(n.end->open);
	assert_int_equal(n.end->got.len, 0);
	assert_true(s->gw->link_wanted);
	cluster_identify(&cluster, s);
	node_pump(&n);
	assert_true(SSL_is_init_finished(n.ssl));
	expect(s, &n, "GET /link/v1/nodes/away/desired", 403);
	node_close(&n);
	n = node(s, "far");
	node_close(&n);
	close_all(s);
}

static void test_a_handshake_that_waits_in_vain_is_closed(void **state)
{
	struct script *s = script_open(0);
	struct node_end n = node(s, "far");

	(void)state;
	script_wait(s, GT_GW_HEAD_MS + 1);
	assert_false(n.end->open);
	assert_int_equal(s->gw->n_handshakes, 0);
	node_close(&n);
	close_all(s);
}

/* It is the first byte of a connection that decides, not one of a later request. */
static void test_tls_after_a_request_is_no_http(void **state)
{
	struct script *s = open_cluster(0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(script_has(c, "HTTP/1.1 200 "));
	script_puts(c, "\x16\x03\x01\n\n");
	assert_true(script_has(c, "HTTP/1.1 400 "));
	script_eof(c);
	close_all(s);
}

/* ---- beside the TLS of clients ---- */

static void test_the_name_that_is_asked_for_chooses_on_a_port_of_tls(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end n, c;

	(void)state;
	cluster_serve(&cluster, s);
	n = node(s, "far");
	expect(s, &n, "GET /link/v1/nodes/away/desired", 403);
	c = node_open(&cluster, s, GT_PKI_NODE, NULL, 0);
	expect(s, &c, "GET /livez", 404); /* it asked for the cluster */
	node_close(&c);
	c = node_client(&cluster, s, NULL);
	expect(s, &c, "GET /livez", 200);
	node_forget(&c);
	expect(s, &c, "POST /link/v1/join", 404);
	node_close(&c);
	node_close(&n);
	close_all(s);
}

/* A ticket of the port of clients, where nobody is asked for a certificate. */
static void test_no_session_leads_past_the_certificate(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end c, d;
	SSL_SESSION *ticket;

	(void)state;
	cluster_serve(&cluster, s);
	c = node_client(&cluster, s, NULL);
	expect(s, &c, "GET /livez", 200);
	ticket = SSL_get1_session(c.ssl);
	assert_true(SSL_SESSION_is_resumable(ticket));
	d = node_client(&cluster, s, ticket); /* it is good for that */
	assert_true(SSL_session_reused(d.ssl));
	node_close(&d);
	d = node_resume(&cluster, s, ticket);
	assert_true(SSL_is_init_finished(d.ssl));
	assert_false(SSL_session_reused(d.ssl));
	expect(s, &d, "GET /link/v1/nodes/far/desired", 403);
	SSL_SESSION_free(ticket);
	ticket = SSL_get1_session(d.ssl); /* of the cluster there is none */
	assert_false(SSL_SESSION_is_resumable(ticket));
	SSL_SESSION_free(ticket);
	node_close(&d);
	node_close(&c);
	close_all(s);
}

static void test_a_name_waits_for_the_first_identity(void **state)
{
	struct script *s = script_open(0);
	struct node_end n, c;

	(void)state;
	cluster_serve(&cluster, s);
	cluster_members(s, "far", NULL);
	s->gw->link_wanted = false;
	n = node(s, "far");
	assert_false(SSL_is_init_finished(n.ssl));
	assert_true(n.end->open);
	assert_true(s->gw->link_wanted);
	c = node_client(&cluster, s, NULL); /* others do not wait */
	expect(s, &c, "GET /livez", 200);
	cluster_identify(&cluster, s);
	node_pump(&n);
	assert_true(SSL_is_init_finished(n.ssl));
	expect(s, &n, "GET /link/v1/nodes/away/desired", 403);
	node_close(&n);
	node_close(&c);
	close_all(s);
}

/* ---- calls ---- */

static void test_a_call_by_a_pipe_and_the_next_on_the_same(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	assert_int_equal(idle_pipes(s, "far"), 1);
	script_puts(c, GET_ECHO);
	assert_true(node_has(&p, ASKED_A));
	assert_false(node_has(&p, "GET"));
	node_forget(&p);
	node_say(&p, "ok\n");
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	gt_buf_reset(&c->got);
	node_forget(&p);
	script_puts(c, GET_ECHO); /* no question any more */
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	assert_false(node_has(&p, "replica"));
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_int_equal(idle_pipes(s, "far"), 0);
	script_wait(s, 6000); /* unused for too long: the node is not kept waiting for it */
	assert_false(p.end->open);
	struct node_end q = node_pipe(&cluster, s, "far", 0);

	script_puts(c, GET_ECHO);
	assert_true(node_has(&q, ASKED_A));
	node_close(&p);
	node_close(&q);
	script_eof(c);
	close_all(s);
}

/* The node's line and the replica's answer in one record, and a large body both ways. */
static void test_bodies_by_a_pipe(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");
	const size_t len = 300000;
	char *body = gt_alloc(len + 1);

	(void)state;
	memset(body, 'b', len);
	script_puts(c, "POST /f/echo/x HTTP/1.1\r\n" AUTH "Content-Length: 300000\r\n\r\n");
	script_puts(c, body);
	assert_true(node_has(&p, ASKED_A));
	node_forget(&p);
	node_say(&p, "ok\nHTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
	node_pump(&p);
	assert_true(p.said.len > len);
	assert_true(script_has(c, "HTTP/1.1 200 OK"));
	gt_buf_reset(&c->got);
	node_say(&p, body);
	assert_int_equal(c->got.len, len);
	free(body);
	node_close(&p);
	script_eof(c);
	close_all(s);
}

/* It takes its waiting pipes away, and then ends when its calls have. */
static void test_a_node_that_leaves_gets_no_other_calls(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	node_say(&p, "ok\n");
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	struct node_end q = node_pipe(&cluster, s, "far", 0);

	node_close(&q);
	assert_true(p.end->open);
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	assert_false(p.end->open);
	node_close(&p);
	/* It is back. */
	p = node_pipe(&cluster, s, "far", 0);
	script_puts(c, GET_ECHO);
	assert_true(node_has(&p, ASKED_A));
	node_say(&p, "ok\n");
	node_say(&p, OK_HI);
	assert_true(p.end->open);
	node_forget(&p);
	script_puts(c, GET_ECHO);
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	script_wait(s, 5000);
	node_say(&p, OK_HI); /* it was in use for long: the uplink may have a successor */
	assert_false(p.end->open);
	node_close(&p);
	script_eof(c);
	close_all(s);
}

/* The link was cut: that nobody acknowledged the request does not mean that nobody has it. */
static void test_a_request_that_may_have_arrived_is_not_sent_again(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	for (int i = 0; i < 2; i++) {
		node_forget(&p);
		script_puts(c, "POST /f/echo/x HTTP/1.1\r\n" AUTH "Content-Length: 2\r\n\r\n{}");
		if (i == 0)
			node_say(&p, "ok\n");
		assert_true(node_has(&p, "POST /x HTTP/1.1\r\n"));
		if (i == 0)
			node_say(&p, OK_HI);
	}
	struct node_end q = node_pipe(&cluster, s, "far", 0);

	gt_buf_reset(&c->got);
	p.end->undelivered = true;
	script_fail(p.end, ETIMEDOUT);
	assert_true(script_has(c, "HTTP/1.1 502 "));
	assert_false(node_has(&q, "replica"));
	node_close(&p);
	node_close(&q);
	script_eof(c);
	close_all(s);
}

static void test_a_call_waits_for_a_pipe(void **state)
{
	struct script *s = open_cluster(1);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	script_wait(s, 2000);
	assert_int_equal(c->got.len, 0);
	struct node_end other = node_pipe(&cluster, s, "away", 0);
	struct node_end p = node_pipe(&cluster, s, "far", 0);

	assert_true(strcmp(gt_buf_str(&other.said), "") == 0);
	node_say(&p, "ok\n");
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	node_close(&p);
	node_close(&other);
	script_eof(c);
	close_all(s);
}

static void test_no_pipe_in_time(void **state)
{
	struct script *s = open_cluster(1);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	script_wait(s, GT_GW_REACH_MS - 1);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 1);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(c, "\"code\":\"unavailable\""));
	assert_true(script_has(c, "node far"));
	assert_true(script_has(c, "Retry-After: 1\r\n"));
	script_eof(c);
	close_all(s);
}

/* With another replica on a node that is there, that one has the call. */
static void test_the_replica_of_another_node_takes_over(void **state)
{
	struct script *s = open_cluster(2);
	struct node_end p = node_pipe(&cluster, s, "away", 0);
	struct script_end *c = script_client(s, "10.0.0.9");
	struct script_end *d = script_client(s, "10.0.0.8");

	(void)state;
	script_puts(c, GET_ECHO);
	script_puts(d, GET_ECHO); /* one of both has the replica of "far" */
	assert_true(node_has(&p, ASKED_B));
	node_say(&p, "ok\n");
	node_say(&p, OK_HI);
	assert_true(script_has(c, "hi") != script_has(d, "hi"));
	node_forget(&p);
	script_wait(s, GT_GW_REACH_MS + 100);
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	node_say(&p, OK_HI);
	assert_true(script_has(c, "hi") && script_has(d, "hi"));
	node_close(&p);
	script_eof(c);
	script_eof(d);
	close_all(s);
}

static void test_a_client_that_leaves_closes_what_it_asked(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");
	struct script_end *d;

	(void)state;
	script_puts(c, GET_ECHO);
	assert_true(node_has(&p, ASKED_A));
	script_eof(c);
	assert_false(p.end->open);
	d = script_client(s, "10.0.0.9"); /* and one that only waits */
	script_puts(d, GET_ECHO);
	script_eof(d);
	assert_null(gt_node_find(s->gw, "far", 3)->waiters);
	node_close(&p);
	close_all(s);
}

/* ---- nodes that lie ---- */

static void expect_lie(const char *lie)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");
	struct node_end q;

	script_puts(c, GET_ECHO);
	node_say(&p, lie);
	if (p.end->open)
		fail_msg("the pipe is used after \"%s\"", lie);
	q = node_pipe(&cluster, s, "far", 0); /* one that tells the truth serves the call */
	node_say(&q, "ok\n");
	node_say(&q, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	node_close(&p);
	node_close(&q);
	script_eof(c);
	close_all(s);
}

static void test_nonsense_is_not_taken_for_an_answer(void **state)
{
	static const char *const lies[] = { "\n",
					    "ok \n",
					    "OK\n",
					    "okk\n",
					    "err\n",
					    "err \n",
					    "err 0\n",
					    "err 01\n",
					    "err -1\n",
					    "err 4096\n",
					    "err 5x\n",
					    "err 5 \n",
					    "HTTP/1.1 200 OK\r\n",
					    "aaaaaaaaaaaaaaaaaaaaaaaa" };

	(void)state;
	for (size_t i = 0; i < GT_LEN(lies); i++)
		expect_lie(lies[i]);
}

static void test_half_an_answer(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	node_say(&p, "o");
	script_wait(s, GT_GW_REACH_MS - 1);
	assert_int_equal(c->got.len, 0);
	script_wait(s, 1);
	assert_false(p.end->open);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	node_close(&p);
	script_eof(c);
	close_all(s);
}

static void test_an_answer_in_pieces_and_late(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	node_say(&p, "o");
	script_wait(s, GT_GW_REACH_MS - 10);
	node_say(&p, "k");
	node_say(&p, "\n");
	assert_true(node_has(&p, "GET /x HTTP/1.1\r\n"));
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	node_close(&p);
	script_eof(c);
	close_all(s);
}

/* As when the broker says so: the replica counts as one that failed. */
static void test_an_error_is_that_of_the_replica(void **state)
{
	struct script *s = open_cluster(1);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	for (int i = 0; i <= GT_GW_RETRIES; i++) {
		struct node_end p = node_pipe(&cluster, s, "far", 0);

		assert_true(node_has(&p, ASKED_A));
		node_say(&p, "err 111\n");
		assert_false(p.end->open);
		script_wait(s, 300); /* it rests */
		node_close(&p);
	}
	assert_true(script_has(c, "HTTP/1.1 502 "));
	assert_true(script_has(c, "\"code\":\"replica_lost\""));
	script_eof(c);
	close_all(s);
}

/* A pipe that died unseen: the next one is asked. */
static void test_a_dead_pipe_is_no_lost_call(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct node_end q = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	assert_true(node_has(&q, ASKED_A)); /* the newest */
	script_fail(q.end, ETIMEDOUT);
	assert_true(node_has(&p, ASKED_A));
	node_say(&p, "ok\n");
	node_say(&p, OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	node_close(&p);
	node_close(&q);
	script_eof(c);
	close_all(s);
}

static void test_a_pipe_that_speaks_first_is_closed(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);

	(void)state;
	node_say(&p, "ok\n");
	assert_false(p.end->open);
	assert_int_equal(idle_pipes(s, "far"), 0);
	node_close(&p);
	close_all(s);
}

/* The end of a connection without a goodbye is not the end of a body. */
static void test_an_end_without_a_goodbye_cuts_the_answer(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	node_say(&p, "ok\n");
	node_say(&p, "HTTP/1.1 200 OK\r\n\r\nhalf");
	assert_true(script_has(c, "half"));
	script_eof(p.end);
	assert_true(c->reset || !script_has(c, "0\r\n\r\n"));
	assert_false(c->open);
	node_close(&p);
	close_all(s);
}

static void test_a_goodbye_ends_the_answer(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, GET_ECHO);
	node_say(&p, "ok\n");
	node_say(&p, "HTTP/1.1 200 OK\r\n\r\nall");
	SSL_shutdown(p.ssl);
	node_pump(&p);
	assert_true(script_has(c, "all"));
	assert_false(c->reset);
	node_close(&p);
	script_eof(c);
	close_all(s);
}

/* ---- pools ---- */

static void test_too_many_pipes_close_the_oldest(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p[4];

	(void)state;
	for (size_t i = 0; i < GT_LEN(p); i++) {
		gt_node_find(s->gw, "far", 3)->n_idle += i == 0 ? GT_NODE_PIPES_MAX - 2 : 0;
		p[i] = node_pipe(&cluster, s, "far", 0);
	}
	assert_false(p[0].end->open);
	assert_false(p[1].end->open);
	assert_true(p[2].end->open && p[3].end->open);
	gt_node_find(s->gw, "far", 3)->n_idle -= GT_NODE_PIPES_MAX - 2;
	for (size_t i = 0; i < GT_LEN(p); i++)
		node_close(&p[i]);
	close_all(s);
}

static void test_a_pipe_goes_to_the_shard_that_it_names(void **state)
{
	struct script *s = open_shards(1, 3);
	struct node_end p[6];

	(void)state;
	for (unsigned i = 0; i < GT_LEN(p); i++)
		p[i] = node_pipe(&cluster, s, "far", i);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(gt_node_find(s->shards[i], "far", 3)->n_idle, 2);
	struct script_end *c = script_client(s, "10.0.0.9");
	unsigned home = gt_shard_home(s->gw, "echo", 4);

	script_puts(c, GET_ECHO);
	assert_int_equal(gt_node_find(s->shards[home], "far", 3)->n_idle, 1);
	assert_true(node_has(&p[home + 3], ASKED_A));
	node_say(&p[home + 3], "ok\n");
	node_say(&p[home + 3], OK_HI);
	assert_true(script_has(c, "\r\n\r\nhi"));
	cluster_members(s, "away", NULL); /* all shards hear of it */
	for (unsigned i = 0; i < GT_LEN(p); i++) {
		assert_false(p[i].end->open);
		node_close(&p[i]);
	}
	script_eof(c);
	close_all(s);
}

/* ---- nodes that are removed ---- */

static void test_a_removed_node_is_cut_at_once(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end watch = node(s, "far"), idle = node(s, "far"), other = node(s, "away");
	struct node_end p = node_pipe(&cluster, s, "far", 0), q = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	s->route.concurrency = 3;
	script_tell(s, 1);
	node_say(&watch, "GET /link/v1/nodes/far/desired HTTP/1.1\r\nHost: h\r\n\r\n");
	script_puts(c, GET_ECHO);
	node_say(&q, "ok\n"); /* in a call; p waits */
	node_say(&q, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
	cluster_members(s, "away", NULL);
	assert_false(watch.end->open);
	assert_false(idle.end->open);
	assert_false(p.end->open);
	assert_false(q.end->open);
	assert_false(c->open);
	assert_true(other.end->open);
	assert_null(gt_node_find(s->gw, "far", 3));
	static const char *const asked[] = { "GET /link/v1/nodes/far/desired",
					     "GET /link/v1/nodes/far/pipe?shard=0",
					     "POST /link/v1/join" };

	for (size_t i = 0; i < GT_LEN(asked); i++) {
		struct node_end again = node(s, "far");

		expect(s, &again, asked[i], 403);
		node_close(&again);
	}
	node_close(&watch);
	node_close(&idle);
	node_close(&other);
	node_close(&p);
	node_close(&q);
	close_all(s);
}

static void test_calls_that_wait_for_a_removed_node(void **state)
{
	struct script *s = open_cluster(1);
	struct node_end p;
	struct script_end *c, *d;

	(void)state;
	s->route.concurrency = 3;
	script_tell(s, 1);
	p = node_pipe(&cluster, s, "far", 0);
	c = script_client(s, "10.0.0.9");
	d = script_client(s, "10.0.0.8");
	script_puts(c, GET_ECHO); /* has asked */
	script_puts(d, GET_ECHO); /* waits */
	assert_true(node_has(&p, ASKED_A));
	cluster_members(s, "away", NULL);
	assert_false(p.end->open);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(d, "HTTP/1.1 503 "));
	node_close(&p);
	script_eof(c);
	script_eof(d);
	close_all(s);
}

/* ---- control's door ---- */

#define ASK_AGENT "GET /link/v1/nodes/far/agent/link/v1/logs?function=f HTTP/1.1\r\nHost: h\r\n\r\n"

static void test_control_asks_an_agent(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end p = node_pipe(&cluster, s, "far", 0);
	struct script_end *c = script_door(s);

	(void)state;
	script_puts(c, ASK_AGENT);
	assert_true(node_has(&p, "agent\n"));
	node_forget(&p);
	node_say(&p, "ok\n");
	assert_true(node_has(&p, "GET /link/v1/logs?function=f HTTP/1.1\r\n"));
	node_say(&p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	assert_true(script_has(c, "abc"));
	script_wait(s, 20 * 60 * 1000);
	node_say(&p, "3\r\ndef\r\n0\r\n\r\n");
	assert_true(script_has(c, "def"));
	assert_false(p.end->open); /* one question each */
	script_eof(c);
	node_close(&p);
	close_all(s);
}

static void expect_unreachable(struct script *s, const char *request, const char *node)
{
	struct script_end *c = script_door(s);

	script_puts(c, request);
	script_wait(s, GT_GW_REACH_MS + 100);
	assert_true(script_has(c, "HTTP/1.1 503 "));
	assert_true(script_has(c, "\"code\":\"node_unreachable\""));
	assert_true(script_has(c, node));
	script_eof(c);
}

static void test_an_agent_that_is_not_reached(void **state)
{
	struct script *s = open_cluster(0);
	struct node_end p;
	struct script_end *c;

	(void)state;
	expect_unreachable(s, ASK_AGENT, "node far ");
	expect_unreachable(s, "GET /link/v1/nodes/none/agent/x HTTP/1.1\r\nHost: h\r\n\r\n",
			   "node none ");
	p = node_pipe(&cluster, s, "far", 0);
	c = script_door(s);
	script_puts(c, ASK_AGENT);
	node_say(&p, "err 111\n");
	assert_true(script_has(c, "\"code\":\"node_unreachable\""));
	script_eof(c);
	node_close(&p);
	p = node_pipe(&cluster, s, "far", 0);
	c = script_door(s);
	script_puts(c, "POST /link/v1/nodes/far/agent/x HTTP/1.1\r\nHost: h\r\n"
		       "Content-Length: 0\r\n\r\n");
	node_say(&p, "ok\n");
	script_fail(p.end, ECONNRESET);
	assert_true(script_has(c, "\"code\":\"node_unreachable\""));
	script_eof(c);
	node_close(&p);
	close_all(s);
}

static void test_the_door_leads_to_agents_alone(void **state)
{
	static const char *const others[] = {
		"GET /link/v1/nodes/far/desired",
		"GET /link/v1/nodes/far/agent",
		"GET /link/v1/nodes/far/agentx/y",
		"GET /link/v1/nodes//agent/x",
		"POST /link/v1/join",
		"GET /v1/functions",
		"GET /f/echo/x",
	};
	struct script *s = open_cluster(0);

	(void)state;
	for (size_t i = 0; i < GT_LEN(others); i++) {
		struct script_end *c = script_door(s);
		char text[128];

		snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: h\r\n\r\n", others[i]);
		script_puts(c, text);
		assert_true(script_has(c, "HTTP/1.1 403 ") || script_has(c, "HTTP/1.1 404 "));
		script_eof(c);
	}
	assert_null(script_up(s, SCRIPT_LINK, 0));
	close_all(s);
}

/* Nobody else gets to any of these paths. */
static void test_other_connections_have_no_link(void **state)
{
	struct script *s = open_cluster(0);
	struct script_end *c = script_client(s, "10.0.0.9");

	(void)state;
	script_puts(c, ASK_AGENT);
	assert_true(script_has(c, "HTTP/1.1 404 "));
	script_eof(c);
	close_all(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_node_asks_control_through_the_plain_port),
		cmocka_unit_test(test_no_client_says_who_it_is_to_control),
		cmocka_unit_test(test_a_watch_streams_and_is_cut_by_no_idle_limit),
		cmocka_unit_test(test_a_node_speaks_for_itself_alone),
		cmocka_unit_test(test_who_has_no_certificate_may_join_and_nothing_else),
		cmocka_unit_test(test_certificates_that_are_not_good_enough),
		cmocka_unit_test(test_when_a_certificate_begins_is_no_question),
		cmocka_unit_test(test_a_certificate_of_another_cluster),
		cmocka_unit_test(test_a_certificate_from_before_the_node_joined),
		cmocka_unit_test(test_a_handshake_waits_for_the_first_identity),
		cmocka_unit_test(test_a_handshake_that_waits_in_vain_is_closed),
		cmocka_unit_test(test_tls_after_a_request_is_no_http),
		cmocka_unit_test(test_the_name_that_is_asked_for_chooses_on_a_port_of_tls),
		cmocka_unit_test(test_no_session_leads_past_the_certificate),
		cmocka_unit_test(test_a_name_waits_for_the_first_identity),
		cmocka_unit_test(test_a_call_by_a_pipe_and_the_next_on_the_same),
		cmocka_unit_test(test_bodies_by_a_pipe),
		cmocka_unit_test(test_a_node_that_leaves_gets_no_other_calls),
		cmocka_unit_test(test_a_request_that_may_have_arrived_is_not_sent_again),
		cmocka_unit_test(test_a_call_waits_for_a_pipe),
		cmocka_unit_test(test_no_pipe_in_time),
		cmocka_unit_test(test_the_replica_of_another_node_takes_over),
		cmocka_unit_test(test_a_client_that_leaves_closes_what_it_asked),
		cmocka_unit_test(test_nonsense_is_not_taken_for_an_answer),
		cmocka_unit_test(test_half_an_answer),
		cmocka_unit_test(test_an_answer_in_pieces_and_late),
		cmocka_unit_test(test_an_error_is_that_of_the_replica),
		cmocka_unit_test(test_a_dead_pipe_is_no_lost_call),
		cmocka_unit_test(test_a_pipe_that_speaks_first_is_closed),
		cmocka_unit_test(test_an_end_without_a_goodbye_cuts_the_answer),
		cmocka_unit_test(test_a_goodbye_ends_the_answer),
		cmocka_unit_test(test_too_many_pipes_close_the_oldest),
		cmocka_unit_test(test_a_pipe_goes_to_the_shard_that_it_names),
		cmocka_unit_test(test_a_removed_node_is_cut_at_once),
		cmocka_unit_test(test_calls_that_wait_for_a_removed_node),
		cmocka_unit_test(test_control_asks_an_agent),
		cmocka_unit_test(test_an_agent_that_is_not_reached),
		cmocka_unit_test(test_the_door_leads_to_agents_alone),
		cmocka_unit_test(test_other_connections_have_no_link),
	};

	return cmocka_run_group_tests(tests, make_clusters, free_clusters);
}
