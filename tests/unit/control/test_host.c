/* test_host.c - hosts of providers: asked for, joined, given back, and nothing forgotten whatever
 * fails in between. */
#include "fixture.h"

#include <errno.h>
#include <stdlib.h>

#include <gantry/control/provider.h>

#define MAX 64

struct call {
	enum gt_hook_verb verb;
	char provider[GT_PROVIDER_NAME_MAX + 1], key[GT_NAME_MAX + 1], id[GT_HOST_ID_MAX + 1];
	char token[GT_HOST_TOKEN_SIZE];
	gt_hook_fn *done;
	void *arg;
};

static struct {
	struct fix *x;
	struct gt_host_op *ops[MAX];      /* that wait for the store */
	struct gt_member_op *leaves[MAX]; /* likewise */
	size_t n_ops, n_leaves, n_calls, n_tokens;
	struct call calls[MAX]; /* that wait for the hook */
	struct gt_host_row rows[MAX];
	size_t n_rows;
} w;

/* ---- the world ---- */

static void store_host(void *ctx GT_UNUSED, struct gt_host_op *op)
{
	assert_true(w.n_ops < MAX);
	w.ops[w.n_ops++] = op;
}

static void store_member(void *ctx GT_UNUSED, struct gt_member_op *op)
{
	assert_true(op->verb == GT_MEMBER_LEAVE && w.n_leaves < MAX);
	w.leaves[w.n_leaves++] = op;
}

static struct gt_member_op *next_leave(void)
{
	struct gt_member_op *op = w.leaves[0];

	assert_true(w.n_leaves > 0);
	memmove(w.leaves, w.leaves + 1, --w.n_leaves * sizeof(op));
	return op;
}

static void hook(void *ctx GT_UNUSED, const struct gt_hook_ask *ask, gt_hook_fn *done, void *arg)
{
	struct call *call = &w.calls[w.n_calls++];

	assert_true(w.n_calls < MAX);
	*call = (struct call){ .verb = ask->verb, .done = done, .arg = arg };
	gt_strcopy(call->provider, sizeof(call->provider), ask->provider->name);
	gt_strcopy(call->key, sizeof(call->key), ask->key ? ask->key : "");
	gt_strcopy(call->id, sizeof(call->id), ask->id ? ask->id : "");
	gt_strcopy(call->token, sizeof(call->token), ask->token ? ask->token : "");
}

static int join_token(void *ctx GT_UNUSED, char text[GT_HOST_TOKEN_SIZE], struct gt_join_token *ret,
		      struct gt_err *err GT_UNUSED)
{
	snprintf(text, GT_HOST_TOKEN_SIZE, "gtj_%zu", ++w.n_tokens);
	snprintf(ret->id, sizeof(ret->id), "T%zu", w.n_tokens);
	return 0;
}

static struct gt_provider provider(const char *name, const char *labels)
{
	struct gt_provider p = { 0 };

	gt_provider_defaults(&p);
	gt_strcopy(p.name, sizeof(p.name), name);
	gt_strcopy(p.exec, sizeof(p.exec), "/bin/hook");
	gt_strcopy(p.join, sizeof(p.join), "https://a:1");
	gt_strcopy(p.labels, sizeof(p.labels), labels);
	p.cpus = 4;
	p.memory_bytes = 8 * GT_GIB;
	p.max = 3;
	return p;
}

static void begin(const struct gt_provider *all, size_t n)
{
	struct gt_control_ports ports = fix_ports(w.x);
	const struct gt_control_config config = { .epoch = FIX_EPOCH,
						  .providers = all,
						  .n_providers = n };

	ports.store.host = store_host;
	ports.store.member = store_member;
	ports.hook = hook;
	ports.join_token = join_token;
	w.x->c = gt_control_new(&ports, &config);
}

static void ready(void)
{
	gt_control_node_up(w.x->c, "n1");
	gt_control_gateway_up(w.x->c, "g1");
	fix_report_full(w.x, NULL, 0);
}

static int setup(void **state)
{
	w.x = gt_alloc(sizeof(*w.x));
	w.x->now_ns = 1000 * GT_NS_PER_S;
	w.x->seed = 1;
	w.n_ops = w.n_leaves = w.n_calls = w.n_tokens = w.n_rows = 0;
	*state = w.x;
	return 0;
}

static int teardown(void **state)
{
	for (size_t i = 0; i < w.n_ops; i++)
		free(w.ops[i]);
	while (w.n_leaves > 0)
		gt_member_op_free(next_leave());
	return fix_teardown(state);
}

/* What the database does with it. */
static void rows_apply(const struct gt_host_op *op)
{
	size_t i = 0;

	while (i < w.n_rows && strcmp(w.rows[i].key, op->row.key) != 0)
		i++;
	if (op->verb == GT_HOST_PUT) {
		w.n_rows += i == w.n_rows;
		w.rows[i] = op->row;
	} else if (i < w.n_rows) {
		w.rows[i] = w.rows[--w.n_rows];
	}
}

/* The oldest one; the state of things is what it was before where it fails. */
static void store_answer(const struct gt_err *err)
{
	struct gt_host_op *op = w.ops[0];

	assert_true(w.n_ops > 0);
	memmove(w.ops, w.ops + 1, --w.n_ops * sizeof(op));
	if (!err)
		rows_apply(op);
	op->done(op, err, op->arg);
}

