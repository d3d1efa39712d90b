/* api/providers.c - where hosts come from, and those that came. */
#include "api_priv.h"

#include <gantry/control/provider.h>
#include <gantry/wire/hook.h>

struct writing {
	struct gt_json *j;
	struct gt_control *control;
};

static void add_host(const struct gt_host_view *v, void *arg)
{
	struct gt_json *j = arg;

	gt_json_object(j, NULL);
	gt_json_str(j, "key", v->row->key);
	if (v->row->id[0])
		gt_json_str(j, "id", v->row->id);
	gt_json_str(j, "state", gt_host_state_name(v->state));
	gt_view_time(j, "asked_at", v->row->asked_ms);
	if (v->empty_ms)
		gt_json_u64(j, "empty_ms", v->empty_ms);
	if (v->why[0])
		gt_json_str(j, "why", v->why);
	gt_json_close(j, '}');
}

static void add_provider(const struct gt_provider_view *v, void *arg)
{
	const struct writing *w = arg;
	struct gt_json *j = w->j;

	gt_json_object(j, NULL);
	gt_json_str(j, "name", v->conf->name);
	gt_json_bool(j, "configured", v->configured);
	gt_json_str(j, "kind", v->conf->url[0] ? "url" : "exec");
	gt_json_u64(j, "min", v->conf->min);
	gt_json_u64(j, "max", v->conf->max);
	gt_offer_write(v->offer, j, "offer");
	gt_json_u64(j, "failures", v->failures);
	gt_json_u64(j, "retry_in_ms", v->retry_in_ms);
	if (v->error[0])
		gt_json_str(j, "error", v->error);
	gt_json_array(j, "hosts");
	gt_control_hosts(w->control, v->conf->name, add_host, j);
	gt_json_close(j, ']');
	gt_json_close(j, '}');
}

void gt_api_list_providers(struct gt_request *req, void *app)
{
	static const char *const no_query[] = { NULL };
	struct gt_api *api = app;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_json j;
	struct writing w = { &j, api->config.control };

	if (!gt_api_query(req, no_query))
		return;
	gt_api_list_begin(&j, &body);
	gt_control_providers(api->config.control, add_provider, &w);
	gt_api_list_reply(req, &j, &body);
}

/* ---- metrics -------------------------------------------------------------------------------- */

static void add_states(const struct gt_provider_view *v, void *arg)
{
	for (unsigned s = 0; s < GT_HOST_STATES; s++)
		gt_buf_addf(arg, "gantry_provider_hosts{provider=\"%s\",state=\"%s\"} %u\n",
			    v->conf->name, gt_host_state_name(s), v->hosts[s]);
}

#define ADD_TOTAL(what)                                                                     \
	static void add_##what(const struct gt_provider_view *v, void *arg)                 \
	{                                                                                   \
		gt_buf_addf(arg, "gantry_provider_" #what "_total{provider=\"%s\"} %llu\n", \
			    v->conf->name, (unsigned long long)v->what##_total);            \
	}
ADD_TOTAL(asked)
ADD_TOTAL(up)
ADD_TOTAL(released)
ADD_TOTAL(failed)

static const struct {
	const char *name, *type, *help;
	void (*add)(const struct gt_provider_view *v, void *arg);
} rows[] = {
	{ "gantry_provider_hosts", "gauge", "Hosts of a provider, by state.", add_states },
	{ "gantry_provider_asked_total", "counter", "Hosts that it was asked for.", add_asked },
	{ "gantry_provider_up_total", "counter", "Of those, that joined.", add_up },
	{ "gantry_provider_released_total", "counter", "That it took back.", add_released },
	{ "gantry_provider_failed_total", "counter", "Its failures.", add_failed },
};

static void add_one(const struct gt_provider_view *v GT_UNUSED, void *arg)
{
	*(bool *)arg = true;
}

void gt_api_provider_metrics(struct gt_api *api, struct gt_buf *out)
{
	bool any = false;

	gt_control_providers(api->config.control, add_one, &any);
	for (size_t i = 0; any && i < GT_LEN(rows); i++) {
		gt_api_metric_head(out, rows[i].name, rows[i].type, rows[i].help);
		gt_control_providers(api->config.control, rows[i].add, out);
	}
}
