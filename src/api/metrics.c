/* api/metrics.c - Prometheus' text format, out of control's last known numbers. A function that was
 * never called and never started has no series: 10,000 idle functions cost nothing here. */
#include <string.h>

#include <gantry/control/task.h>

#include "api_priv.h"

/* ---- per gateway and function --------------------------------------------------------------- */

static const struct traffic_row {
	const char *name, *type, *help;
	size_t offset; /* of a uint64_t in gt_demand_function, unless narrow */
	bool narrow;   /* it is a uint32_t */
	double scale;
} traffic_rows[] = {
#define WIDE(member)   offsetof(struct gt_demand_function, member), false
#define NARROW(member) offsetof(struct gt_demand_function, member), true
	{ "gantry_calls_total", "counter", "Calls taken.", WIDE(calls), 1 },
	{ "gantry_cold_calls_total", "counter", "Calls that waited for a start.", WIDE(cold), 1 },
	{ "gantry_call_received_bytes_total", "counter", "Bytes of request bodies.", WIDE(bytes_in),
	  1 },
	{ "gantry_call_sent_bytes_total", "counter", "Bytes of answers.", WIDE(bytes_out), 1 },
	{ "gantry_call_run_seconds_total", "counter", "Time that calls spent in replicas.",
	  WIDE(busy_us), 1e-6 },
	{ "gantry_calls_queued", "gauge", "Calls that wait for a replica now.", NARROW(queued), 1 },
	{ "gantry_calls_in_flight", "gauge", "Calls in replicas now.", NARROW(in_flight), 1 },
#undef WIDE
#undef NARROW
};

void gt_api_metric_head(struct gt_buf *out, const char *name, const char *type, const char *help)
{
	gt_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void gt_metrics_family(struct gt_buf *out, const char *name, const char *type, const char *help,
		       struct gt_buf *samples)
{
	gt_api_metric_head(out, name, type, help);
	gt_buf_add(out, gt_buf_str(samples), samples->len);
	gt_buf_fini(samples);
}

static void add_number(const char *gateway, const struct gt_demand_function *f,
		       const struct traffic_row *row, struct gt_buf *out)
{
	const char *at = (const char *)f + row->offset;

	gt_buf_addf(out, "%s{gateway=\"%s\",function=\"%s\"} ", row->name, gateway, f->function);
	if (row->narrow)
		gt_buf_addf(out, "%u\n", *(const uint32_t *)(const void *)at);
	else if (row->scale < 1)
		gt_buf_addf(out, "%.6f\n",
			    (double)*(const uint64_t *)(const void *)at * row->scale);
	else
		gt_buf_addf(out, "%llu\n", (unsigned long long)*(const uint64_t *)(const void *)at);
}

static void add_hist(const char *gateway, const char *function, const char *name,
		     const struct gt_hist *h, struct gt_buf *out)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < GT_HIST_BOUNDS; i++) {
		sum += h->n[i];
		gt_buf_addf(out, "%s_bucket{gateway=\"%s\",function=\"%s\",le=\"%g\"} %llu\n", name,
			    gateway, function, gt_hist_bounds_ms[i] / 1e3, (unsigned long long)sum);
	}
	sum += h->n[GT_HIST_BOUNDS];
	gt_buf_addf(out, "%s_bucket{gateway=\"%s\",function=\"%s\",le=\"+Inf\"} %llu\n", name,
		    gateway, function, (unsigned long long)sum);
	gt_buf_addf(out, "%s_sum{gateway=\"%s\",function=\"%s\"} %.6f\n", name, gateway, function,
		    (double)h->sum_us * 1e-6);
	gt_buf_addf(out, "%s_count{gateway=\"%s\",function=\"%s\"} %llu\n", name, gateway, function,
		    (unsigned long long)sum);
}

/* Families of samples, filled in one walk. */
struct traffic {
	struct gt_buf numbers[GT_LEN(traffic_rows)], answers, refusals, wait, total;
};

static void add_traffic(const char *gateway, const struct gt_demand_function *f, void *arg)
{
	static const char *const classes[6] = { "cut", "1xx", "2xx", "3xx", "4xx", "5xx" };
	struct traffic *t = arg;

	for (size_t i = 0; i < GT_LEN(traffic_rows); i++)
		add_number(gateway, f, &traffic_rows[i], &t->numbers[i]);
	for (size_t i = 0; i < GT_LEN(classes); i++)
		if (f->responses[i])
			gt_buf_addf(&t->answers,
				    "gantry_call_answers_total{gateway=\"%s\",function=\"%s\","
				    "class=\"%s\"} %llu\n",
				    gateway, f->function, classes[i],
				    (unsigned long long)f->responses[i]);
	for (size_t i = 0; i < GT_REFUSALS; i++)
		if (f->refusals[i])
			gt_buf_addf(&t->refusals,
				    "gantry_calls_refused_total{gateway=\"%s\",function=\"%s\","
				    "cause=\"%s\"} %llu\n",
				    gateway, f->function, gt_refusal_names[i],
				    (unsigned long long)f->refusals[i]);
	add_hist(gateway, f->function, "gantry_call_wait_seconds", &f->wait, &t->wait);
	add_hist(gateway, f->function, "gantry_call_seconds", &f->total, &t->total);
}