static struct call next_call(enum gt_hook_verb verb)
{
	struct call call = { 0 };
	size_t i = 0;

	while (i < w.n_calls && w.calls[i].verb != verb)
		i++;
	if (i == w.n_calls)
		fail_msg("the hook is not asked to %s", gt_hook_verb_name(verb));
	call = w.calls[i];
	memmove(&w.calls[i], &w.calls[i + 1], (--w.n_calls - i) * sizeof(call));
	return call;
}

static bool is_asked(enum gt_hook_verb verb)
{
	for (size_t i = 0; i < w.n_calls; i++)
		if (w.calls[i].verb == verb)
			return true;
	return false;
}

static void answer_failed(struct call call, const char *text)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, EIO, "unavailable", "%s", text);
	call.done(&err, NULL, call.arg);
}

static void answer_id(struct call call, const char *id)
{
	struct gt_hook_answer answer = { 0 };

	gt_strcopy(answer.id, sizeof(answer.id), id);
	call.done(NULL, &answer, call.arg);
}

static void answer_ok(struct call call)
{
	const struct gt_hook_answer answer = { 0 };

	call.done(NULL, &answer, call.arg);
}

static void answer_list(struct gt_hook_host *hosts, size_t n)
{
	const struct gt_hook_answer answer = { .hosts = hosts, .n_hosts = n };
	struct call call = next_call(GT_HOOK_LIST);

	call.done(NULL, &answer, call.arg);
}

static void node_reports(const char *node, const char *label, struct gt_observed *replicas,
			 size_t n)
{
	struct gt_label labels[1] = { { "pool", "" } };
	struct gt_report r = { .full = true,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 4000,
			       .memory_bytes = 8 * GT_GIB,
			       .labels = labels,
			       .n_labels = 1,
			       .replicas = replicas,
			       .n_replicas = n };

	gt_strcopy(r.node, sizeof(r.node), node);
	gt_strcopy(labels[0].value, sizeof(labels[0].value), label);
	assert_int_equal(gt_control_report(w.x->c, &r, NULL), 0);
}

static void node_joins(const char *node, const char *label)
{
	const struct gt_member m = { .since_ms = 1 };
	struct gt_member named = m;

	gt_strcopy(named.node, sizeof(named.node), node);
	gt_control_load_member(w.x->c, &named);
	gt_control_node_up(w.x->c, node);
	node_reports(node, label, NULL, 0);
}

static void deploy(const char *name, const char *pool)
{
	struct gt_spec *spec = fix_spec();

	spec->placement.labels = gt_alloc_array(1, sizeof(*spec->placement.labels));
	spec->placement.n_labels = 1;
	gt_strcopy(spec->placement.labels[0].key, GT_LABEL_MAX + 1, "pool");
	gt_strcopy(spec->placement.labels[0].value, GT_LABEL_MAX + 1, pool);
	spec->resources.cpu_milli = 64000; /* sixteen times four: one fills a host */
	fix_put(w.x, name, spec, name);
}

struct counted {
	const char *name;
	struct gt_provider_view v;
};

static void count(const struct gt_provider_view *v, void *arg)
{
	struct counted *counted = arg;

	if (gt_streq(v->conf->name, counted->name))
		counted->v = *v;
}

static struct gt_provider_view view(const char *name)
{
	struct counted counted = { .name = name };

	gt_control_providers(w.x->c, count, &counted);
	return counted.v;
}

/* A host of p is asked for, named and up; key receives its name. */
static void host_up(const char *id, char key[GT_NAME_MAX + 1])
{
	struct call call;

	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	gt_strcopy(key, GT_NAME_MAX + 1, call.key);
	answer_id(call, id);
	store_answer(NULL);
	node_joins(key, "x");
}

static void one_provider(void)
{
	const struct gt_provider p = provider("p", "pool=x");

	begin(&p, 1);
	ready();
	answer_list(NULL, 0);
	deploy("f", "x");
}

/* ---- the way there ---- */

static void no_room_asks_for_a_host_which_then_serves(void **state GT_UNUSED)
{
	struct call call;

	one_provider();
	assert_int_equal(w.n_ops, 0); /* nobody has called it */
	fix_demand(w.x, "f", 1, 0);
	assert_int_equal(w.n_ops, 1);
	assert_false(is_asked(GT_HOOK_CREATE)); /* not before it is in the store */
	assert_true(gt_host_key_ok(w.ops[0]->row.key, "p"));
	assert_string_equal(w.ops[0]->token.node, w.ops[0]->row.key);
	assert_string_equal(w.ops[0]->row.token, "T1");
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	assert_string_equal(call.token, "gtj_1");
	fix_demand(w.x, "f", 1, 0);
	assert_int_equal(w.n_ops, 0); /* no second one for the same call */
	answer_id(call, "i-1");
	assert_string_equal(w.ops[0]->row.id, "i-1");
	assert_string_equal(w.ops[0]->token.id, "");
	store_answer(NULL);
	assert_int_equal(w.x->n_orders, 0);
	node_joins(call.key, "x");
	assert_int_equal(w.x->n_orders, 1);
	assert_string_equal(w.x->node, call.key);
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
	assert_int_equal(view("p").up_total, 1);
}

