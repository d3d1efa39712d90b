/* role_control.c - control's process: the pure control room between the store, the link and the
 * API. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/api/api.h>
#include <gantry/control/member.h>
#include <gantry/control/provider.h>
#include <gantry/control/schedule.h>
#include <gantry/control/task.h>
#include <gantry/control/webhook.h>
#include <gantry/link/link.h>
#include <gantry/loop/loop.h>
#include <gantry/store/store.h>
#include <gantry/wire/wire.h>

#include "authority.h"
#include "lead.h"
#include "learner.h"
#include "providers.h"
#include "recorder.h"
#include "role.h"
#include "webhook_key.h"

#define DB_PATH    "control/gantry.db"
#define BODIES_DIR "control/bodies"
#define BALLAST    "control/ballast"

#define DRAIN_MS 1000 /* at the end, for requests that were begun */
#define LOOK_MS  2

struct plane {
	struct gt_role_env *env;
	struct gt_loop *loop;
	struct gt_lead *lead; /* NULL: there is no other control */
	struct gt_wake *wake; /* rung by the store's writer */
	struct gt_store *store;
	struct gt_control *control;
	struct gt_pki_ca *authority;
	struct gt_http_client *client;
	struct gt_link *link;
	struct gt_api *api;
	struct gt_timer due, drain;
	uint64_t drain_ns; /* until then; 0 = the end has not begun */
	struct gt_outbound outbound;
	struct gt_providers providers;
	const char *tokens[1];        /* digests; of env */
	struct gt_recorder *recorder; /* NULL: not asked for */
	struct gt_learner *learner;
	int load_failed;
	struct gt_err *err;    /* while loading */
	struct gt_err failure; /* of the state disk: the supervisor starts another control */
};

/* ---- ports ---- */

static void on_order(void *ctx, const char *node, const struct gt_order *order)
{
	gt_link_on_order(((struct plane *)ctx)->link, node, order);
}

static void on_forget(void *ctx, const char *node, const char *replica)
{
	gt_link_on_forget(((struct plane *)ctx)->link, node, replica);
}

static void on_route(void *ctx, const char *function)
{
	gt_link_on_route(((struct plane *)ctx)->link, function);
}

static void on_route_gone(void *ctx, const char *function)
{
	gt_link_on_route_gone(((struct plane *)ctx)->link, function);
}

static void on_event(void *ctx, const struct gt_event *event)
{
	struct plane *p = ctx;

	if (p->api) /* nobody listens before the first connection */
		gt_api_on_event(p->api, event);
}

static void on_task_work(void *ctx, const char *function, uint64_t seen)
{
	struct plane *p = ctx;

	if (p->link) /* else it is told when it connects */
		gt_link_on_task_work(p->link, function, seen);
}

static void on_task_changed(void *ctx, const char *id)
{
	struct plane *p = ctx;

	if (p->api)
		gt_api_on_task(p->api, id);
}

static void on_task_stop(void *ctx, uint64_t seq, uint32_t attempt)
{
	gt_link_on_task_stop(((struct plane *)ctx)->link, seq, attempt);
}

static void on_members(void *ctx)
{
	gt_link_on_members(((struct plane *)ctx)->link);
}

static void on_webhook_keys(void *ctx)
{
	struct gt_err err = { 0 };

	if (gt_webhook_key_copy(gt_control_webhook_keys(((struct plane *)ctx)->control), &err) < 0)
		gt_warn("the copy of the newest key of webhooks is an old one: %s", err.text);
}

static int zone(void *ctx, const char *name, struct gt_zone **ret, struct gt_err *err)
{
	(void)ctx;
	return gt_zone_read(GT_ZONE_DIR, name, ret, err);
}

static void hook(void *ctx, const struct gt_hook_ask *ask, gt_hook_fn *done, void *arg)
{
	gt_hooks_ask(((struct plane *)ctx)->providers.hooks, ask, done, arg);
}

static int join_token(void *ctx, char text[GT_HOST_TOKEN_SIZE], struct gt_join_token *ret,
		      struct gt_err *err)
{
	return gt_providers_token(&((struct plane *)ctx)->providers, text, ret, err);
}

