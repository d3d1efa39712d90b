/* pin.c - questions to a node, one after the other: each has a route of the agent's, a body, and
 * what its answer changes. This host's is asked first; another one when that one does not answer,
 * or lacks what may be there. */
#include "pin.h"

#include <stdlib.h>

#include <gantry/http/client.h>
#include <gantry/model/ref.h>
#include <gantry/wire/value.h>

#define ASK_MS    60000 /* registries may be slow; the client may leave at any time */
#define NODES_MAX 8     /* that are asked the same */

struct pin {
	struct gt_api *api;
	struct gt_request *req;
	struct gt_spec *spec;
	struct gt_http_call *call;
	const struct question *asked;
	struct gt_api_nodes nodes;
	size_t node;         /* of them: who is asked */
	struct gt_err first; /* what the first one said that refused; code 0 = none did */
	gt_pin_fn *fn;
	void *arg;
};

struct question {
	const char *path; /* of an agent */
	bool elsewhere;   /* what a node refused may be on another one */
	bool (*needed)(const struct gt_spec *spec);
	void (*body)(const struct gt_spec *spec, struct gt_buf *out);
	int (*take)(struct gt_spec *spec, const struct gt_value *answer, struct gt_err *err);
	/* Of a node that answered no; reason: what it says. */
	int (*refuse)(const struct gt_spec *spec, const char *reason, struct gt_err *err);
};

/* ---- an image of a registry ---- */

/* A digest never changes its meaning: nobody needs to be asked about it again. */
static bool image_needed(const struct gt_spec *spec)
{
	const char *text = gt_spec_ref(spec);
	struct gt_ref ref;

	if (!text || gt_ref_parse(text, &ref, NULL) < 0)
		return false;
	return ref.digest[0] == '\0' || spec->port == 0;
}

static void image_body(const struct gt_spec *spec, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "image", gt_spec_ref(spec));
	gt_json_close(&j, '}');
}

/* The tag stays for people to read; the digest decides. */
static int image_take(struct gt_spec *spec, const struct gt_value *answer, struct gt_err *err)
{
	char **text = spec->image_kind == GT_IMAGE_BUNDLE ? &spec->base : &spec->image;
	const char *digest = gt_value_str(answer, "digest", "");
	char canonical[GT_REF_TEXT_SIZE];
	struct gt_ref ref;
	int r = gt_ref_parse(*text, &ref, err);

	if (r == 0 && !gt_digest_ok(digest))
		r = gt_err_set(err, EPROTO, "unavailable", "the node's answer has no digest");
	if (r < 0)
		return r;
	gt_strcopy(ref.digest, sizeof(ref.digest), digest);
	gt_ref_format(&ref, canonical);
	free(*text);
	*text = gt_strdup(canonical);
	if (spec->port == 0 && !spec->socket)
		spec->port = (uint16_t)gt_value_u64(answer, "port", 0);
	if (spec->port == 0 && !spec->socket) {
		gt_err_set(
			err, EINVAL, "invalid_spec",
			"port: missing, and the image does not expose exactly one; write the TCP "
			"port that the process listens on");
		return gt_err_path(err, "port");
	}
	if (spec->n_command == 0 && !gt_value_bool(answer, "has_command", false)) {
		gt_err_set(err, EINVAL, "invalid_spec",
			   "command: missing, and the image has none of its own");
		return gt_err_path(err, "command");
	}
	return 0;
}

static int image_refuse(const struct gt_spec *spec, const char *reason, struct gt_err *err)
{
	const char *path = spec->image_kind == GT_IMAGE_BUNDLE ? "base" : "image";

	gt_err_set(err, EINVAL, "image_unresolved", "%s: %s", path, reason);
	return gt_err_path(err, "%s", path);
}

/* ---- the memory of a model ---- */

static bool memory_needed(const struct gt_spec *spec)
{
	return spec->resources.gpu.memory_auto;
}

static void memory_body(const struct gt_spec *spec, struct gt_buf *out)
{
	gt_spec_write(spec, out);
}

static int memory_refuse(const struct gt_spec *spec, const char *reason, struct gt_err *err)
{
	(void)spec;
	gt_err_set(err, EINVAL, "invalid_spec",
		   "resources.gpu.memory: \"auto\" can not be computed: %s", reason);
	return gt_err_path(err, "resources.gpu.memory");
}

