/* gateway.c - the role: start, listening, drain, end. */
#include "access_log.h"
#include "calls.h"
#include "cluster.h"
#include "files.h"
#include "handover.h"
#include "held.h"
#include "holds.h"
#include "leader.h"
#include "nodes.h"
#include "splice.h"
#include "tasks.h"
#include "threads.h"
#include "tls.h"
#include "up.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utlist.h>

#define SPARES_MAX 256
#define OWN_FDS    256 /* descriptors of no call: pipes, listeners, files, links to control */

/* ---- memory of what was closed ---- */

static void free_one(struct gt_grave *g)
{
	if (g->spare)
		gt_call_fini(GT_CONTAINER(g, struct gt_call, grave));
	free(g);
}

static void free_all(struct gt_gateway *gw, struct gt_grave **list)
{
	struct gt_grave *g;

	while ((g = *list)) {
		*list = g->next;
		if (!g->spare || gw->n_spares == SPARES_MAX) {
			free_one(g);
			continue;
		}
		g->next = gw->spares;
		gw->spares = g;
		gw->n_spares++;
	}
}

struct gt_call *gt_gw_new_call(struct gt_gateway *gw)
{
	struct gt_grave *spare = gw->spares;
	struct gt_call *call;

	if (spare) {
		gw->spares = spare->next;
		gw->n_spares--;
		call = GT_CONTAINER(spare, struct gt_call, grave);
		gt_call_clear(call);
	} else {
		call = gt_alloc(sizeof(*call));
		gt_call_init(call, gw);
	}
	return call;
}

/* What was buried is freed one turn later: a call that was deferred before the burial may stand
 * behind this one. */
static void reap(void *arg)
{
	struct gt_gateway *gw = arg;

	free_all(gw, &gw->doomed);
	gw->doomed = gw->graves;
	gw->graves = NULL;
	gw->reaping = gw->doomed != NULL;
	if (gw->reaping)
		gt_loop_defer(gw->loop, reap, gw);
}

uint64_t gt_gw_now(const struct gt_gateway *gw)
{
	return gt_loop_now_ns(gw->loop);
}

void gt_gw_bury(struct gt_gateway *gw, struct gt_grave *grave GT_TAKES)
{
	if (!gw->reaping && !gw->freeing)
		gt_loop_defer(gw->loop, reap, gw);
	gw->reaping = true;
	grave->next = gw->graves;
	gw->graves = grave;
}

/* ---- counting ---- */

void gt_gw_count_refusal(struct gt_gateway *gw, struct gt_fn *fn, const char *slug)
{
	if (fn) {
		fn->stats.refusals[gt_refusal_index(slug)]++;
		return;
	}
	gw->stats.refusals[gt_refusal_index(slug)]++;
	gt_demander_counted(gw);
}

/* Shard 0: none of them takes connections any more, and the last one has ended. */
static void end_when_empty(struct gt_gateway *gw)
{
	if (gw->quiet && gt_gw_conns(gw) == 0 && gt_tasks_idle(gw))
		gt_loop_stop(gw->loop);
}

void gt_gw_settled(struct gt_gateway *gw)
{
	end_when_empty(gw);
}

void gt_gw_conn_gone(struct gt_gateway *gw)
{
	gt_gw_conns_add(gw, -1);
	if (gw->freeing)
		return;
	gt_demander_counted(gw);
	gt_listeners_room(gw);
	if (!gw->quiescing || gt_gw_conns(gw) > 0)
		return;
	if (gw->shard == 0)
		end_when_empty(gw);
	else
		gt_shard_tell(gw, 0, end_when_empty);
}

/* ---- drain ---- */

static void drain_over(void *arg)
{
	struct gt_gateway *gw = arg;

	gt_warn("gateway: %u connections are cut at the end of the drain", gt_gw_conns(gw));
	gt_loop_stop(gw->loop);
}

/* With nobody to hand it to, a connection ends with its call. */
static void end_idle(struct gt_gateway *gw)
{
	struct gt_conn *c;

	DL_FOREACH (gw->conns, c) {
		c->keep &= gw->handover.yielding && !c->tls && !c->cluster;
		gt_conn_kick(c);
	}
	gt_cluster_quiesce(gw);
}

/* Nobody comes after this gateway any more. */
static void end_alone(struct gt_gateway *gw)
{
	gw->handover.yielding = false;
	end_idle(gw);
}

/* Shard 0: one more of them takes no connections. */
static void one_quiet(struct gt_gateway *gw)
{
	if (gw->shards && ++gw->shards->n_quiet < gw->shards->n)
		return;
	gw->quiet = true;
	gt_handover_quiet(gw);
	end_when_empty(gw);
}