/* A node begins anew, and its driver takes its time. */
static void driver_says_of(const char *node, enum gt_gpu_driver_state state, size_t n,
			   struct gt_observed *replica)
{
	struct gt_gpu gpu = gt_gpu_unknown;
	struct gt_report r = { .full = true,
			       .epoch = FIX_EPOCH,
			       .cpu_milli = 4000,
			       .memory_bytes = 8 * GT_GIB,
			       .gpus = &gpu,
			       .n_gpus = n,
			       .gpu_driver = { .state = state },
			       .replicas = replica,
			       .n_replicas = replica != NULL };

	gt_strcopy(r.node, sizeof(r.node), node);
	snprintf(gpu.uuid, sizeof(gpu.uuid), "GPU-%s", node);
	gt_strcopy(gpu.model, sizeof(gpu.model), "NVIDIA L4");
	gpu.memory_bytes = 24 * GT_GIB;
	assert_int_equal(gt_control_report(w.x->c, &r, NULL), 0);
}

static void driver_says(enum gt_gpu_driver_state state, size_t n)
{
	driver_says_of("n1", state, n, NULL);
}

static void begin_with_gpus(void)
{
	struct gt_provider p = provider("p", "");
	struct gt_spec *spec = fix_spec();

	gt_strcopy(p.gpus, sizeof(p.gpus), "1x24GiB:NVIDIA L4");
	begin(&p, 1);
	ready();
	answer_list(NULL, 0);
	driver_says(GT_GPU_DRIVER_STARTING, 0);
	spec->resources.gpu.count = 1;
	fix_put(w.x, "f", spec, "f");
	fix_demand(w.x, "f", 1, 0);
	assert_int_equal(w.n_ops, 0); /* it may have what is needed */
	fix_pass(w.x, 5000);
	driver_says(GT_GPU_DRIVER_STARTING, 0);
	assert_int_equal(w.n_ops, 0);
}

static void no_host_is_asked_for_while_gpus_may_come(void **state GT_UNUSED)
{
	begin_with_gpus();
	driver_says(GT_GPU_DRIVER_READY, 1);
	assert_int_equal(w.n_ops, 0);
	assert_string_equal(w.x->order.function, "f");
}

static void a_host_is_asked_for_when_none_came(void **state GT_UNUSED)
{
	begin_with_gpus();
	driver_says(GT_GPU_DRIVER_FAILED, 0);
	assert_int_equal(w.n_ops, 1);
	store_answer(NULL);
	next_call(GT_HOOK_CREATE);
}