static void on_due(void *ctx);

static void on_timer(void *arg)
{
	struct plane *p = arg;

	gt_control_tick(p->control);
	on_due(p);
}

static void on_due(void *ctx)
{
	struct plane *p = ctx;
	uint64_t due_ns = gt_control_due_ns(p->control);

	if (due_ns == UINT64_MAX)
		gt_timer_clear(p->loop, &p->due);
	else
		gt_timer_set_at(p->loop, &p->due, due_ns, on_timer, p);
}

static void on_scale(void *ctx, const char *function, const struct gt_scale_in *in,
		     const struct gt_scale_out *out)
{
	gt_recorder_scale(((struct plane *)ctx)->recorder, function, in, out);
}

/* ---- start and stop ---- */

static void ring(void *arg)
{
	gt_wake_ring(arg);
}

static void on_wake(void *arg)
{
	struct plane *p = arg;

	if (!p->store)
		return;
	gt_store_poll(p->store);
	if (gt_store_recount(p->store))
		gt_control_tasks_load(p->control);
	if (gt_store_failed(p->store, &p->failure) < 0)
		gt_loop_stop(p->loop);
}

static void load_row(const struct gt_function_row *row, void *arg)
{
	struct plane *p = arg;
	char unknown[GT_SPEC_UNKNOWN_SIZE];
	struct gt_spec *spec = NULL;

	if (p->load_failed)
		return;
	if (gt_spec_read_kept(row->spec_json, strlen(row->spec_json), unknown, &spec, p->err) < 0) {
		p->load_failed = gt_err_wrap(p->err, "stored function %s", row->name);
		return;
	}
	if (unknown[0])
		gt_warn("function %s was deployed by a newer version: this one does not know its "
			"member \"%s\", and starts no replica of it",
			row->name, unknown);
	gt_control_load(p->control, row, spec);
}

static void load_node(const struct gt_node_row *row, void *arg)
{
	gt_control_load_node(((struct plane *)arg)->control, row);
}

static void load_member(const struct gt_member *m, void *arg)
{
	gt_control_load_member(((struct plane *)arg)->control, m);
}

static void warn_of_orphans(const struct gt_provider_view *v, void *arg GT_UNUSED)
{
	unsigned n = v->hosts[GT_HOST_ORPHANED];

	if (n > 0)
		gt_warn("provider %s has %u host%s and is not configured: nobody can be asked to "
			"take them back. Put [provider %s] back, or end them and remove each with "
			"gantry node rm; gantry providers names them",
			v->conf->name, n, n == 1 ? "" : "s", v->conf->name);
}

static void load_host(const struct gt_host_row *row, void *arg)
{
	gt_control_load_host(((struct plane *)arg)->control, row);
}

static void drain(void *arg)
{
	struct plane *p = arg;

	if (gt_api_active(p->api) == 0 || gt_loop_clock_ns(p->loop) >= p->drain_ns)
		gt_loop_stop(p->loop);
	else
		gt_timer_set(p->loop, &p->drain, LOOK_MS, drain, p);
}

/* A call that was sent to be kept is answered, whatever comes after us: its client could not know
 * what became of it. */
static void on_signal(int signo, void *arg)
{
	struct plane *p = arg;

	(void)signo;
	if (!p->api || p->drain_ns) {
		gt_loop_stop(p->loop);
		return;
	}
	p->drain_ns = gt_loop_clock_ns(p->loop) + DRAIN_MS * GT_NS_PER_MS;
	gt_api_drain(p->api);
	drain(p);
}

static int watch_signals(struct plane *p, struct gt_err *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	return gt_loop_signals(p->loop, &mask, on_signal, p, err);
}

