/* estimate_serve.c - POST /link/v1/gpu/estimate: what a specification with "memory": "auto" needs
 * on each GPU, computed from the model's files as its container would see them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/gpu/estimate.h>
#include <gantry/os/os.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "peaks.h"

#define AT_ONCE   4
#define ANSWER_MS 30000 /* headers alone are read: longer is a disk that does not answer */

struct estimate {
	struct agent *agent;
	struct estimate *prev, *next;
	struct gt_request *req;
	struct gt_spec *spec;
	struct gt_watch *watch;
	struct gt_timer deadline;
	int pidfd, socket;
};

static void estimate_free(struct estimate *e)
{
	struct agent *a = e->agent;

	gt_request_on_gone(e->req, NULL, NULL);
	gt_timer_clear(a->loop, &e->deadline);
	gt_watch_close(e->watch);
	gt_close(e->socket);
	if (e->pidfd >= 0) {
		gt_os_pidfd_signal(e->pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)e->pidfd, &(siginfo_t){ 0 }, WEXITED);
		gt_close(e->pidfd);
	}
	DL_DELETE(a->estimates, e);
	gt_spec_free(e->spec);
	free(e);
}

static void refuse(struct estimate *e, const struct gt_err *err)
{
	struct gt_request *req = e->req;
	struct agent *a = e->agent;

	estimate_free(e);
	gt_agent_refuse(req, err, a);
}

/* ---- the answer ---- */

/* What the model was seen to need beyond that. Whoever states the overhead has measured it. */
static uint64_t measured(const struct estimate *e, const struct gt_gpu_terms *t)
{
	uint64_t sum = gt_gpu_terms_sum(t), need;
	char key[GT_SHA256_HEX_SIZE];

	if (e->spec->resources.gpu.estimate.overhead_bytes)
		return 0;
	gt_peaks_key(e->spec, t->weights, key);
	need = gt_peaks_need(e->agent->peaks, key);
	return need > sum ? need - sum : 0;
}

static void reply(struct estimate *e, const struct gt_estimate_answer *answer)
{
	const struct gt_gpu_terms *t = &answer->vram.terms;
	gt_auto(buf) struct gt_buf body = { 0 };
	struct gt_request *req = e->req;
	struct gt_json j;

	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "architecture", answer->arch);
	gt_json_u64(&j, "weights", t->weights);
	gt_json_u64(&j, "cache", t->cache);
	gt_json_u64(&j, "activations", t->activations);
	gt_json_u64(&j, "overhead", t->overhead);
	gt_json_u64(&j, "measured", measured(e, t));
	gt_json_close(&j, '}');
	estimate_free(e);
	gt_request_reply(req, 200, "application/json", &body);
}

static void on_answer(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_estimate_answer answer;
	struct estimate *e = arg;
	struct gt_err err = { 0 };
	size_t len = 0;
	int r = gt_os_recv(e->socket, &answer, sizeof(answer), &len, NULL, 0, NULL, NULL);

	(void)w;
	(void)events;
	if (r == -EAGAIN)
		return;
	if (r < 0 || len != sizeof(answer)) {
		gt_err_set(&err, EINVAL, "invalid_spec",
			   "reading the model's files took more memory or time than it may");
		refuse(e, &err);
	} else if (answer.code) {
		answer.text[sizeof(answer.text) - 1] = '\0';
		gt_err_set(&err, EINVAL, "invalid_spec", "%s", answer.text);
		refuse(e, &err);
	} else {
		reply(e, &answer);
	}
}

static void on_late(void *arg)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, EAGAIN, "unavailable", "the disk with the model's files does not answer");
	refuse(arg, &err);
}

static void on_gone(void *arg)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the client left");
	refuse(arg, &err);
}

void gt_estimates_drain(struct agent *a)
{
	struct gt_err err = { 0 };

	gt_err_set(&err, ECANCELED, "unavailable", "the daemon is stopping");
	while (a->estimates)
		refuse(a->estimates, &err);
}

/* ---- the order ---- */

/* Where the model is: the directory of its weights, or the one file that is named. A volume that is
 * a file is looked up in its directory. */