static void quiesce(struct gt_gateway *gw)
{
	gw->quiescing = true;
	gt_listeners_close(gw);
	end_idle(gw);
	if (gw->shard == 0)
		one_quiet(gw);
	else
		gt_shard_tell(gw, 0, one_quiet);
}

void gt_gw_quiesce(struct gt_gateway *gw)
{
	if (gw->quiescing) {
		if (!gw->handover.yielding)
			gt_loop_stop(gw->loop);
		end_alone(gw);
		gt_shards_tell(gw, end_alone);
		return;
	}
	gt_info("gateway: draining %u connections", gt_gw_conns(gw));
	gt_timer_set(gw->loop, &gw->drain_timer, gw->cfg.drain_ms, drain_over, gw);
	quiesce(gw);
	gt_shards_tell(gw, quiesce);
}

static void on_signal(int signo, void *arg)
{
	(void)signo;
	gt_gw_quiesce(arg);
}

/* ---- all together ---- */

int gt_gw_new(struct gt_loop *loop, const struct gt_port *port, const struct gt_gateway_config *cfg,
	      struct gt_gateway **ret, struct gt_err *err)
{
	struct gt_gateway *gw = gt_alloc(sizeof(*gw));

	gw->loop = loop;
	gw->port = port;
	gw->cfg = *cfg;
	gw->cfg.name = cfg->name ? cfg->name : "local";
	gw->cfg.api_path = cfg->api_path ? cfg->api_path : "run/api.sock";
	gw->cfg.link_path = cfg->link_path ? cfg->link_path : "run/link.sock";
	gw->cfg.dial_path = cfg->dial_path ? cfg->dial_path : "run/dial.sock";
	gw->cfg.node = cfg->node ? cfg->node : "";
	gw->cfg.connections_max = cfg->connections_max ? cfg->connections_max : 10000;
	gw->cfg.drain_ms = cfg->drain_ms ? cfg->drain_ms : 30000;
	gw->cfg.memory_bytes = cfg->memory_bytes ? cfg->memory_bytes : 256 * GT_MIB;
	gt_rand_system.fill(gt_rand_system.arg, &gw->rnd_state, sizeof(gw->rnd_state));
	gw->rnd = gt_rand_seeded(&gw->rnd_state);
	gw->dialer.sock.fd = -1;
	gw->down_since_ns = gt_gw_now(gw);
	gw->listeners[GT_LISTEN_DOOR] = (struct gt_listener){ .gw = gw, .door = true };
	int r = gt_listener_init(&gw->listeners[GT_LISTEN_PLAIN], gw, cfg->proxy_from, err);

	if (r == 0)
		r = gt_listener_init(&gw->listeners[GT_LISTEN_TLS], gw, cfg->tls_proxy_from, err);
	gw->listeners[GT_LISTEN_TLS].tls = true;
	gw->handshakes_max = GT_GW_HANDSHAKES;

	if (r == 0 && strlen(gw->cfg.name) > GT_NAME_MAX)
		r = gt_err_set(err, EINVAL, "bad_parameter", "gateway name \"%s\" is too long",
			       gw->cfg.name);
	if (r < 0) {
		gt_gw_free(gw);
		return r;
	}
	*ret = gw;
	return 0;
}

int gt_gw_watch(struct gt_gateway *gw, struct gt_err *err)
{
	gt_auto(free) char *url = gt_asprintf("http://control/link/v1/gateways/%s/routes",
					      gw->cfg.name);
	struct gt_ndjson_config config = {
		.unix_path = gw->cfg.link_path,
		.url = url,
		.on_up = gt_routes_up,
		.on_line = gt_routes_line,
		.on_down = gt_routes_down,
		.arg = gw,
	};

	return gt_ndjson_watch_new(gw->loop, gw->http, &config, &gw->watch, err);
}

int gt_gw_follow(struct gt_gateway *gw, struct gt_err *err)
{
	int r = gt_http_client_new(gw->loop, &gw->http, err);

	if (r < 0)
		return r;
	return gw->cfg.lead_path ? gt_leader_follow(gw, err) : gt_gw_watch(gw, err);
}