static void write_traffic(struct gt_api *api, struct gt_buf *out)
{
	struct traffic t = { 0 };

	gt_control_traffic(api->config.control, add_traffic, &t);
	for (size_t i = 0; i < GT_LEN(traffic_rows); i++)
		gt_metrics_family(out, traffic_rows[i].name, traffic_rows[i].type,
				  traffic_rows[i].help, &t.numbers[i]);
	gt_metrics_family(out, "gantry_call_answers_total", "counter",
			  "Answers by status class; cut: ended before they were complete.",
			  &t.answers);
	gt_metrics_family(out, "gantry_calls_refused_total", "counter",
			  "Calls that the gateway answered with a problem document, by its code.",
			  &t.refusals);
	gt_metrics_family(out, "gantry_call_wait_seconds", "histogram",
			  "How long calls waited for a slot, of those that got one.", &t.wait);
	gt_metrics_family(out, "gantry_call_seconds", "histogram",
			  "How long calls took, from the request's head to the end of the answer.",
			  &t.total);
}

/* ---- per gateway ---------------------------------------------------------------------------- */

static const struct gateway_row {
	const char *name, *type, *help;
	size_t offset; /* of a uint64_t in gt_gateway_stats */
} gateway_rows[] = {
#define STAT(member) offsetof(struct gt_gateway_stats, member)
	{ "gantry_gateway_connections", "gauge", "Client connections that are open.",
	  STAT(connections) },
	{ "gantry_gateway_connections_total", "counter", "Client connections taken.",
	  STAT(accepted) },
	{ "gantry_gateway_buffered_bytes", "gauge", "Bytes that the gateway holds in buffers.",
	  STAT(buffered_bytes) },
	{ "gantry_gateway_tls_handshakes_total", "counter", "TLS handshakes that succeeded.",
	  STAT(tls_handshakes) },
	{ "gantry_gateway_forwarded_total", "counter",
	  "Requests that gateways of other daemons passed on to this one.", STAT(forwarded) },
	{ "gantry_gateway_tls_resumed_total", "counter", "Of them, those that resumed a session.",
	  STAT(tls_resumed) },
	{ "gantry_gateway_tls_failed_total", "counter", "TLS handshakes that failed.",
	  STAT(tls_failed) },
	{ "gantry_gateway_access_log_dropped_total", "counter",
	  "Lines of the access log that were lost.", STAT(log_dropped) },
#undef STAT
};

struct gateways {
	struct gt_buf numbers[GT_LEN(gateway_rows)], refusals;
};

static void add_gateway(const char *gateway, const struct gt_gateway_stats *stats, void *arg)
{
	struct gateways *g = arg;

	for (size_t i = 0; i < GT_LEN(gateway_rows); i++) {
		const void *at = (const char *)stats + gateway_rows[i].offset;

		gt_buf_addf(&g->numbers[i], "%s{gateway=\"%s\"} %llu\n", gateway_rows[i].name,
			    gateway, *(const unsigned long long *)at);
	}
	for (size_t i = 0; i < GT_REFUSALS; i++)
		if (stats->refusals[i])
			gt_buf_addf(
				&g->refusals,
				"gantry_gateway_refused_total{gateway=\"%s\",cause=\"%s\"} %llu\n",
				gateway, gt_refusal_names[i],
				(unsigned long long)stats->refusals[i]);
}

static void write_gateways(struct gt_api *api, struct gt_buf *out)
{
	struct gateways g = { 0 };

	gt_control_gateways(api->config.control, add_gateway, &g);
	for (size_t i = 0; i < GT_LEN(gateway_rows); i++)
		gt_metrics_family(out, gateway_rows[i].name, gateway_rows[i].type,
				  gateway_rows[i].help, &g.numbers[i]);
	gt_metrics_family(
		out, "gantry_gateway_refused_total", "counter",
		"Requests refused before their function was known, by the problem's code.",
		&g.refusals);
}

/* ---- functions ------------------------------------------------------------------------------ */

/* One family of samples a buffer, filled in one walk. */
struct families {
	struct gt_buf replicas, wanted, starts, failed, parks, park_time;
	uint64_t states[GT_FUNCTION_N];
};