/* One of the provider's is known: what it offers is what will be there. */
static void a_host_whose_gpus_come_back_counts(void **state GT_UNUSED)
{
	struct gt_member m = { .since_ms = 1 };
	char key[GT_NAME_MAX + 1];
	struct gt_observed o;
	struct call call;

	begin_with_gpus();
	driver_says(GT_GPU_DRIVER_FAILED, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	gt_strcopy(key, sizeof(key), call.key);
	answer_id(call, "i-1");
	store_answer(NULL);
	gt_strcopy(m.node, sizeof(m.node), key);
	gt_control_load_member(w.x->c, &m);
	gt_control_node_up(w.x->c, key);
	driver_says_of(key, GT_GPU_DRIVER_READY, 1, NULL);
	assert_string_equal(w.x->node, key);
	o = fix_observed(w.x->order.replica, "f", 1, GT_REPLICA_READY);
	driver_says_of(key, GT_GPU_DRIVER_READY, 1, &o);
	fix_demand(w.x, "f", 0, 0);
	fix_pass(w.x, 61000);
	fix_drained(w.x, w.x->order.replica);
	fix_pass(w.x, 100);
	driver_says_of(key, GT_GPU_DRIVER_STARTING, 0, NULL);
	w.x->node[0] = '\0';
	fix_demand(w.x, "f", 1, 0);
	assert_int_equal(w.n_ops, 0);
	driver_says_of(key, GT_GPU_DRIVER_READY, 1, NULL);
	assert_int_equal(w.n_ops, 0);
	assert_string_equal(w.x->node, key);
}

static void who_waits_for_a_host_is_not_refused(void **state GT_UNUSED)
{
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	fix_pass(w.x, 20000);
	assert_null(fix_view(w.x, "f").last_failure);
	answer_failed(call, "no machines are left");
	fix_pass(w.x, 5000);
	assert_non_null(fix_view(w.x, "f").last_failure);
	assert_string_equal(fix_view(w.x, "f").last_failure->cause, "no_capacity");
}

static void on_put(const struct gt_err *err, enum gt_put_result result GT_UNUSED,
		   const struct gt_function_view *v GT_UNUSED, void *arg)
{
	*(struct gt_err *)arg = err ? *err : (struct gt_err){ 0 };
}

static const char *gpu_refused(const char *model, uint32_t count)
{
	static struct gt_err err;
	struct gt_spec *spec = fix_spec();
	struct gt_put put = {
		.name = "g", .spec = spec, .spec_json = "g", .etag = "g", .dry_run = true
	};

	spec->resources.gpu.count = count;
	spec->resources.gpu.n_models = 1;
	spec->resources.gpu.models = gt_alloc_array(1, sizeof(char *));
	spec->resources.gpu.models[0] = gt_strdup(model);
	gt_control_put(w.x->c, &put, on_put, &err);
	return err.code ? err.path : "no";
}

/* What a provider offers could be asked for, so it is no reason to refuse. */
static void an_offer_is_as_good_as_a_node_when_a_function_is_deployed(void **state GT_UNUSED)
{
	struct gt_provider p = provider("p", "pool=x");

	gt_strcopy(p.gpus, sizeof(p.gpus), "8x80GiB:NVIDIA H100");
	begin(&p, 1);
	ready();
	assert_string_equal(gpu_refused("H100", 8), "no");
	assert_string_equal(gpu_refused("H100", 9), "resources.gpu.count");
	assert_string_equal(gpu_refused("A100", 1), "resources.gpu.models[0]");
}

static void the_next_provider_is_asked_when_one_fails(void **state GT_UNUSED)
{
	const struct gt_provider all[] = { provider("cheap", "pool=x"),
					   provider("dear", "pool=x") };
	struct call call;
	char failed[GT_NAME_MAX + 1];

	begin(all, 2);
	ready();
	answer_list(NULL, 0);
	answer_list(NULL, 0);
	deploy("f", "x");
	fix_demand(w.x, "f", 1, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	assert_string_equal(call.provider, "cheap");
	gt_strcopy(failed, sizeof(failed), call.key);
	answer_failed(call, "exit status 1: no quota");
	assert_string_equal(view("cheap").error, "exit status 1: no quota");
	assert_int_equal(view("cheap").retry_in_ms, 10000);
	/* The one that failed is put down as one to release, and the other one is asked. */
	assert_int_equal(w.n_ops, 2);
	store_answer(NULL);
	store_answer(NULL);
	call = next_call(GT_HOOK_RELEASE);
	assert_string_equal(call.key, failed);
	assert_string_equal(call.id, "");
	answer_ok(call);
	call = next_call(GT_HOOK_CREATE);
	assert_string_equal(call.provider, "dear");
	answer_id(call, "d-1");
	store_answer(NULL);
	store_answer(NULL);
	assert_int_equal(w.n_rows, 1);
	fix_pass(w.x, 20000);
	assert_false(is_asked(GT_HOOK_CREATE)); /* one is on its way */
}

static void one_that_does_not_join_is_released_and_asked_for_anew(void **state GT_UNUSED)
{
	struct gt_hook_host listed = { .id = "i-1" };
	char first[GT_NAME_MAX + 1];
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	gt_strcopy(first, sizeof(first), call.key);
	answer_id(call, "i-1");
	store_answer(NULL);
	fix_pass(w.x, 599000);
	gt_strcopy(listed.key, sizeof(listed.key), first);
	answer_list(&listed, 1);
	assert_int_equal(view("p").hosts[GT_HOST_STARTING], 1);
	fix_pass(w.x, 2000);
	assert_int_equal(view("p").failures, 1);
	store_answer(NULL);
	call = next_call(GT_HOOK_RELEASE);
	assert_string_equal(call.key, first);
	assert_string_equal(call.id, "i-1");
	answer_ok(call);
	store_answer(NULL);
	assert_int_equal(w.n_rows, 0);
	fix_pass(w.x, 10000);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	assert_string_not_equal(call.key, first);
}

static void an_id_that_another_one_has_is_a_lie(void **state GT_UNUSED)
{
	char key[GT_NAME_MAX + 1], second[GT_NAME_MAX + 1];
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	host_up("i-1", key);
	fix_demand(w.x, "f", 2, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	gt_strcopy(second, sizeof(second), call.key);
	answer_id(call, "i-1");
	assert_int_equal(view("p").failures, 1);
	store_answer(NULL);
	call = next_call(GT_HOOK_RELEASE);
	assert_string_equal(call.key, second);
	assert_string_equal(call.id, ""); /* that would be the other one */
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
}

/* ---- the way back ---- */

static void stop_all(const char *key)
{
	fix_demand(w.x, "f", 0, 0);
	fix_pass(w.x, 61000);
	fix_drained(w.x, w.x->order.replica);
	fix_pass(w.x, 100);
	node_reports(key, "x", NULL, 0);
}

static void replica_runs(const char *key, enum gt_replica_state state)
{
	struct gt_observed o = fix_observed(w.x->order.replica, "f", 1, state);

	node_reports(key, "x", &o, 1);
}

static void an_empty_host_goes_back(void **state GT_UNUSED)
{
	char key[GT_NAME_MAX + 1];
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	host_up("i-1", key);
	replica_runs(key, GT_REPLICA_READY);
	fix_demand(w.x, "f", 0, 1);
	fix_pass(w.x, 700000);
	w.n_calls = 0;                                    /* a list */
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1); /* it has work */
	stop_all(key);
	fix_pass(w.x, 599000);
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
	assert_int_equal(w.x->n_jobs, 0);
	fix_pass(w.x, 2000);
	assert_int_equal(w.x->said.duty, GT_DUTY_CORDONED);
	assert_string_equal(w.x->said.name, key);
	fix_store_answer(w.x, NULL);
	assert_true(w.ops[0]->row.releasing);
	assert_false(is_asked(GT_HOOK_RELEASE)); /* not before it is in the store */
	store_answer(NULL);
	call = next_call(GT_HOOK_RELEASE);
	assert_string_equal(call.id, "i-1");
	answer_failed(call, "later");
	assert_int_equal(w.n_rows, 1);
	fix_pass(w.x, 5000);
	answer_ok(next_call(GT_HOOK_RELEASE));
	struct gt_member_op *leave = next_leave(); /* its right goes, */

	leave->done(leave, NULL, leave->arg);
	store_answer(NULL); /* and then its row */
	assert_int_equal(w.n_rows, 0);
	assert_int_equal(view("p").released_total, 1);
	assert_string_equal(w.x->event.type, "host.released");
}

static void work_that_comes_while_it_is_cordoned_stays(void **state GT_UNUSED)
{
	char key[GT_NAME_MAX + 1];

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	host_up("i-1", key);
	replica_runs(key, GT_REPLICA_READY);
	stop_all(key);
	fix_pass(w.x, 601000);
	assert_int_equal(view("p").hosts[GT_HOST_RETIRING], 1);
	w.x->n_orders = 0;
	fix_demand(w.x, "f", 1, 0); /* the node still takes it */
	assert_int_equal(w.x->n_orders, 1);
	fix_store_answer(w.x, NULL);
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
	assert_int_equal(w.x->said.duty, GT_DUTY_ALL);
	fix_store_answer(w.x, NULL);
	assert_int_equal(w.n_ops, 0);
}

/* The hook failed, and yet the host came, and has work before it was taken back. */
static void one_that_came_after_all_stays(void **state GT_UNUSED)
{
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	node_joins(call.key, "x");
	assert_int_equal(w.x->n_orders, 1);
	answer_failed(call, "late");
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
	while (w.n_ops > 0)
		store_answer(NULL);
	assert_int_equal(w.n_rows, 1);
	assert_false(w.rows[0].releasing);
	assert_false(is_asked(GT_HOOK_RELEASE));
}

static void removed(const struct gt_err *err, void *arg)
{
	*(bool *)arg = !err;
}

static void one_whose_node_is_removed_goes_back(void **state GT_UNUSED)
{
	char key[GT_NAME_MAX + 1];
	bool done = false;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	host_up("i-1", key);
	gt_control_node_delete(w.x->c, key, true, removed, &done);
	struct gt_member_op *leave = next_leave();

	leave->done(leave, NULL, leave->arg);
	assert_true(done);
	assert_int_equal(view("p").hosts[GT_HOST_RELEASING], 1);
	while (w.n_ops > 0) /* another one is asked for, too */
		store_answer(NULL);
	answer_ok(next_call(GT_HOOK_RELEASE));
}

static void the_least_number_is_kept(void **state GT_UNUSED)
{
	struct gt_provider p = provider("p", "pool=x");
	char one[GT_NAME_MAX + 1];

	p.min = 2;
	begin(&p, 1);
	ready();
	answer_list(NULL, 0);
	assert_int_equal(w.n_ops, 2);
	store_answer(NULL);
	store_answer(NULL);
	for (int i = 0; i < 2; i++) {
		struct call call = next_call(GT_HOOK_CREATE);

		snprintf(one, sizeof(one), "i-%d", i);
		answer_id(call, one);
		store_answer(NULL);
		node_joins(call.key, "x");
	}
	fix_pass(w.x, 2000000);
	assert_int_equal(view("p").hosts[GT_HOST_UP], 2);
}

static void never_more_than_the_most(void **state GT_UNUSED)
{
	one_provider();
	fix_demand(w.x, "f", 5, 0);
	assert_int_equal(w.n_ops, 3);
	for (int i = 0; i < 3; i++)
		store_answer(NULL);
	assert_int_equal(w.n_calls, 3);
	for (int i = 0; i < 3; i++)
		answer_failed(next_call(GT_HOOK_CREATE), "no");
	while (w.n_ops > 0)
		store_answer(NULL);
	/* They may be there all the same, so they count until they are released. */
	fix_pass(w.x, 60000);
	assert_int_equal(w.n_ops, 0);
	assert_false(is_asked(GT_HOOK_CREATE));
}

/* ---- after a restart ---- */

static struct gt_host_row row(const char *ulid, const char *id, bool releasing)
{
	struct gt_host_row r = { .asked_ms = 1700000000000ULL + 1000000, .releasing = releasing };

	snprintf(r.key, sizeof(r.key), "p-%s", ulid);
	gt_strcopy(r.provider, sizeof(r.provider), "p");
	gt_strcopy(r.id, sizeof(r.id), id);
	return r;
}

#define ULID(c) "01arz3ndektsv4rrffq69g5fa" c

static void what_was_under_way_is_found_again(void **state GT_UNUSED)
{
	const struct gt_provider p = provider("p", "pool=x");
	const struct gt_host_row rows[] = { row(ULID("a"), "", false), row(ULID("b"), "", false),
					    row(ULID("c"), "i-c", false),
					    row(ULID("d"), "i-d", true) };
	struct gt_hook_host hosts[] = { { "p-" ULID("a"), "i-a" },
					{ "p-" ULID("c"), "i-c" },
					{ "p-" ULID("d"), "i-d" },
					{ "p-" ULID("e"), "i-e" },
					{ "other", "i-x" } };

	begin(&p, 1);
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		gt_control_load_host(w.x->c, &rows[i]);
		w.rows[w.n_rows++] = rows[i];
	}
	ready();
	fix_pass(w.x, 2000);
	answer_ok(next_call(GT_HOOK_RELEASE)); /* d, which was on its way back */
	answer_list(hosts, GT_LEN(hosts));
	while (w.n_ops > 0)
		store_answer(NULL);
	/* a was made and is named now, b never was, nobody asked for e, and x is not of here. */
	assert_int_equal(view("p").hosts[GT_HOST_STARTING], 2);
	assert_int_equal(view("p").hosts[GT_HOST_RELEASING], 2);
	for (int i = 0; i < 2; i++)
		answer_ok(next_call(GT_HOOK_RELEASE));
	while (w.n_ops > 0)
		store_answer(NULL);
	assert_int_equal(w.n_rows, 2);
	assert_false(is_asked(GT_HOOK_RELEASE));
	node_joins("p-" ULID("a"), "x");
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
}

static void a_list_with_two_that_are_one_is_not_believed(void **state GT_UNUSED)
{
	const struct gt_provider p = provider("p", "pool=x");
	const struct gt_host_row r = row(ULID("a"), "", false);
	struct gt_hook_host hosts[] = { { "p-" ULID("e"), "i-e" }, { "p-" ULID("f"), "i-e" } };

	begin(&p, 1);
	gt_control_load_host(w.x->c, &r);
	ready();
	answer_list(hosts, GT_LEN(hosts));
	assert_int_equal(w.n_ops, 0);
	assert_int_equal(view("p").failures, 1);
	assert_int_equal(view("p").hosts[GT_HOST_ASKED], 1);
}

static void one_that_is_up_and_not_listed_stays_while_it_answers(void **state GT_UNUSED)
{
	char key[GT_NAME_MAX + 1];

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	host_up("i-1", key);
	replica_runs(key, GT_REPLICA_READY);
	fix_demand(w.x, "f", 0, 1);
	fix_pass(w.x, 301000);
	answer_list(NULL, 0);
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
	gt_control_node_down(w.x->c, key);
	fix_pass(w.x, 301000);
	answer_list(NULL, 0);
	assert_int_equal(view("p").hosts[GT_HOST_RELEASING], 1);
}

static void a_provider_that_is_gone_keeps_its_rows(void **state GT_UNUSED)
{
	const struct gt_provider other = provider("other", "");
	const struct gt_host_row r = row(ULID("a"), "i-a", false);

	begin(&other, 1);
	gt_control_load_host(w.x->c, &r);
	ready();
	answer_list(NULL, 0);
	fix_pass(w.x, 10000000 / 100);
	assert_false(view("p").configured);
	assert_int_equal(view("p").hosts[GT_HOST_ORPHANED], 1);
	assert_int_equal(w.n_ops, 0);
}

static void note(const struct gt_err *err, void *arg)
{
	*(int *)arg = err ? -err->code : 1;
}

/* Only who removes it by hand has it forgotten: with its node, or where that never came or is gone.
 */
static void an_orphan_goes_when_it_is_removed(void **state GT_UNUSED)
{
	const struct gt_provider other = provider("other", "");
	const struct gt_host_row rows[] = { row(ULID("a"), "i-a", false),
					    row(ULID("b"), "i-b", true) };
	const struct gt_err busy = { .code = EAGAIN, .slug = "unavailable" };
	int said = 0;

	begin(&other, 1);
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		gt_control_load_host(w.x->c, &rows[i]);
		w.rows[w.n_rows++] = rows[i];
	}
	ready();
	answer_list(NULL, 0);
	node_joins(rows[0].key, "x");
	assert_int_equal(view("p").hosts[GT_HOST_ORPHANED], 2);

	gt_control_node_delete(w.x->c, rows[1].key, false, note, &said);
	store_answer(&busy);
	assert_int_equal(said, -EAGAIN);
	gt_control_node_delete(w.x->c, rows[1].key, false, note, &said);
	store_answer(NULL);
	assert_int_equal(said, 1);
	assert_string_equal(w.x->event.type, "host.forgotten");
	gt_control_node_delete(w.x->c, rows[1].key, false, note, &said);
	assert_int_equal(said, -ENOENT);

	gt_control_node_delete(w.x->c, rows[0].key, true, note, &said);
	struct gt_member_op *leave = next_leave();

	leave->done(leave, NULL, leave->arg);
	assert_int_equal(said, -ENOENT); /* not yet */
	store_answer(NULL);
	assert_int_equal(said, 1);
	assert_int_equal(view("p").hosts[GT_HOST_ORPHANED], 0);
	assert_int_equal(w.n_rows, 0);
	assert_false(is_asked(GT_HOOK_RELEASE));
}