static int open_store(struct plane *p, uint64_t epoch, struct gt_err *err)
{
	const struct gt_config *conf = &p->env->config;
	struct gt_store_config config = { .path = epoch ? conf->store : DB_PATH,
					  .epoch = epoch,
					  .patience_ms = (uint32_t)conf->lease_ms / 2,
					  .bodies_dir = BODIES_DIR,
					  .ballast = epoch ? NULL : BALLAST,
					  .notify = ring };

	if (gt_wake_new(p->loop, on_wake, p, &p->wake, err) < 0)
		return -err->code;
	config.notify_arg = p->wake;
	return gt_store_open(&config, &p->store, err);
}

static int start_control(struct plane *p, const struct gt_config *conf, struct gt_err *err)
{
	struct gt_control_ports ports = {
		.clock = gt_clock_system,
		.rnd = gt_rand_system,
		.store = { .ctx = p->store,
			   .put = gt_store_put,
			   .drop = gt_store_drop,
			   .put_node = gt_store_put_node,
			   .revisions = gt_store_revisions,
			   .task = gt_store_task,
			   .member = gt_store_member,
			   .webhook = gt_store_webhook,
			   .host = gt_store_host },
		.ctx = p,
		.on_order = on_order,
		.on_forget = on_forget,
		.on_route = on_route,
		.on_route_gone = on_route_gone,
		.on_event = on_event,
		.on_task_work = on_task_work,
		.on_task_changed = on_task_changed,
		.on_task_stop = on_task_stop,
		.hook = hook,
		.join_token = join_token,
		.on_members = on_members,
		.on_webhook_keys = on_webhook_keys,
		.zone = zone,
		.on_due = on_due,
	};
	struct gt_control_config config = { .epoch = gt_store_epoch(p->store),
					    .local_node = conf->node,
					    .providers = p->providers.list,
					    .n_providers = p->providers.n,
					    .node_suspect_ms = conf->node_suspect_ms,
					    .node_lost_ms = conf->node_lost_ms };

	if (gt_scale_candidate_parse(conf->shadow, &config.shadow, err) < 0)
		return -err->code;
	if (conf->record) {
		struct gt_err why = { 0 };

		if (gt_recorder_open(p->loop, conf->record_mib * GT_MIB, &p->recorder, &why) < 0)
			gt_warn("decisions are not recorded: %s", why.text);
		else
			ports.on_scale = on_scale;
	}
	p->control = gt_control_new(&ports, &config);
	p->err = err;
	if (gt_store_load(p->store, load_row, p, err) < 0 ||
	    gt_store_load_nodes(p->store, load_node, p, err) < 0 ||
	    gt_store_load_members(p->store, load_member, p, err) < 0 ||
	    gt_store_load_hosts(p->store, load_host, p, err) < 0)
		return -err->code;
	gt_control_providers(p->control, warn_of_orphans, NULL);
	if (p->load_failed == 0)
		gt_learner_open(p->loop, p->control, p->recorder, &p->learner);
	return p->load_failed;
}

static int webhooks_prepare(struct plane *p, const struct gt_config *conf, struct gt_err *err)
{
	struct gt_webhook_keys keys;
	int n = gt_cidr_list("webhook_allow", conf->webhook_allow, p->outbound.allowed,
			     GT_LEN(p->outbound.allowed), err);

	if (n < 0)
		return n;
	p->outbound.n_allowed = (size_t)n;
	n = gt_webhook_keys_open(p->store, &keys, err);
	if (n == 0)
		gt_control_load_webhook_keys(p->control, &keys);
	explicit_bzero(&keys, sizeof(keys));
	return n;
}

static int run(struct plane *p, struct gt_err *err)
{
	int r = gt_loop_run(p->loop, err);

	if (r < 0 || !p->failure.code)
		return r;
	*err = p->failure;
	return -err->code;
}

