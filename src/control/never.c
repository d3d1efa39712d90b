/* never.c - specifications that no node could run if it were empty. What merely does not fit now
 * waits; what can never fit would wait for ever, so it is refused when it is deployed, with what
 * would fit. */
#include "host.h"
#include "place.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/suggest.h>
#include <gantry/base/units.h>

#define WORDS_MAX 64 /* candidates for "did you mean" */

GT_PRINTF(3, 4)
static int refused(struct gt_err *err, const char *path, const char *fmt, ...)
{
	char text[400];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	gt_err_set(err, EINVAL, "invalid_spec", "%s: %s", path, text);
	gt_err_path(err, "%s", path);
	return -EINVAL;
}

/* Every node, and then one for each provider: what could be asked for fits, too. */
static const struct gt_ctl_node *node_after(const struct gt_control *c,
					    const struct gt_ctl_node *node)
{
	const struct gt_ctl_hosts *hosts = c->hosts;

	if (!node && c->nodes)
		return c->nodes;
	for (size_t i = 0; node && i < hosts->n_configured; i++)
		if (node == &hosts->providers[i].as_node)
			return i + 1 < hosts->n_configured ? &hosts->providers[i + 1].as_node
							   : NULL;
	if (node && node->hh.next)
		return node->hh.next;
	return hosts->n_configured ? &hosts->providers[0].as_node : NULL;
}

/* How many nodes like this one there may be. */
static uint32_t times(const struct gt_control *c, const struct gt_ctl_node *node)
{
	for (size_t i = 0; i < c->hosts->n_configured; i++)
		if (node == &c->hosts->providers[i].as_node)
			return (uint32_t)c->hosts->providers[i].conf.max;
	return 1;
}

/* ---- labels ---- */

static bool has_labels(const struct gt_ctl_node *node, const struct gt_spec *spec)
{
	return node->told && gt_labels_have(node->labels, node->n_labels, spec->placement.labels,
					    spec->placement.n_labels);
}

static bool any_has_labels(const struct gt_control *c, const struct gt_label *labels, size_t n)
{
	const struct gt_ctl_node *node;

	for (node = node_after(c, NULL); node; node = node_after(c, node))
		if (node->told && gt_labels_have(node->labels, node->n_labels, labels, n))
			return true;
	return false;
}

/* A value that nodes have for this key, the nearest where there is one; NULL: no node has the key.
 */
static const char *value_near(const struct gt_control *c, const struct gt_label *label)
{
	const char *words[WORDS_MAX], *near;
	const struct gt_ctl_node *node;
	size_t n = 0;

	for (node = node_after(c, NULL); node; node = node_after(c, node))
		for (size_t i = 0; i < node->n_labels && n < WORDS_MAX; i++)
			if (strcmp(node->labels[i].key, label->key) == 0)
				words[n++] = node->labels[i].value;
	near = gt_suggest(label->value, words, n);
	return near || n == 0 ? near : words[0];
}

static const char *key_near(const struct gt_control *c, const struct gt_label *label)
{
	const char *words[WORDS_MAX];
	const struct gt_ctl_node *node;
	size_t n = 0;

	for (node = node_after(c, NULL); node; node = node_after(c, node))
		for (size_t i = 0; i < node->n_labels && n < WORDS_MAX; i++)
			words[n++] = node->labels[i].key;
	return gt_suggest(label->key, words, n);
}

static int label_refused(const struct gt_control *c, const struct gt_label *label,
			 struct gt_err *err)
{
	const char *value = value_near(c, label), *key = value ? NULL : key_near(c, label);
	char path[sizeof("placement.labels.") + GT_LABEL_MAX];

	snprintf(path, sizeof(path), "placement.labels.%s", label->key);
	if (value)
		return refused(err, path, "no node has the value \"%s\"; there is \"%s\"",
			       label->value, value);
	return refused(err, path, "no node has this label%s%s%s", key ? "; did you mean \"" : "",
		       key ? key : "", key ? "\"?" : "");
}

