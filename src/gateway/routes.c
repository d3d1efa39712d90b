/* routes.c - what control says: functions with their replicas, models, tokens. Kept when control is
 * away, so that warm calls go on. */
#include "calls.h"
#include "handover.h"
#include "nodes.h"
#include "tasks.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utlist.h>

#include <gantry/http/digest.h>

#define HELD_SHARE 4 /* of the gateway's memory, for the calls that wait for one function */

struct gt_model {
	char name[GT_MODEL_NAME_MAX + 1];
	struct gt_fn *fn;
	UT_hash_handle hh;
};

static struct gt_route_fn *find(struct gt_gateway *gw, const char *name, size_t len)
{
	struct gt_route_fn *rf = NULL;

	HASH_FIND(hh, gw->fns, name, len, rf);
	return rf;
}

struct gt_fn *gt_routes_function(struct gt_gateway *gw, const char *name, size_t len)
{
	struct gt_route_fn *rf = find(gw, name, len);

	return rf && !rf->fn.gone ? &rf->fn : NULL;
}

struct gt_fn *gt_routes_model(struct gt_gateway *gw, const char *model)
{
	struct gt_model *m = NULL;

	HASH_FIND_STR(gw->models, model, m);
	return m && !m->fn->gone ? m->fn : NULL;
}

bool gt_routes_any_public_model(struct gt_gateway *gw)
{
	struct gt_model *m, *next;

	HASH_ITER (hh, gw->models, m, next)
		if (!m->fn->gone && m->fn->route.access == GT_ACCESS_PUBLIC)
			return true;
	return gw->shards && gt_catalog_any_public(gw->shards->catalog);
}

/* ---- tokens ---- */

/* The hash begins with enough of itself to tell tokens apart; 0 is nobody. */
static uint64_t caller_id(const char *hex)
{
	uint64_t id = 0;

	for (size_t i = 0; i < 16; i++) /* lower-case digits */
		id = id << 4 | (uint64_t)(hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10);
	return id ? id : 1;
}

static uint64_t vouch(const struct gt_gateway *gw, const char *v, size_t len)
{
	static const char scheme[] = "bearer ";
	char hex[GT_SHA256_HEX_SIZE];
	size_t at = sizeof(scheme) - 1;
	bool found = false;

	if (len < sizeof(scheme) || strncasecmp(v, scheme, at) != 0)
		return 0;
	while (at < len && v[at] == ' ')
		at++;
	gt_sha256_hex(v + at, len - at, hex);
	for (size_t i = 0; i < gw->n_tokens; i++) /* all of them, in the same time */
		found |= gt_secret_equal(gw->tokens[i], hex, GT_SHA256_HEX_SIZE);
	return found ? caller_id(hex) : 0;
}

/* A digest costs ten times the comparison, which takes the same time whatever differs. */
uint64_t gt_routes_caller(struct gt_gateway *gw, const struct gt_h1 *req)
{
	const struct gt_h1_field *f = gt_h1_find(req, GT_H1_AUTHORIZATION);

	if (!f || f->value.len > sizeof(gw->vouched.value))
		return 0;
	const char *v = gt_h1_text(req, f->value);
	size_t len = f->value.len;

	if (gw->vouched.caller && gw->vouched.len == len &&
	    gt_secret_equal(gw->vouched.value, v, len))
		return gw->vouched.caller;
	uint64_t caller = vouch(gw, v, len);

	if (caller) {
		gw->vouched.caller = caller;
		gw->vouched.len = len;
		memcpy(gw->vouched.value, v, len);
	}
	return caller;
}

static void take_tokens(struct gt_gateway *gw, struct gt_line *line)
{
	free(gw->tokens);
	explicit_bzero(&gw->vouched, sizeof(gw->vouched));
	gw->tokens = line->tokens;
	gw->n_tokens = line->n_tokens;
	line->tokens = NULL;
	line->n_tokens = 0;
}

/* ---- models ---- */

static void forget_models(struct gt_gateway *gw, const struct gt_fn *fn)
{
	struct gt_model *m, *next;

	HASH_ITER (hh, gw->models, m, next) {
		if (fn && m->fn != fn)
			continue;
		HASH_DEL(gw->models, m);
		free(m);
	}
}