void gt_gw_free(struct gt_gateway *gw)
{
	if (!gw)
		return;
	gw->freeing = true;
	while (gw->conns)
		gt_conn_close(gw->conns);
	gt_ndjson_watch_free(gw->watch);
	gt_leader_free(gw);
	gt_holds_free(gw);
	gt_tells_stop(gw);
	gt_identity_free(gw);
	gt_demander_stop(gw);
	gt_tasks_free(gw);
	gt_http_client_free(gw->http);
	gt_listeners_free(gw);
	gt_watch_close(gw->files);
	gt_timer_clear(gw->loop, &gw->access_timer);
	if (gw->shard == 0)
		gt_access_log_free(gw->access);
	gt_tls_server_free(gw->tls);
	gt_tls_server_free(gw->link_tls);
	gt_timer_clear(gw->loop, &gw->drain_timer);
	gt_timer_clear(gw->loop, &gw->trim_timer);
	gt_timer_clear(gw->loop, &gw->rest_timer);
	gt_handover_close(gw);
	gt_held_free(gw);
	gt_dialer_close(gw);
	gt_dialer_forget(gw);
	gt_routes_free(gw);
	gt_nodes_free(gw);
	gt_splice_free(gw);
	gt_conn_free_exchanges(gw);
	free_all(gw, &gw->doomed);
	free_all(gw, &gw->graves);
	for (struct gt_grave *g; (g = gw->spares); free_one(g))
		gw->spares = g->next;
	gt_outq_store_fini(&gw->queues);
	free(gw);
}

static void free_all_shards(struct gt_gateway *gw)
{
	if (gw && gw->shards)
		gt_shards_free(gw->shards);
	else
		gt_gw_free(gw);
}
GT_CLEANUP_TYPE(gateway, struct gt_gateway *, free_all_shards)
GT_CLEANUP_TYPE(loop, struct gt_loop *, gt_loop_free)

/* A call has a second descriptor: a limit met before that of connections would leave those that
 * only sit there with all of them. A quarter stays for calls. */
static void fit_descriptors(struct gt_gateway *gw)
{
	struct rlimit lim;
	uint64_t room;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;
	room = GT_MAX(lim.rlim_cur, OWN_FDS + 2) - OWN_FDS;
	room = room / 4 * 3;
	if (gw->cfg.connections_max <= room)
		return;
	gt_warn("gateway: max_connections: %u are too many for %llu descriptors (ulimit -Hn): %llu "
		"are taken",
		gw->cfg.connections_max, (unsigned long long)lim.rlim_cur,
		(unsigned long long)room);
	gw->cfg.connections_max = (uint32_t)room;
}

static void tell_ready(const struct gt_gateway *gw)
{
	static const char ready[] = "READY\n";

	if (gw->cfg.ready_fd >= 0 && write(gw->cfg.ready_fd, ready, sizeof(ready) - 1) < 0)
		gt_warn("gateway: the supervisor could not be told that it is ready: %s",
			strerror(errno));
}

static void stop(struct gt_gateway *gw)
{
	gt_loop_stop(gw->loop);
}

static void accept_too(struct gt_gateway *gw)
{
	struct gt_err err;

	if (gw->quiescing || gt_gw_listen(gw, &err) == 0)
		return;
	gt_error("gateway: %s", err.text);
	gt_shard_tell(gw, 0, stop);
}

void gt_gw_accept(struct gt_gateway *gw)
{
	struct gt_err err;

	if (gt_gw_listen(gw, &err) < 0) {
		gt_error("gateway: %s", err.text);
		gt_loop_stop(gw->loop);
		return;
	}
	gt_shards_tell(gw, accept_too);
	tell_ready(gw);
}

/* From now on a function that is not known does not exist. */
void gt_gw_ready(struct gt_gateway *gw)
{
	if (gw->was_ready)
		return;
	gw->was_ready = true;
	if (gt_listening(gw) || !gt_handover_begin(gw))
		tell_ready(gw);
}

int gt_gateway_run(const struct gt_gateway_config *config, struct gt_err *err)
{
	gt_auto(loop) struct gt_loop *loop = NULL;
	gt_auto(gateway) struct gt_gateway *gw = NULL;
	sigset_t mask;
	int r;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	r = gt_loop_new(&loop, err);
	if (r == 0)
		r = gt_gw_new(loop, &gt_port_system, config, &gw, err);
	if (r == 0)
		fit_descriptors(gw);
	if (r == 0)
		r = gt_loop_signals(loop, &mask, on_signal, gw, err);
	if (r == 0)
		r = gt_threads_new(gw, config->threads, err);
	if (r == 0)
		r = gt_files_follow(gw, err);
	if (r == 0)
		r = gt_gw_follow(gw, err);
	if (r == 0)
		r = gt_handover_open(gw, err);
	/* With one before it, which goes on meanwhile, it accepts when that one has given way. */
	if (r == 0 && !gw->handover.before.watch) {
		r = gt_gw_listen(gw, err);
		gt_shards_tell(gw, accept_too);
	}
	if (r == 0)
		r = gt_threads_start(gw, err);
	if (r == 0)
		r = gt_loop_run(loop, err);
	gt_threads_stop(gw);
	return r;
}