static int check_labels(const struct gt_control *c, const struct gt_spec *spec, struct gt_err *err)
{
	const struct gt_label *labels = spec->placement.labels;
	size_t n = spec->placement.n_labels;

	for (size_t i = 0; i < n; i++)
		if (!any_has_labels(c, &labels[i], 1))
			return label_refused(c, &labels[i], err);
	if (!any_has_labels(c, labels, n))
		return refused(err, "placement.labels",
			       "there are nodes with each of these labels, and none with all");
	return 0;
}

/* ---- GPUs ---- */

/* What the nodes that have the labels offer at most, empty. */
struct offer {
	size_t gpus, of_model; /* at all, and of the models that will do */
	uint64_t most_bytes;   /* of one of these */
	uint32_t most_alike;   /* on one node: of one model and size, with enough memory */
	bool awaited;          /* a node may turn out to have any */
	const char *node;      /* which that is */
	/* Of nodes that have so many; UINT64_MAX: unknown size. `beside`: the memory of those that
	 * have the cpu, too. */
	uint64_t cpu_milli, memory_bytes, beside;
};

static bool will_do(const struct gt_gpu *gpu, const struct gt_gpu_want *want)
{
	return gt_gpu_preference(want, gpu->model) >= 0;
}

static bool alike(const struct gt_gpu *a, const struct gt_gpu *b)
{
	return a->memory_bytes == b->memory_bytes && strcmp(a->model, b->model) == 0;
}

/* How many of the node's GPUs are such as this one, which will do and has enough memory. */
static uint32_t count_alike(const struct gt_ctl_node *node, const struct gt_gpu *gpu)
{
	uint32_t n = 0;

	for (size_t i = 0; i < node->n_gpus; i++)
		n += alike(&node->gpus[i], gpu);
	return n;
}

static uint32_t offer_gpus(const struct gt_ctl_node *node, const struct gt_gpu_want *want,
			   struct offer *o)
{
	uint32_t most = 0;

	if (gt_ctl_gpus_awaited(node)) {
		o->awaited = true;
		return UINT32_MAX;
	}
	for (size_t i = 0; i < node->n_gpus; i++) {
		const struct gt_gpu *gpu = &node->gpus[i];

		o->gpus++;
		if (!will_do(gpu, want))
			continue;
		o->of_model++;
		o->most_bytes = GT_MAX(o->most_bytes, gpu->memory_bytes);
		if (gpu->memory_bytes >= want->memory_bytes)
			most = GT_MAX(most, count_alike(node, gpu));
	}
	if (most > o->most_alike) {
		o->most_alike = most;
		o->node = node->name;
	}
	return most;
}

static uint64_t room(uint64_t size, unsigned times)
{
	return size == 0 || size > UINT64_MAX / times ? UINT64_MAX : size * times;
}

static uint64_t cpu_of(const struct gt_ctl_node *node)
{
	return room(node->cpu_milli, CTL_CPU_OVERCOMMIT);
}

static uint64_t memory_of(const struct gt_ctl_node *node)
{
	return room(node->memory_bytes, CTL_MEMORY_OVERCOMMIT);
}

static struct offer offer_of(const struct gt_control *c, const struct gt_spec *spec)
{
	const struct gt_gpu_want *want = &spec->resources.gpu;
	const struct gt_ctl_node *node;
	struct offer o = { 0 };

	for (node = node_after(c, NULL); node; node = node_after(c, node)) {
		uint64_t cpu = cpu_of(node), memory = memory_of(node);

		if (!has_labels(node, spec) || offer_gpus(node, want, &o) < want->count)
			continue;
		o.cpu_milli = GT_MAX(o.cpu_milli, cpu);
		o.memory_bytes = GT_MAX(o.memory_bytes, memory);
		if (cpu >= spec->resources.cpu_milli)
			o.beside = GT_MAX(o.beside, memory);
	}
	return o;
}