static int place_open(struct agent *a, const struct gt_spec *spec, int *ret_root, char **ret_path,
		      struct gt_err *err)
{
	const char *root, *rest;
	gt_auto(fd) int fd = -EBADF;
	gt_auto(free) char *path = NULL;
	struct stat st;

	gt_spec_weights_at(spec, 0, &root, &rest);
	int r = gt_runtime_path_open(a->rt, root, &fd, err);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "%s", root);
	if (S_ISDIR(st.st_mode)) {
		const char *slash = strrchr(rest, '/');
		bool one = rest[strcspn(rest, "*?[")] == '\0' && spec->weights.n_paths == 1;

		path = one     ? gt_strdup(*rest ? rest : ".")
		       : slash ? gt_strndup(rest, (size_t)(slash - rest))
			       : gt_strdup(".");
	} else {
		char real[GT_TEXT_MAX + 1], *slash;

		r = gt_os_fd_path(fd, real, sizeof(real), err);
		if (r < 0)
			return r;
		slash = strrchr(real, '/');
		path = gt_strdup(slash + 1);
		slash[slash == real] = '\0';
		fd = gt_close(fd);
		r = gt_os_path_open(real, &fd, err);
	}
	if (r == 0) {
		*ret_root = gt_steal_fd(&fd);
		*ret_path = gt_steal(&path);
	}
	return r;
}

static int start(struct estimate *e, struct gt_err *err)
{
	const struct gt_spec *spec = e->spec;
	const struct gt_gpu_want *gpu = &spec->resources.gpu;
	gt_auto(fd) int root = -EBADF;
	gt_auto(free) char *path = NULL;
	struct agent *a = e->agent;
	struct gt_estimate_order order = {
		.parallel = gpu->count,
		.params = { .context = gpu->estimate.context,
			    .sequences = gpu->estimate.sequences,
			    .kv_bits = gt_kv_type_bits(gpu->estimate.kv_type),
			    .overhead_bytes = gpu->estimate.overhead_bytes },
		.uid = a->reader_uid,
		.gid = a->reader_gid,
	};
	int r = place_open(a, spec, &root, &path, err);

	if (r < 0)
		return r;
	order.root_fd = root;
	order.path = path;
	r = gt_estimate_start(&order, &e->pidfd, &e->socket, err);
	if (r == 0)
		r = gt_loop_watch(a->loop, e->socket, GT_EV_READ, on_answer, e, &e->watch, err);
	return r;
}

static int read_order(struct gt_request *req, struct gt_spec **ret, struct gt_err *err)
{
	const struct gt_buf *body = gt_request_body(req);
	gt_auto(spec) struct gt_spec *spec = NULL;
	int r = gt_spec_read(body->data ? body->data : "", body->len, &spec, err);

	if (r == 0 && !spec->resources.gpu.memory_auto)
		r = gt_err_set(err, EINVAL, "invalid_spec", "there is nothing to estimate");
	if (r == 0)
		*ret = gt_steal(&spec);
	return r;
}

void gt_estimate_serve(struct gt_request *req, void *app)
{
	gt_auto(spec) struct gt_spec *spec = NULL;
	struct agent *a = app;
	struct estimate *e;
	struct gt_err err = { 0 };
	int n;

	DL_COUNT(a->estimates, e, n);
	if (n >= AT_ONCE)
		gt_err_set(&err, EAGAIN, "unavailable", "%d models are being read; try again", n);
	if (n >= AT_ONCE || read_order(req, &spec, &err) < 0) {
		gt_agent_refuse(req, &err, a);
		return;
	}
	e = gt_alloc(sizeof(*e));
	*e = (struct estimate){ .agent = a, .req = req, .pidfd = -EBADF, .socket = -EBADF };
	e->spec = gt_steal(&spec);
	DL_APPEND(a->estimates, e);
	if (start(e, &err) < 0) {
		/* Of a path that is not there, or not allowed: a mistake in the specification. */
		gt_strcopy(err.slug, sizeof(err.slug), "invalid_spec");
		refuse(e, &err);
		return;
	}
	gt_timer_set(a->loop, &e->deadline, ANSWER_MS, on_late, e);
	gt_request_on_gone(req, on_gone, e);
}