/* A host with less than was offered is seen once; then what it has is what is planned with. */
static void a_host_that_is_not_as_offered_is_a_fault(void **state GT_UNUSED)
{
	struct call call;

	one_provider();
	fix_demand(w.x, "f", 1, 0);
	store_answer(NULL);
	call = next_call(GT_HOOK_CREATE);
	answer_id(call, "i-1");
	store_answer(NULL);
	node_joins(call.key, "y"); /* not its label */
	assert_int_equal(view("p").failures, 1);
	assert_int_equal(w.n_ops, 0); /* none is asked for at once */
	assert_int_equal(view("p").hosts[GT_HOST_UP], 1);
}

/* ---- whatever happens ----
 *
 * A provider that really has hosts, hooks that fail before and after they did what they were asked,
 * a store that refuses, hosts that join or do not, and a control that ends at any moment and begins
 * anew from the rows. Afterwards nothing may be left that nobody remembers. */

#define REAL_MAX 256

static struct {
	uint64_t seed;
	struct gt_hook_host real[REAL_MAX];
	size_t n_real, n_made;
	char up[REAL_MAX][GT_NAME_MAX + 1];     /* nodes that are connected */
	char member[REAL_MAX][GT_NAME_MAX + 1]; /* nodes that may be */
	size_t n_up, n_member;
	char late[REAL_MAX][GT_NAME_MAX + 1]; /* hooks that outlived who called them */
	size_t n_late;
} z;