/* Those that are parked now are among gantry_replicas. */
static void add_parking(struct families *f, const struct gt_function_view *v)
{
	const struct gt_parking_view *p = &v->parking;
	const struct {
		const char *what;
		uint64_t n, ms;
	} rows[] = { { "park", p->parks, p->park_sum_ms },
		     { "unpark", p->unparks, p->unpark_sum_ms },
		     { "refused", p->refused, 0 } };

	for (size_t i = 0; i < GT_LEN(rows); i++) {
		if (rows[i].n == 0)
			continue;
		gt_buf_addf(&f->parks, "gantry_parks_total{function=\"%s\",step=\"%s\"} %llu\n",
			    v->row->name, rows[i].what, (unsigned long long)rows[i].n);
		if (rows[i].ms)
			gt_buf_addf(&f->park_time,
				    "gantry_park_seconds_total{function=\"%s\",step=\"%s\"} "
				    "%.3f\n",
				    v->row->name, rows[i].what, (double)rows[i].ms / 1e3);
	}
}

static bool add_function(const struct gt_function_view *v, void *arg)
{
	struct families *f = arg;
	const char *name = v->row->name;

	f->states[v->state]++;
	for (unsigned s = 0; s < GT_REPLICA_N; s++)
		if (v->replicas[s])
			gt_buf_addf(&f->replicas,
				    "gantry_replicas{function=\"%s\",state=\"%s\"} %u\n", name,
				    gt_replica_state_name(s), v->replicas[s]);
	if (v->wanted)
		gt_buf_addf(&f->wanted, "gantry_replicas_wanted{function=\"%s\"} %u\n", name,
			    v->wanted);
	if (v->starts_total)
		gt_buf_addf(&f->starts, "gantry_starts_total{function=\"%s\"} %llu\n", name,
			    (unsigned long long)v->starts_total);
	if (v->failed_total)
		gt_buf_addf(&f->failed, "gantry_starts_failed_total{function=\"%s\"} %llu\n", name,
			    (unsigned long long)v->failed_total);
	add_parking(f, v);
	return true;
}