/* All that a control does; epoch 0: the store is a file of ours, and counts it up. */
static int begin(struct plane *p, uint64_t epoch, struct gt_err *err)
{
	struct gt_role_env *env = p->env;
	struct gt_link_config link = { .listen_fd = env->fds[GT_FD_LINK],
				       .tokens_sha256 = p->tokens,
				       .n_tokens = GT_LEN(p->tokens),
				       .clock = gt_clock_system,
				       .node_certificate_ms = env->config.node_certificate_ms };
	struct gt_api_config api = { .listen_fd = env->fds[GT_FD_API],
				     .node = env->config.node,
				     .no_dcgm = !env->config.dcgm_metrics,
				     .tokens_sha256 = p->tokens,
				     .n_tokens = GT_LEN(p->tokens) };

	if (gt_providers_read(&p->providers, &env->config, err) < 0 ||
	    open_store(p, epoch, err) < 0 || start_control(p, &env->config, err) < 0 ||
	    webhooks_prepare(p, &env->config, err) < 0 ||
	    gt_authority_open(p->store, gt_wall_ms(&gt_clock_system), &p->authority, err) < 0)
		return -err->code;
	link.authority = api.authority = p->authority;
	link.loop = api.loop = p->loop;
	link.control = api.control = p->control;
	if (gt_http_client_new(p->loop, &p->client, err) < 0)
		return -err->code;
	gt_providers_open(&p->providers, p->loop, p->client, p->authority,
			  gt_control_webhook_keys(p->control));
	api.client = p->client;
	api.outbound = &p->outbound;
	if (gt_link_new(&link, &p->link, err) < 0 || gt_api_new(&api, &p->api, err) < 0)
		return -err->code;
	gt_control_tasks_load(p->control);
	gt_control_schedules_load(p->control);
	on_due(p);
	gt_role_ready(env);
	return 0;
}

static void on_over(void *arg, const struct gt_err *why)
{
	struct plane *p = arg;

	p->failure = *why;
	gt_loop_stop(p->loop);
}

static void on_lead(void *arg, uint64_t epoch)
{
	struct gt_err err = { 0 };

	if (begin(arg, epoch, &err) < 0)
		on_over(arg, &err);
}

static void on_known(void *arg)
{
	gt_role_ready(((struct plane *)arg)->env);
}

/* Other daemons come by TLS, also where clients do not. */
static char *own_door(const struct gt_config *conf)
{
	const char *url = conf->advertise, *sep = strstr(url, "://"), *rest = sep ? sep + 3 : url;
	size_t n = strcspn(rest, "/");
	bool no_port = gt_starts_with(url, "http://") && !memchr(rest, ':', n);

	if (gt_starts_with(rest, "0.0.0.0:") || gt_starts_with(rest, "[::]:"))
		gt_warn("other hosts can not reach %s: set `advertise` to an address of this one",
			url);
	return gt_asprintf("https://%.*s%s", (int)n, rest, no_port ? ":80" : "");
}

static int start(struct plane *p, struct gt_err *err)
{
	const struct gt_config *conf = &p->env->config;
	gt_auto(free) char *door = own_door(conf);
	struct gt_lead_config lead = { .url = conf->store,
				       .node = conf->node,
				       .door = door,
				       .token_sha256 = p->env->token_sha256,
				       .lease_ms = conf->lease_ms,
				       .lead_fd = p->env->fds[GT_FD_LEAD],
				       .ready = on_known,
				       .begin = on_lead,
				       .over = on_over,
				       .arg = p };
	int r;

	/* Signals are blocked before the store's thread starts, so that it inherits the mask. */
	if (gt_loop_new(&p->loop, err) < 0 || watch_signals(p, err) < 0)
		return -err->code;
	lead.loop = p->loop;
	r = conf->store[0] ? gt_lead_new(&lead, &p->lead, err) : begin(p, 0, err);
	return r < 0 ? r : run(p, err);
}

int gt_role_control(struct gt_role_env *env, struct gt_err *err)
{
	struct plane p = { .env = env, .tokens = { env->token_sha256 } };
	int r = start(&p, err);

	gt_api_free(p.api);
	gt_providers_close(&p.providers);
	gt_http_client_free(p.client);
	gt_link_free(p.link);
	gt_pki_ca_free(p.authority);
	gt_learner_close(p.learner);
	gt_control_free(p.control);
	gt_recorder_close(p.recorder);
	gt_store_close(p.store);
	gt_lead_free(p.lead);
	gt_wake_free(p.wake);
	gt_loop_free(p.loop);
	return r;
}