static uint32_t below(uint32_t n)
{
	struct gt_rand rnd = gt_rand_seeded(&z.seed);
	uint32_t x;

	rnd.fill(rnd.arg, &x, sizeof(x));
	return x % n;
}

static size_t name_at(char (*list)[GT_NAME_MAX + 1], size_t n, const char *name)
{
	size_t i = 0;

	while (i < n && strcmp(list[i], name) != 0)
		i++;
	return i;
}

static void name_drop(char (*list)[GT_NAME_MAX + 1], size_t *n, const char *name)
{
	size_t i = name_at(list, *n, name);

	if (i < *n)
		memmove(list[i], list[--*n], sizeof(list[i]));
}

static void really_made(const char *key)
{
	assert_true(z.n_real < REAL_MAX);
	gt_strcopy(z.real[z.n_real].key, sizeof(z.real->key), key);
	snprintf(z.real[z.n_real++].id, sizeof(z.real->id), "i-%zu", ++z.n_made);
}

static void really_gone(const char *key)
{
	for (size_t i = 0; i < z.n_real; i++)
		if (gt_streq(z.real[i].key, key))
			z.real[i] = z.real[--z.n_real];
	if (name_at(z.up, z.n_up, key) < z.n_up && w.x->c)
		gt_control_node_down(w.x->c, key);
	name_drop(z.up, &z.n_up, key);
}