/* From now on it is a size like any other, and says what it consists of. */
static int memory_take(struct gt_spec *spec, const struct gt_value *answer, struct gt_err *err)
{
	const struct gt_gpu_terms t = {
		.weights = gt_value_u64(answer, "weights", 0),
		.cache = gt_value_u64(answer, "cache", 0),
		.activations = gt_value_u64(answer, "activations", 0),
		.overhead = gt_value_u64(answer, "overhead", 0),
		.measured = gt_value_u64(answer, "measured", 0),
	};
	const uint64_t each[] = { t.weights, t.cache, t.activations, t.overhead, t.measured };
	uint64_t sum = 0;

	for (size_t i = 0; i < GT_LEN(each); i++) {
		if (each[i] > GT_GPU_BYTES_MAX || (sum += each[i]) > GT_GPU_BYTES_MAX)
			return memory_refuse(spec, "it is more than 1 TiB on each GPU", err);
	}
	if (sum < GT_MIB)
		return gt_err_set(err, EPROTO, "unavailable", "the node's answer has no terms");
	spec->resources.gpu.memory_auto = false;
	spec->resources.gpu.memory_bytes = sum;
	spec->resources.gpu.estimate.terms = t;
	return 0;
}

static const struct question questions[] = {
	{ "images/resolve", false, image_needed, image_body, image_take, image_refuse },
	{ "gpu/estimate", true, memory_needed, memory_body, memory_take, memory_refuse },
};

bool gt_pin_needed(const struct gt_spec *spec)
{
	for (size_t i = 0; i < GT_LEN(questions); i++)
		if (questions[i].needed(spec))
			return true;
	return false;
}

/* ---- asking ---- */

static void finish(struct pin *p, const struct gt_err *err)
{
	gt_request_on_gone(p->req, NULL, NULL);
	p->fn(err, p->arg);
	free(p);
}

static void ask_from(struct pin *p, const struct question *q);

static void on_gone(void *arg)
{
	struct pin *p = arg;
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	gt_http_cancel(p->call);
	finish(p, &err);
}

static int refuse(struct pin *p, int status, const struct gt_value *answer,
		  const struct gt_err *why, struct gt_err *err)
{
	if (status == 0)
		return gt_err_set(err, EAGAIN, "unavailable",
				  "the node that has to be asked does not answer: %s", why->text);
	if (gt_streq(gt_value_str(answer, "code", ""), "unavailable") ||
	    gt_streq(gt_value_str(answer, "code", ""), "node_unreachable"))
		return gt_err_set(err, EAGAIN, "unavailable", "%s",
				  gt_value_str(answer, "detail", "the node is stopping"));
	return p->asked->refuse(
		p->spec, gt_value_str(answer, "detail", "the node could not find it out"), err);
}

/* Is there another one to ask? What the first one said is what the client hears. */
static bool next_node(struct pin *p, int status, const struct gt_err *err)
{
	if (!p->first.code)
		p->first = *err;
	if (status != 0 && status != 503 && !p->asked->elsewhere)
		return false;
	return ++p->node < GT_MIN(p->nodes.n, (size_t)NODES_MAX);
}

static void on_answer(int status, const char *body, size_t len, const struct gt_err *why, void *arg)
{
	struct pin *p = arg;
	gt_auto(value) struct gt_value *answer = NULL;
	struct gt_err err = { 0 };
	int r;

	p->call = NULL;
	if (body && gt_value_parse(body, len, &answer, NULL) < 0)
		answer = NULL;
	if (status == 200)
		r = p->asked->take(p->spec, answer, &err);
	else
		r = refuse(p, status, answer, why, &err);
	if (r < 0 && next_node(p, status, &err))
		ask_from(p, p->asked);
	else if (r < 0)
		finish(p, &p->first);
	else
		ask_from(p, p->asked + 1);
}

static void ask_from(struct pin *p, const struct question *q)
{
	gt_auto(buf) struct gt_buf body = { 0 };
	gt_auto(free) char *url = NULL;
	struct gt_http_out out = { .method = "POST",
				   .content_type = GT_MEDIA_JSON,
				   .timeout_ms = ASK_MS,
				   .on_done = on_answer,
				   .arg = p };
	struct gt_err err = { 0 };

	while (q < questions + GT_LEN(questions) && !q->needed(p->spec))
		q++;
	if (q == questions + GT_LEN(questions)) {
		finish(p, NULL);
		return;
	}
	if (p->asked != q) {
		p->node = 0;
		p->first.code = 0;
	}
	p->asked = q;
	q->body(p->spec, &body);
	out.url = url = gt_api_agent_url(p->api, p->nodes.name[p->node], q->path, &out.unix_path);
	out.body = gt_buf_str(&body);
	out.body_len = body.len;
	if (gt_http_start(p->api->config.client, &out, &p->call, &err) < 0)
		finish(p, &err);
}

void gt_pin(struct gt_api *api, struct gt_request *req, struct gt_spec *spec, gt_pin_fn *fn,
	    void *arg)
{
	struct pin *p = gt_alloc(sizeof(*p));

	*p = (struct pin){ .api = api, .req = req, .spec = spec, .fn = fn, .arg = arg };
	gt_api_nodes_there(api, &p->nodes);
	gt_request_on_gone(req, on_gone, p);
	ask_from(p, questions);
}