static void learn_models(struct gt_gateway *gw, struct gt_route_fn *rf)
{
	struct gt_fn *fn = &rf->fn;

	if (rf->has_models)
		forget_models(gw, fn);
	rf->has_models = fn->route.n_models > 0;
	for (size_t i = 0; i < fn->route.n_models; i++) {
		struct gt_model *m = NULL;

		HASH_FIND_STR(gw->models, fn->route.models[i], m);
		if (m)
			continue; /* control allows one owner; the first keeps it until it goes */
		m = gt_alloc(sizeof(*m));
		gt_strcopy(m->name, sizeof(m->name), fn->route.models[i]);
		m->fn = fn;
		HASH_ADD_STR(gw->models, name, m);
	}
}

/* ---- functions ---- */

static struct gt_call *call_of(struct gt_waiter *w)
{
	return GT_CONTAINER(w, struct gt_call, waiter);
}

void gt_routes_pump(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_waiter *w;
	struct gt_target *t;

	gt_handover_lend(gw, fn);
	while (gt_fn_next(fn, gt_gw_now(gw), &w, &t))
		gt_call_got_slot(call_of(w), t);
	gt_handover_settle(gw, fn);
}

static void rest_over(void *arg);

/* Waiters are looked at again when the next replica has rested. */
static void arm_rest(struct gt_gateway *gw, const struct gt_fn *fn)
{
	uint64_t end_ns = gt_fn_rest_end_ns(fn, gt_gw_now(gw));

	if (end_ns && (!gt_timer_is_set(&gw->rest_timer) || end_ns < gw->rest_timer.due_ns))
		gt_timer_set_at(gw->loop, &gw->rest_timer, end_ns, rest_over, gw);
}

static void rest_over(void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_route_fn *rf, *next;

	HASH_ITER (hh, gw->fns, rf, next) {
		if (rf->fn.waiters)
			gt_routes_pump(gw, &rf->fn);
		arm_rest(gw, &rf->fn);
	}
}

void gt_routes_failed(struct gt_gateway *gw, struct gt_target *t)
{
	bool was_suspect = gt_target_suspect(t, gt_gw_now(gw));

	gt_target_failed(t, gt_gw_now(gw));
	if (!was_suspect && gt_target_suspect(t, gt_gw_now(gw)))
		gt_warn("gateway: replica %s of %s failed %u times in a row: others are preferred "
			"for %llu s",
			t->id, t->fn->route.function, t->fails,
			(unsigned long long)((t->suspect_until_ns - gt_gw_now(gw)) / GT_NS_PER_S));
	arm_rest(gw, t->fn);
}

static void refuse_all(struct gt_fn *fn, void (*refuse)(struct gt_call *))
{
	while (fn->waiters)
		refuse(call_of(fn->waiters));
}

static void refuse_gone(struct gt_call *call)
{
	struct gt_refusal why = GT_REFUSAL("function_not_found",
					   "the function was deleted while the call waited");

	gt_call_refuse(call, &why);
}

void gt_routes_sweep(struct gt_gateway *gw, struct gt_fn *fn)
{
	struct gt_route_fn *rf = GT_CONTAINER(fn, struct gt_route_fn, fn);

	if (!gt_fn_unused(fn) || fn->dirty)
		return; /* that the last call has ended is told first */
	if (rf->has_models)
		forget_models(gw, fn);
	HASH_DEL(gw->fns, rf);
	gt_fn_fini(fn);
	gt_gw_bury(gw, &rf->grave);
}

static void gone(struct gt_gateway *gw, struct gt_fn *fn)
{
	if (fn->gone)
		return;
	gt_fn_retire(fn, gt_gw_now(gw));
	if (fn->waiters)
		refuse_all(fn, refuse_gone); /* the last one sweeps it */
	else
		gt_routes_sweep(gw, fn);
	if (fn->dirty)
		gt_demander_changed(gw, true);
}

/* Takes what the route holds. */
static void apply(struct gt_gateway *gw, struct gt_route *route, bool partial)
{
	struct gt_route_fn *rf = find(gw, route->function, strlen(route->function));

	if (!rf) {
		rf = gt_alloc(sizeof(*rf));
		gt_fn_init(&rf->fn, route->function, gt_gw_now(gw));
		rf->fn.retire = gt_up_retire;
		rf->fn.held_max = gw->cfg.memory_bytes / HELD_SHARE;
		HASH_ADD_KEYPTR(hh, gw->fns, rf->fn.stats.function, strlen(route->function), rf);
	}
	unsigned found = gt_fn_apply(&rf->fn, route, partial, gt_gw_now(gw));

	rf->fn.seen = true;
	gt_handover_applied(gw, &rf->fn);
	learn_models(gw, rf);
	if (found & GT_FN_FAILED)
		refuse_all(&rf->fn, gt_call_refuse_start);
	if (found & GT_FN_FREED)
		gt_routes_pump(gw, &rf->fn);
	if (found & GT_FN_DRAINED)
		gt_demander_changed(gw, true);
}