/* What the hook does of what it is asked, and what it says of it. */
static void call_answer(struct call call, bool well)
{
	bool done = well || below(2), said = well || (done && below(2));

	if (call.verb == GT_HOOK_CREATE && done)
		really_made(call.key);
	if (call.verb == GT_HOOK_RELEASE && done)
		really_gone(call.key);
	if (!said)
		answer_failed(call, "no");
	else if (call.verb == GT_HOOK_CREATE)
		answer_id(call, z.real[z.n_real - 1].id);
	else if (call.verb == GT_HOOK_RELEASE)
		answer_ok(call);
	else {
		const struct gt_hook_answer answer = { .hosts = z.real, .n_hosts = z.n_real };

		call.done(NULL, &answer, call.arg);
	}
}

static void any_call(bool well)
{
	struct call call;
	size_t i;

	if (w.n_calls == 0)
		return;
	i = below((uint32_t)w.n_calls);
	call = w.calls[i];
	memmove(&w.calls[i], &w.calls[i + 1], (--w.n_calls - i) * sizeof(call));
	call_answer(call, well);
}

static void any_store(bool well)
{
	const struct gt_err err = { .code = EAGAIN, .slug = "unavailable", .text = "busy" };

	if (w.n_leaves > 0) {
		struct gt_member_op *leave = next_leave();

		if (well || below(4))
			name_drop(z.member, &z.n_member, leave->member.node);
		leave->done(leave,
			    name_at(z.member, z.n_member, leave->member.node) < z.n_member ? &err
											   : NULL,
			    leave->arg);
	} else if (w.x->n_jobs > 0) {
		fix_store_answer(w.x, well || below(4) ? NULL : &err);
	} else if (w.n_ops > 0) {
		store_answer(well || below(4) ? NULL : &err);
	}
}

/* One that really is there, and whose token lets it in, as long as its row is there. */
static void any_joins(void)
{
	const char *key = z.n_real ? z.real[below((uint32_t)z.n_real)].key : NULL;
	size_t row = 0;

	if (!key || name_at(z.up, z.n_up, key) < z.n_up)
		return;
	while (row < w.n_rows && !gt_streq(w.rows[row].key, key))
		row++;
	if (name_at(z.member, z.n_member, key) == z.n_member) {
		if (row == w.n_rows)
			return;
		gt_strcopy(z.member[z.n_member++], GT_NAME_MAX + 1, key);
	}
	gt_strcopy(z.up[z.n_up++], GT_NAME_MAX + 1, key);
	node_joins(key, "x");
}

/* Nodes do what they are ordered to. */
static void order_obey(const struct gt_order *o, void *arg)
{
	struct gt_observed *all = arg;
	size_t n = 0;

	while (all[n].replica[0])
		n++;
	if (n + 1 < 16)
		all[n] = fix_observed(o->replica, "f", 1,
				      o->want == GT_WANT_STOP ? GT_REPLICA_STOPPED
							      : GT_REPLICA_READY);
}

static void nodes_obey(void)
{
	for (size_t i = 0; i < z.n_up; i++) {
		struct gt_observed all[16] = { 0 };
		char key[GT_NAME_MAX + 1];
		size_t n = 0;

		gt_strcopy(key, sizeof(key), z.up[i]);
		gt_control_orders(w.x->c, key, order_obey, all);
		while (all[n].replica[0])
			n++;
		node_reports(key, "x", all, n);
	}
	for (size_t i = 0; i < 4 && w.x->order.replica[0]; i++)
		fix_drained(w.x, w.x->order.replica);
}

