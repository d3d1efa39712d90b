/* hook.c - what passes between control and a provider's hook. */
#include <gantry/wire/hook.h>

#include <stdlib.h>

#include <gantry/wire/value.h>

#define VERSION   1
#define HOSTS_MAX (2 * GT_PROVIDER_HOSTS_MAX)

void gt_offer_write(const struct gt_offer *o, struct gt_json *j, const char *name)
{
	gt_json_object(j, name);
	gt_json_u64(j, "cpu_milli", o->cpu_milli);
	gt_json_u64(j, "memory_bytes", o->memory_bytes);
	gt_json_array(j, "gpus");
	for (size_t i = 0; i < o->n_gpus; i++) {
		gt_json_object(j, NULL);
		gt_json_str(j, "model", o->gpus[i].model);
		gt_json_u64(j, "memory_bytes", o->gpus[i].memory_bytes);
		gt_json_close(j, '}');
	}
	gt_json_close(j, ']');
	gt_json_object(j, "labels");
	for (size_t i = 0; i < o->n_labels; i++)
		gt_json_str(j, o->labels[i].key, o->labels[i].value);
	gt_json_close(j, '}');
	gt_json_close(j, '}');
}

void gt_hook_ask_write(const struct gt_hook_ask *ask, const char *cluster, struct gt_buf *out)
{
	char time[GT_TIME_TEXT];
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "version", VERSION);
	gt_json_str(&j, "verb", gt_hook_verb_name(ask->verb));
	gt_json_str(&j, "cluster", cluster);
	gt_json_str(&j, "provider", ask->provider->name);
	if (ask->verb != GT_HOOK_LIST)
		gt_json_str(&j, "key", ask->key);
	if (ask->verb == GT_HOOK_RELEASE)
		gt_json_str(&j, "id", ask->id);
	if (ask->verb == GT_HOOK_CREATE) {
		gt_time_text(ask->expires_ms, time);
		gt_json_str(&j, "join", ask->provider->join);
		gt_json_str(&j, "token", ask->token);
		gt_json_str(&j, "token_expires_at", time);
		gt_offer_write(ask->offer, &j, "offer");
	}
	gt_json_close(&j, '}');
}

static int refused(enum gt_hook_verb verb, const char *what, struct gt_err *err)
{
	return gt_err_set(err, EPROTO, "bad_answer", "%s: the answer %s", gt_hook_verb_name(verb),
			  what);
}

static int list_read(const struct gt_value *v, struct gt_hook_answer *a, struct gt_err *err)
{
	const struct gt_value *hosts = gt_value_at(v, "hosts"), *host;
	size_t n = gt_value_len(hosts);

	if (!hosts || gt_value_is_object(hosts) || (n == 0 && gt_value_str(hosts, "", NULL)))
		return refused(GT_HOOK_LIST, "has no list \"hosts\"", err);
	if (n > HOSTS_MAX)
		return refused(GT_HOOK_LIST, "has more than 2000 hosts", err);
	a->hosts = gt_alloc_array(n + 1, sizeof(*a->hosts));
	for (size_t i = 0; (host = gt_value_item(hosts, i)); i++) {
		const char *key = gt_value_str(host, "key", ""), *id = gt_value_str(host, "id", "");
		struct gt_hook_host *to = &a->hosts[a->n_hosts];

		if (!*key || !gt_strcopy(to->key, sizeof(to->key), key) || !gt_host_id_ok(id))
			return refused(GT_HOOK_LIST, "has a host without key or id", err);
		gt_strcopy(to->id, sizeof(to->id), id);
		a->n_hosts++;
	}
	return 0;
}

int gt_hook_answer_read(enum gt_hook_verb verb, const char *text, size_t len,
			struct gt_hook_answer *ret, struct gt_err *err)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct gt_hook_answer a = { 0 };
	struct gt_err why = { 0 };
	const char *id;
	int r = 0;

	if (len > GT_HOOK_ANSWER_MAX || gt_value_parse(text, len, &v, &why) < 0 ||
	    !gt_value_is_object(v))
		return refused(verb, "is no JSON object", err);
	if (verb == GT_HOOK_CREATE) {
		id = gt_value_str(v, "id", "");
		if (!gt_host_id_ok(id))
			return refused(verb, "has no \"id\" of 1 to 128 printable characters", err);
		gt_strcopy(a.id, sizeof(a.id), id);
	} else if (verb == GT_HOOK_LIST) {
		r = list_read(v, &a, err);
	}
	if (r < 0)
		gt_hook_answer_fini(&a);
	else
		*ret = a;
	return r;
}

void gt_hook_answer_fini(struct gt_hook_answer *a)
{
	free(a->hosts);
	*a = (struct gt_hook_answer){ 0 };
}