/* The name of a model, or a word of one, that is near to what was asked for; else any name. */
static void model_near(const struct gt_control *c, const char *wanted, char *out, size_t size)
{
	char text[WORDS_MAX][GT_GPU_MODEL_MAX + 1], copy[GT_GPU_MODEL_MAX + 1], *at = NULL;
	const char *words[WORDS_MAX], *near;
	size_t n = 0;

	for (size_t i = 0; i < c->n_gpu_models; i++) {
		gt_strcopy(copy, sizeof(copy), c->gpu_models[i].name);
		for (char *w = strtok_r(copy, " -_/", &at); w && n < WORDS_MAX;
		     w = strtok_r(NULL, " -_/", &at), n++) {
			gt_strcopy(text[n], sizeof(text[n]), w);
			words[n] = text[n];
		}
	}
	near = gt_suggest(wanted, words, n);
	if (near)
		snprintf(out, size, "; did you mean \"%s\"?", near);
	else
		snprintf(out, size, "; there is \"%s\"",
			 c->n_gpu_models ? c->gpu_models[0].name : "");
}

static int check_gpus(const struct gt_control *c, const struct gt_gpu_want *want,
		      const struct offer *o, const char *where, struct gt_err *err)
{
	char near[GT_GPU_MODEL_MAX + 32], bytes[32], most[32];

	if (o->awaited)
		return 0;
	if (o->gpus == 0)
		return refused(err, "resources.gpu", "no node%s has a GPU", where);
	if (o->of_model == 0) {
		model_near(c, want->models[0], near, sizeof(near));
		return refused(err, "resources.gpu.models[0]", "no node%s has a GPU \"%s\"%s%s",
			       where, want->models[0],
			       want->n_models > 1 ? ", nor one of the other models" : "", near);
	}
	gt_format_bytes(want->memory_bytes, bytes, sizeof(bytes));
	gt_format_bytes(o->most_bytes, most, sizeof(most));
	if (want->memory_bytes > o->most_bytes)
		return refused(err, "resources.gpu.memory",
			       "%s is more than any such GPU has; the most is %s", bytes, most);
	if (want->count > o->most_alike)
		return refused(err, "resources.gpu.count",
			       "%u alike are more than any node%s has; the most is %u on node %s",
			       want->count, where, o->most_alike, o->node ? o->node : "");
	return 0;
}

static int check_size(const struct gt_spec *spec, const struct offer *o, struct gt_err *err)
{
	char bytes[32], most[32];

	if (spec->resources.memory_bytes > o->memory_bytes) {
		gt_format_bytes(spec->resources.memory_bytes, bytes, sizeof(bytes));
		gt_format_bytes(o->memory_bytes, most, sizeof(most));
		return refused(err, "resources.memory",
			       "%s is more than any node takes; the most is %s, %d times its size",
			       bytes, most, CTL_MEMORY_OVERCOMMIT);
	}
	if (spec->resources.cpu_milli > o->cpu_milli)
		return refused(err, "resources.cpu",
			       "%g is more than any node takes; the most is %g, %d times its size",
			       spec->resources.cpu_milli / 1000.0, (double)o->cpu_milli / 1000,
			       CTL_CPU_OVERCOMMIT);
	if (spec->resources.memory_bytes > o->beside) {
		gt_format_bytes(spec->resources.memory_bytes, bytes, sizeof(bytes));
		gt_format_bytes(o->beside, most, sizeof(most));
		return refused(err, "resources.memory",
			       "%s is more than any node takes that has cpu %g; the most of these "
			       "is %s",
			       bytes, spec->resources.cpu_milli / 1000.0, most);
	}
	return 0;
}

/* ---- gangs ---- */

/* Members that one GPU is enough for. */
static uint64_t sharers(const struct gt_gpu *gpu, const struct gt_gpu_want *want)
{
	uint64_t n = want->share_milli ? GT_GPU_WHOLE / want->share_milli : 1;

	if (want->share_milli && want->memory_bytes)
		n = GT_MIN(n, gpu->memory_bytes / want->memory_bytes);
	return n;
}