static void control_begins(void)
{
	struct gt_provider p = provider("p", "pool=x");
	struct gt_host_row rows[MAX];
	size_t n = w.n_rows;

	p.max = 5;
	memcpy(rows, w.rows, sizeof(rows));
	begin(&p, 1);
	for (size_t i = 0; i < z.n_member; i++) {
		struct gt_member m = { .since_ms = 1 };

		gt_strcopy(m.node, sizeof(m.node), z.member[i]);
		gt_control_load_member(w.x->c, &m);
	}
	for (size_t i = 0; i < n; i++)
		gt_control_load_host(w.x->c, &rows[i]);
	ready();
	deploy("f", "x");
	for (size_t i = 0; i < z.n_up; i++) {
		char key[GT_NAME_MAX + 1];

		gt_strcopy(key, sizeof(key), z.up[i]);
		gt_control_node_up(w.x->c, key);
		node_reports(key, "x", NULL, 0);
	}
}

/* What was on its way to the store and to the hook may have arrived. */
static void control_ends(void)
{
	while (w.n_ops > 0) {
		struct gt_host_op *op = w.ops[0];

		memmove(w.ops, w.ops + 1, --w.n_ops * sizeof(op));
		if (below(2))
			rows_apply(op);
		free(op);
	}
	gt_control_free(w.x->c);
	w.x->c = NULL;
	for (size_t i = 0; i < w.n_calls; i++) {
		if (w.calls[i].verb == GT_HOOK_CREATE && below(3) == 0)
			really_made(w.calls[i].key);
		else if (w.calls[i].verb == GT_HOOK_CREATE && below(2))
			gt_strcopy(z.late[z.n_late++], GT_NAME_MAX + 1, w.calls[i].key);
		if (w.calls[i].verb == GT_HOOK_RELEASE && below(2))
			really_gone(w.calls[i].key);
	}
	w.n_calls = w.x->n_jobs = 0;
	while (w.n_leaves > 0) {
		struct gt_member_op *leave = next_leave();

		if (below(2))
			name_drop(z.member, &z.n_member, leave->member.node);
		gt_member_op_free(leave);
	}
	w.x->event.id = 0;
	memset(&w.x->order, 0, sizeof(w.x->order));
}

static void late_ones(size_t n)
{
	for (; n > 0 && z.n_late > 0; n--)
		really_made(z.late[--z.n_late]);
}

static void one_step(void)
{
	uint32_t dice = below(100);

	if (dice < 30)
		any_store(false);
	else if (dice < 55)
		any_call(below(3) > 0);
	else if (dice < 65)
		any_joins();
	else if (dice < 75)
		nodes_obey();
	else if (dice < 83)
		fix_demand(w.x, "f", below(5), 0);
	else if (dice < 86)
		late_ones(1);
	else if (dice < 97)
		fix_pass(w.x, 1 + below(200000));
	else {
		control_ends();
		control_begins();
	}
	assert_true(w.n_rows <= 5 + z.n_real); /* never more than may be, but for forgotten ones */
	assert_int_equal(gt_control_check(w.x->c, NULL), 0);
}

static void nothing_is_forgotten(void **state GT_UNUSED)
{
	for (uint64_t number = 1; number <= 100; number++) {
		memset(&z, 0, sizeof(z));
		z.seed = number;
		control_begins();
		for (int i = 0; i < 400; i++)
			one_step();
		/* Nobody needs any more, and nothing fails any more. */
		late_ones(REAL_MAX);
		for (int i = 0; i < 400; i++) {
			fix_demand(w.x, "f", 0, 0);
			while (w.n_leaves > 0 || w.x->n_jobs > 0 || w.n_ops > 0 || w.n_calls > 0) {
				any_store(true);
				any_call(true);
			}
			nodes_obey();
			fix_pass(w.x, 20000);
		}
		if (z.n_real > 0 || w.n_rows > 0)
			fail_msg("number %llu: %zu hosts and %zu rows are left",
				 (unsigned long long)number, z.n_real, w.n_rows);
		assert_true(z.n_made > 0);
		control_ends();
	}
	control_begins();
}

int main(void)
{
#define t(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(no_room_asks_for_a_host_which_then_serves),
		t(no_host_is_asked_for_while_gpus_may_come),
		t(a_host_is_asked_for_when_none_came),
		t(a_host_whose_gpus_come_back_counts),
		t(who_waits_for_a_host_is_not_refused),
		t(an_offer_is_as_good_as_a_node_when_a_function_is_deployed),
		t(the_next_provider_is_asked_when_one_fails),
		t(one_that_does_not_join_is_released_and_asked_for_anew),
		t(an_id_that_another_one_has_is_a_lie),
		t(an_empty_host_goes_back),
		t(work_that_comes_while_it_is_cordoned_stays),
		t(one_that_came_after_all_stays),
		t(one_whose_node_is_removed_goes_back),
		t(the_least_number_is_kept),
		t(never_more_than_the_most),
		t(what_was_under_way_is_found_again),
		t(a_list_with_two_that_are_one_is_not_believed),
		t(one_that_is_up_and_not_listed_stays_while_it_answers),
		t(a_provider_that_is_gone_keeps_its_rows),
		t(an_orphan_goes_when_it_is_removed),
		t(a_host_that_is_not_as_offered_is_a_fault),
		t(nothing_is_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