static void snapshot(struct gt_gateway *gw, struct gt_line *line)
{
	struct gt_route_fn *rf, *next;
	struct gt_call *call;

	HASH_ITER (hh, gw->fns, rf, next)
		rf->fn.seen = false;
	take_tokens(gw, line);
	gt_nodes_list(gw, line->members, line->n_members);
	for (size_t i = 0; i < line->n_routes; i++)
		apply(gw, &line->routes[i], line->partial);
	HASH_ITER (hh, gw->fns, rf, next)
		if (!rf->fn.seen)
			gone(gw, &rf->fn);
	if (!gw->synced && gw->shard == 0)
		gt_gw_ready(gw);
	gw->synced = true;
	while ((call = gw->held)) { /* calls that came before the first routes */
		DL_DELETE(gw->held, call);
		call->state = GT_CALL_SENT;
		gt_timer_clear(gw->loop, &call->timer);
		gt_conn_kick(call->conn);
		gt_call_route(call);
	}
	gt_demander_resync(gw);
	if (gw->shard == 0)
		gt_tasks_resync(gw);
}

/* Not with the first route of a settled control: those of other functions may be behind it. */
static void whole(struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;

	gw->partial = false;
	HASH_ITER (hh, gw->fns, rf, next)
		gt_fn_whole(&rf->fn, gt_gw_now(gw));
}

void gt_routes_take(struct gt_gateway *gw, struct gt_line *line)
{
	struct gt_fn *fn;

	switch (line->type) {
	case GT_LINE_SNAPSHOT:
		gw->epoch = line->epoch;
		gw->partial = line->partial;
		snapshot(gw, line);
		break;
	case GT_LINE_ROUTE:
		for (size_t i = 0; i < line->n_routes && gw->synced; i++)
			apply(gw, &line->routes[i], line->partial);
		break;
	case GT_LINE_GONE:
		fn = gt_routes_function(gw, line->name, strlen(line->name));
		if (fn)
			gone(gw, fn);
		break;
	case GT_LINE_TOKENS:
		take_tokens(gw, line);
		break;
	case GT_LINE_NODES:
		gt_nodes_list(gw, line->members, line->n_members);
		break;
	case GT_LINE_WORK:
		gt_tasks_work(gw, line->name, line->number);
		break;
	case GT_LINE_CANCEL:
		gt_tasks_cancel(gw, line->number, line->attempt);
		break;
	case GT_LINE_PING:
		if (gw->partial && !line->partial)
			whole(gw);
		break;
	default:
		break;
	}
}

void gt_routes_line(const char *text, size_t len, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_line line = { 0 };
	struct gt_err err = { 0 };

	if (gt_line_read(text, len, &line, &err) < 0) {
		gt_error("gateway: a line of the routes watch is ignored: %s", err.text);
		return;
	}
	if (line.type == GT_LINE_SNAPSHOT) {
		gw->refuses = line.epoch < gw->epoch;
		if (gw->refuses)
			gt_warn("gateway: an older control (epoch %llu) is not listened to",
				(unsigned long long)line.epoch);
	}
	if (!gw->refuses) {
		gt_spread_line(gw, &line);
		gt_routes_take(gw, &line);
		gt_fence_heard(gw, line.seq);
	}
	gt_line_fini(&line);
}

static void up(struct gt_gateway *gw)
{
	gw->watch_up = true;
}

void gt_routes_up(void *gw)
{
	up(gw);
	gt_shards_tell(gw, up);
	gt_info("gateway: connected to control");
}

static void down(struct gt_gateway *gw)
{
	struct gt_conn *c;

	gw->watch_up = false;
	gw->down_since_ns = gt_gw_now(gw);
	DL_FOREACH (gw->conns, c)
		if (c->call)
			gt_call_arm(c->call); /* who needs control has less time now */
}

void gt_routes_down(const struct gt_err *why, void *gw)
{
	down(gw);
	gt_shards_tell(gw, down);
	gt_warn("gateway: control is away, known routes stay in use: %s", why ? why->text : "");
}

void gt_routes_free(struct gt_gateway *gw)
{
	struct gt_route_fn *rf, *next;

	forget_models(gw, NULL);
	HASH_ITER (hh, gw->fns, rf, next) {
		HASH_DEL(gw->fns, rf);
		gt_fn_fini(&rf->fn);
		free(rf);
	}
	free(gw->tokens);
}