static void write_functions(struct gt_api *api, struct gt_buf *out)
{
	struct families f = { 0 };

	gt_control_functions(api->config.control, "", "", add_function, &f);
	gt_api_metric_head(out, "gantry_functions", "gauge", "Functions by state.");
	for (unsigned s = 0; s < GT_FUNCTION_N; s++)
		gt_buf_addf(out, "gantry_functions{state=\"%s\"} %llu\n", gt_function_state_name(s),
			    (unsigned long long)f.states[s]);
	gt_metrics_family(out, "gantry_replicas", "gauge", "Live replicas by state.", &f.replicas);
	gt_metrics_family(out, "gantry_replicas_wanted", "gauge", "Replicas that should run.",
			  &f.wanted);
	gt_metrics_family(out, "gantry_starts_total", "counter", "Replicas started.", &f.starts);
	gt_metrics_family(out, "gantry_starts_failed_total", "counter",
			  "Replicas that failed to start.", &f.failed);
	gt_metrics_family(out, "gantry_parks_total", "counter",
			  "Replicas parked, brought back (unpark), or left ready as their node "
			  "could not park them (refused).",
			  &f.parks);
	gt_metrics_family(
		out, "gantry_park_seconds_total", "counter",
		"Time from the order to park or unpark to the node's word that it is done.",
		&f.park_time);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static bool add_parked(const struct gt_node_view *v, void *arg)
{
	gt_buf_addf(arg, "gantry_node_parked_bytes{node=\"%s\"} %llu\n", v->name,
		    (unsigned long long)v->parked_bytes);
	return true;
}

static bool add_node(const struct gt_node_view *v, void *arg)
{
	gt_buf_addf(arg, "gantry_node_up{node=\"%s\"} %d\n", v->name,
		    v->state != GT_NODE_SUSPECT && v->state != GT_NODE_LOST);
	return true;
}

/* The GPUs of a node that are alike; no ids in labels. */
static void add_kind(const struct gt_node_view *v, size_t first, struct gt_buf *out, bool used)
{
	const struct gt_gpu *kind = &v->gpus[first].is;
	uint64_t milli = 0;

	for (size_t i = 0; i < v->n_gpus; i++) {
		const struct gt_node_gpu *g = &v->gpus[i];

		if (g->is.backend != kind->backend || !gt_streq(g->is.model, kind->model))
			continue;
		if (i < first)
			return; /* was there already */
		milli += used ? g->taken_milli : GT_GPU_WHOLE;
	}
	gt_buf_addf(out, "gantry_node_gpus%s{node=\"%s\",model=\"%s\",backend=\"%s\"} %g\n",
		    used ? "_used" : "", v->name, kind->model, gt_gpu_backend_name(kind->backend),
		    (double)milli / GT_GPU_WHOLE);
}

static bool add_gpus(const struct gt_node_view *v, void *arg)
{
	for (size_t i = 0; i < v->n_gpus; i++)
		add_kind(v, i, arg, false);
	return true;
}

static bool add_gpus_used(const struct gt_node_view *v, void *arg)
{
	for (size_t i = 0; i < v->n_gpus; i++)
		add_kind(v, i, arg, true);
	return true;
}

static void write_nodes(struct gt_api *api, struct gt_buf *out)
{
	gt_api_metric_head(out, "gantry_node_up", "gauge", "1 while the node is connected.");
	gt_control_nodes(api->config.control, add_node, out);
	gt_api_metric_head(out, "gantry_node_parked_bytes", "gauge", "Memory of parked replicas.");
	gt_control_nodes(api->config.control, add_parked, out);
	gt_api_metric_head(
		out, "gantry_node_gpus", "gauge",
		"GPUs by node, model and backend; those of backend sim compute nothing.");
	gt_control_nodes(api->config.control, add_gpus, out);
	gt_api_metric_head(out, "gantry_node_gpus_used", "gauge",
			   "Of them given to replicas; shared ones count by their shares.");
	gt_control_nodes(api->config.control, add_gpus_used, out);
}

static void write_api(struct gt_api *api, struct gt_buf *out)
{
	gt_api_metric_head(out, "gantry_api_answers_total", "counter",
			   "Answers of the management API by operation and status class.");
	for (size_t i = 0; i < gt_api_routes_n * 6; i++)
		if (api->answers[i])
			gt_buf_addf(out,
				    "gantry_api_answers_total{operation=\"%s\",class=\"%zuxx\"} "
				    "%llu\n",
				    gt_api_routes[i / 6].operation, i % 6,
				    (unsigned long long)api->answers[i]);
}

static const struct task_row {
	const char *name, *type, *help;
	size_t offset; /* in struct gt_task_counts */
} task_rows[] = {
#define COUNT(member) offsetof(struct gt_task_counts, member)
	{ "gantry_durable_calls_queued", "gauge", "Durable calls that no gateway has yet.",
	  COUNT(queued) },
	{ "gantry_durable_calls_accepted_total", "counter", "Durable calls taken.",
	  COUNT(accepted) },
	{ "gantry_durable_calls_leased_total", "counter", "Given to a gateway.", COUNT(leased) },
	{ "gantry_durable_calls_succeeded_total", "counter", "Ended well.", COUNT(succeeded) },
	{ "gantry_durable_calls_failed_total", "counter", "Ended without success.", COUNT(failed) },
	{ "gantry_durable_calls_retried_total", "counter", "Attempts that failed and are repeated.",
	  COUNT(retried) },
	{ "gantry_durable_calls_returned_total", "counter", "Came back without having run.",
	  COUNT(returned) },
	{ "gantry_durable_calls_stale_total", "counter", "Results that came too late to count.",
	  COUNT(stale) },
#undef COUNT
};

/* Since the start of control. */
static void write_tasks(struct gt_api *api, struct gt_buf *out)
{
	struct gt_task_counts counts;

	gt_control_task_counts(api->config.control, &counts);
	for (size_t i = 0; i < GT_LEN(task_rows); i++) {
		const struct task_row *row = &task_rows[i];
		const char *at = (const char *)&counts + row->offset;

		gt_api_metric_head(out, row->name, row->type, row->help);
		gt_buf_addf(out, "%s %llu\n", row->name,
			    (unsigned long long)*(const uint64_t *)(const void *)at);
	}
}

void gt_api_get_metrics(struct gt_request *req, void *app)
{
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_api_metric_head(&out, "gantry_build_info", "gauge", "The version that runs.");
	gt_buf_addf(&out, "gantry_build_info{version=\"%s\"} 1\n", GT_VERSION);
	gt_api_metric_head(&out, "gantry_control_epoch", "gauge", "Starts of the control process.");
	gt_buf_addf(&out, "gantry_control_epoch %llu\n",
		    (unsigned long long)gt_control_epoch(api->config.control));
	write_nodes(api, &out);
	gt_api_provider_metrics(api, &out);
	gt_api_gpu_metrics(api, &out);
	write_functions(api, &out);
	gt_api_usage_metrics(api, &out);
	write_traffic(api, &out);
	write_gateways(api, &out);
	write_tasks(api, &out);
	write_api(api, &out);
	gt_request_reply(req, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}