static bool first_alike(const struct gt_ctl_node *node, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (alike(&node->gpus[k], &node->gpus[i]))
			return false;
	return true;
}

/* Members that the node's GPUs are enough for; together: all with GPUs that are alike. */
static uint64_t members_by_gpus(const struct gt_ctl_node *node, const struct gt_gpu_want *want,
				bool together)
{
	uint64_t sum = 0, most = 0;

	for (size_t i = 0; i < node->n_gpus; i++) {
		const struct gt_gpu *gpu = &node->gpus[i];
		uint64_t n;

		if (!will_do(gpu, want) || gpu->memory_bytes < want->memory_bytes ||
		    !first_alike(node, i))
			continue;
		n = count_alike(node, gpu) / want->count * sharers(gpu, want);
		most = GT_MAX(most, n);
		sum += n;
	}
	return together ? most : sum;
}

/* Members that an empty node takes. */
static uint64_t members_on(const struct gt_ctl_node *node, const struct gt_spec *spec,
			   bool together)
{
	uint64_t n = GT_GANG_MAX;

	if (!has_labels(node, spec))
		return 0;
	if (spec->resources.gpu.count && !gt_ctl_gpus_awaited(node))
		n = GT_MIN(n, members_by_gpus(node, &spec->resources.gpu, together));
	if (spec->resources.cpu_milli)
		n = GT_MIN(n, cpu_of(node) / spec->resources.cpu_milli);
	if (spec->resources.memory_bytes)
		n = GT_MIN(n, memory_of(node) / spec->resources.memory_bytes);
	return n;
}

static int check_gang(const struct gt_control *c, const struct gt_spec *spec, const char *where,
		      struct gt_err *err)
{
	enum gt_gang_spread spread = gt_spec_spread(spec);
	const struct gt_ctl_node *node, *best = NULL;
	uint64_t size = spec->gang.size, most = 0, sum = 0, nodes = 0;

	for (node = node_after(c, NULL); node; node = node_after(c, node)) {
		uint64_t n = members_on(node, spec, spread == GT_GANG_NODE);

		nodes += n > 0 ? times(c, node) : 0;
		sum += n * times(c, node);
		if (n > most) {
			most = n;
			best = node;
		}
	}
	if (spread == GT_GANG_NODES && size > nodes)
		return refused(err, "gang.size",
			       "%llu members need a node each, and %llu of the nodes%s would do",
			       (unsigned long long)size, (unsigned long long)nodes, where);
	if (spread == GT_GANG_NODE && size > most)
		return refused(err, "gang.size",
			       "%llu members are more than any node%s takes; the most is %llu on "
			       "node %s",
			       (unsigned long long)size, where, (unsigned long long)most,
			       best ? best->name : "");
	if (spread == GT_GANG_ANY && size > sum)
		return refused(err, "gang.size",
			       "%llu members are more than all nodes%s take together; the most is "
			       "%llu",
			       (unsigned long long)size, where, (unsigned long long)sum);
	return 0;
}

static bool any_is_known(const struct gt_control *c)
{
	const struct gt_ctl_node *node;

	for (node = c->nodes; node; node = node->hh.next)
		if (node->told)
			return true;
	return false;
}

int gt_ctl_may_ever_fit(struct gt_control *c, const struct gt_spec *spec, struct gt_err *err)
{
	const char *where = spec->placement.n_labels ? " with these labels" : "";
	struct offer o;
	int r;

	if (!c->settled || !any_is_known(c))
		return 0;
	r = check_labels(c, spec, err);
	if (r < 0)
		return r;
	o = offer_of(c, spec);
	if (spec->resources.gpu.count > 0)
		r = check_gpus(c, &spec->resources.gpu, &o, where, err);
	if (r == 0)
		r = check_size(spec, &o, err);
	if (r == 0 && spec->gang.size > 0)
		r = check_gang(c, spec, where, err);
	return r;
}
