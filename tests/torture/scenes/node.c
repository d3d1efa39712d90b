/* node.c - a node's own things: processes, networks, weights, GPUs, logs, and its identity in the
 * cluster. */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/gpu/gpu.h>
#include <gantry/hook/hook.h>
#include <gantry/http/pki.h>
#include <gantry/net/net.h>
#include <gantry/os/child.h>
#include <gantry/os/os.h>
#include <gantry/weights/process.h>
#include <gantry/weights/store.h>

#include "../../../src/agent/logs.h"
#include "../../../src/uplink/identity.h"
#include "../torture.h"

#define NOW_MS  1700000000000ULL
#define WEEK_MS (7ULL * 86400 * 1000)

/* ---- processes ---- */

static void child_main(void *arg)
{
	(void)arg;
	_exit(write(GT_OS_CHILD_FD, "x", 1) == 1 ? 0 : 1);
}

static int child(struct world *w, struct gt_err *err)
{
	int tell[2] = { -1, -1 }, pidfd = -1, status = 0, r;
	char c = 0;
	pid_t pid;

	if (pipe2(tell, O_CLOEXEC) < 0)
		return gt_err_errno(err, errno, "pipe");
	r = gt_os_child(&tell[1], 1, child_main, NULL, &pid, &pidfd, err);
	if (r == 0) {
		waitpid(pid, &status, 0);
		gt_close(pidfd);
		if (status == 0 && read(tell[0], &c, 1) != 1)
			wrong(w, "it had no descriptor");
	}
	gt_close(tell[0]);
	gt_close(tell[1]);
	if (r == 0 && status)
		return gt_err_set(err, ECHILD, "x", "the child became unfit");
	return r;
}

static int namespaces(struct world *w, struct gt_err *err)
{
	gt_auto(fd) int userns = -EBADF, netns = -EBADF, sock = -EBADF, memfd = -EBADF;
	int r = gt_os_userns_new(200000, 65536, &userns, err);

	(void)w;
	if (r == 0)
		r = gt_os_ns_open(getpid(), "net", &netns, err);
	if (r == 0)
		r = gt_os_socket_in(netns, netns, &sock, err);
	if (r == 0)
		r = gt_os_memfd("x", "abc", 3, &memfd, err);
	return r;
}

/* ---- the network ---- */

#define NET_NAME "gantry-0123456789abcdef"

static void own_network(struct world *w)
{
	(void)w;
	MUST(unshare(CLONE_NEWNET) == 0);
}

static int lease(struct world *w, struct gt_err *err)
{
	static const struct gt_net_config config = { .name = NET_NAME, .set_forwarding = true };
	struct gt_net_lease l;
	struct gt_net *net = NULL;
	struct gt_err ignored;
	int r = gt_net_new(&config, &net, err);

	if (r == 0)
		r = gt_net_lease(net, &l, err);
	if (r == 0)
		r = gt_net_group(net, "g", &l.slot, 1, err);
	if (r == 0)
		gt_net_release(net, l.slot);
	gt_net_free(net);
	if (r == 0)
		r = gt_net_cleanup(NET_NAME, err);
	else if (gt_net_cleanup(NET_NAME, &ignored) < 0)
		wrong(w, "its table can not be removed: %s", ignored.text);
	return r;
}

/* ---- weights ---- */

static void with_weights(struct world *w)
{
	static char data[300000];

	(void)w;
	MUST(mkdir("model", 0755) == 0 || errno == EEXIST);
	memset(data, 'w', sizeof(data));
	put_file("model/a.safetensors", data, sizeof(data));
	put_file("model/b.safetensors", data, 100);
	MUST(mkdir("store", 0755) == 0 || errno == EEXIST);
}

static bool count_one(const struct gt_weights_found *found, void *arg)
{
	(void)found;
	++*(unsigned *)arg;
	return true;
}

static int scan(struct world *w, struct gt_err *err)
{
	gt_auto(fd) int root = -EBADF;
	unsigned n = 0;
	int r = gt_os_open_dir(AT_FDCWD, "model", &root, err);

	if (r == 0)
		r = gt_weights_scan(root, "*.safetensors", count_one, &n, err);
	if (r == 0 && n == 0) /* one that the file system refuses is passed over */
		wrong(w, "no file");
	return r;
}

/* Until its last word, or its end; 0 or what it said. */
static int hear_out(struct gt_weights_process *p, unsigned *found, struct gt_err *err)
{
	static struct gt_weights_word word;
	int r = 0, status = 0;

	for (;;) {
		struct pollfd ready = { p->sock, POLLIN, 0 };
		size_t len, n = 0;
		int fd = -EBADF;

		if (poll(&ready, 1, 10000) != 1) {
			r = gt_err_set(err, ETIMEDOUT, "x", "no word");
			break;
		}
		r = gt_os_recv(p->sock, &word, sizeof(word), &len, &fd, 1, &n, err);
		if (n)
			gt_close(fd);
		if (r < 0 && r != -EAGAIN)
			break;
		if (r == 0 && word.type == GT_WEIGHTS_FOUND)
			++*found;
		if (r == 0 && word.type == GT_WEIGHTS_END) {
			if (word.code)
				r = gt_err_set(err, word.code, word.slug[0] ? word.slug : "x",
					       "it says %d", word.code);
			break;
		}
	}
	kill(p->pid, SIGKILL);
	waitpid(p->pid, &status, 0);
	gt_close(p->pidfd);
	gt_close(p->sock);
	if (r == -ECONNRESET)
		gt_err_set(err, ECONNRESET, "x", "it died");
	return r;
}

static const struct gt_weights_home home = { .uid = 65534, .gid = 65534 };

static int scout(struct world *w, struct gt_err *err)
{
	struct gt_weights_process p;
	gt_auto(fd) int root = -EBADF;
	struct gt_weights_place place = { .pattern = "*.safetensors" };
	unsigned found = 0;
	int r = gt_os_open_dir(AT_FDCWD, "model", &root, err);

	(void)w;
	place.root = root;
	if (r == 0)
		r = gt_weights_scout(&home, &place, 1, &p, err);
	/* A place that the file system refuses is passed over, as an empty one is. */
	if (r == 0)
		r = hear_out(&p, &found, err);
	return r;
}

static int prefetch(struct world *w, struct gt_err *err)
{
	struct gt_weights_process p;
	unsigned found = 0;
	gt_auto(fd) int from = open("model/a.safetensors", O_RDONLY | O_CLOEXEC);
	int r;

	(void)w;
	if (from < 0)
		return gt_err_errno(err, errno, "model");
	r = gt_weights_reader(&home, from, -1, 300000, &p, err);
	return r < 0 ? r : hear_out(&p, &found, err);
}

static int weights_store(struct world *w, struct gt_err *err)
{
	static uint64_t ino;
	struct gt_weights_id id = {
		.dev = 1, .ino = ++ino, .size = 3000, .mode = 0640, .uid = 65534, .gid = 65534
	};
	char name[GT_WEIGHTS_NAME_SIZE];
	struct gt_weights_store *s = NULL;
	struct gt_weights_copy *c = NULL;
	gt_auto(fd) int fd = -EBADF, again = -EBADF;
	int dir = -EBADF, r = gt_os_open_dir(AT_FDCWD, "store", &dir, err);

	if (r == 0)
		r = gt_weights_store_open_at(dir, 64 * GT_MIB, &s, err);
	if (r == 0)
		r = gt_weights_store_add(s, &id, &c, &fd, err);
	if (r == 0) {
		r = ftruncate(fd, 3000) < 0 ? gt_err_errno(err, errno, "fill")
					    : gt_weights_store_seal(s, c, &id, err);
		if (r < 0)
			gt_weights_store_drop(s, c);
	}
	gt_weights_id_name(&id, name);
	if (r == 0 && gt_weights_store_find(s, name) != c)
		wrong(w, "it is not found");
	if (r == 0)
		r = gt_weights_copy_open(s, c, &again, err);
	if (r == 0)
		gt_weights_store_unpin(s, c);
	gt_weights_store_close(s);
	return r;
}

static int weights_mount(struct world *w, struct gt_err *err)
{
	int r = gt_weights_store_mount(".", 64 * GT_MIB, err);
	struct gt_err ignored;

	if (r == 0)
		r = gt_weights_store_unmount(".", err);
	if (r < 0 && gt_weights_store_unmount(".", &ignored) < 0)
		wrong(w, "it can not be unmounted: %s", ignored.text);
	return r;
}

static void with_agent_dir(struct world *w)
{
	(void)w;
	MUST(mkdir("agent", 0700) == 0 || errno == EEXIST);
}

/* ---- GPUs ---- */

static int gpud(struct world *w, struct gt_err *err)
{
	struct gt_gpus_config config = { .gpus = "sim:2x8GiB:H100",
					 .node = "n1",
					 .helper = "/proc/self/exe",
					 .await_ms = 5000 };
	const struct gt_gpu *list;
	struct gt_loop *l = NULL;
	struct gt_gpus *g = NULL;
	int r = gt_loop_new(&l, err);

	if (r == 0)
		r = gt_gpus_open(l, &config, &g, err);
	if (r == 0 && gt_gpus_known(g) && gt_gpus_list(g, &list) != 2)
		wrong(w, "not both GPUs");
	gt_gpus_close(g);
	gt_loop_free(l);
	return r;
}

/* ---- a provider's hook ---- */

static void with_hook(struct world *w)
{
	static const char text[] = "#!/bin/sh\ncat > /dev/null\necho '{\"id\": \"i-1\"}'\n";

	(void)w;
	put_file("hook", text, sizeof(text) - 1);
	MUST(chmod("hook", 0700) == 0);
}

struct answered {
	bool done;
	struct gt_err err;
	char id[GT_HOST_ID_MAX + 1];
};

static void on_answer(const struct gt_err *err, const struct gt_hook_answer *answer, void *arg)
{
	struct answered *a = arg;

	a->done = true;
	if (err)
		a->err = *err;
	if (answer)
		gt_strcopy(a->id, sizeof(a->id), answer->id);
}

static int hook(struct world *w, struct gt_err *err)
{
	static const struct gt_offer offer;
	static const struct gt_webhook_keys keys = { .at = { { .text = "k" } }, .n = 1 };
	struct gt_provider p = { .name = "p", .timeout_ms = 5000, .join = "https://a:1" };
	struct gt_hook_ask ask = { .verb = GT_HOOK_CREATE,
				   .provider = &p,
				   .offer = &offer,
				   .key = "p-k",
				   .token = "gtj_t" };
	struct gt_hooks_config config = { .keys = &keys, .cluster = "c" };
	struct answered a = { 0 };
	struct gt_loop *l = NULL;
	struct gt_http_client *client = NULL;
	struct gt_hooks *hooks = NULL;
	int r = gt_loop_new(&l, err);

	snprintf(p.exec, sizeof(p.exec), "%s/hook", w->dir);
	if (r == 0)
		r = gt_http_client_new(l, &client, err);
	config.loop = l;
	config.client = client;
	if (r == 0) {
		hooks = gt_hooks_new(&config);
		gt_hooks_ask(hooks, &ask, on_answer, &a);
	}
	while (r == 0 && !a.done)
		r = gt_loop_step(l, 1000, err);
	gt_hooks_free(hooks);
	gt_http_client_free(client);
	gt_loop_free(l);
	if (r == 0 && a.err.code) {
		*err = a.err;
		return -err->code;
	}
	if (r == 0 && !gt_streq(a.id, "i-1"))
		wrong(w, "it was answered \"%s\"", a.id);
	return r;
}

/* ---- logs ---- */

static int logs(struct world *w, struct gt_err *err)
{
	struct log log = { .function = "f",
			   .replica = "01AAAAAAAAAAAAAAAAAAAAAAAA",
			   .revision = 1,
			   .max_bytes = GT_MIB };
	int in[LOG_STREAM_N] = { -1, -1 }, out[LOG_STREAM_N] = { -1, -1 };
	struct gt_loop *l = NULL;
	struct logs *all = NULL;
	gt_auto(free) char *tail = NULL;
	int r = gt_loop_new(&l, err), p[2];

	if (r == 0)
		r = gt_logs_new(l, w->dir, &all, err);
	for (int i = 0; r == 0 && i < LOG_STREAM_N; i++) {
		if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0) {
			r = gt_err_errno(err, errno, "pipe");
			break;
		}
		out[i] = p[0];
		in[i] = p[1];
	}
	if (r == 0) {
		r = gt_log_open(all, &log, out, err);
		out[0] = out[1] = -1; /* taken */
		if (r == 0) {
			MUST(write(in[0], "hello\n", 6) == 6);
			gt_log_drain(&log);
			tail = gt_log_tail(&log);
			if (!gt_streq(tail, "hello"))
				wrong(w, "the log's end is \"%s\"", tail ? tail : "");
		}
		gt_log_close(&log);
	}
	for (int i = 0; i < LOG_STREAM_N; i++) {
		gt_close(in[i]);
		gt_close(out[i]);
	}
	gt_logs_free(all);
	gt_loop_free(l);
	return r;
}

/* ---- who it is ---- */

static struct gt_pki_ca *ca;

static void cluster(struct world *w)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err;

	(void)w;
	MUST(mkdir("link", 0700) == 0 || errno == EEXIST);
	if (gt_pki_ca_new(NOW_MS, &key, &cert, &err) < 0 ||
	    gt_pki_ca_open(gt_buf_str(&key), gt_buf_str(&cert), &ca, &err) < 0)
		broken("%s", err.text);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
}

static void no_cluster(struct world *w)
{
	(void)w;
	gt_pki_ca_free(ca);
}

static int sign(struct gt_buf *key, uint64_t now_ms, struct gt_buf *cert, struct gt_err *err)
{
	gt_auto(buf) struct gt_buf csr = { 0 };
	int r = gt_pki_request(gt_buf_str(key), &csr, err);

	return r < 0 ? r
		     : gt_pki_sign(ca, csr.data, csr.len, GT_PKI_NODE, "n-1", now_ms, WEEK_MS, cert,
				   err);
}

/* It joins, loads what it wrote, and renews. */
static int identity(struct world *w, struct gt_err *err)
{
	struct gt_uplink_joined joined = { .url = "https://a:1", .node = "n-1" };
	struct gt_buf key = { 0 }, cert = { 0 }, next = { 0 };
	struct identity *i = NULL;
	int r = identity_key("link", &key, err);

	gt_strcopy(joined.ca_pin, sizeof(joined.ca_pin), gt_pki_ca_pin(ca));
	if (r == 0)
		r = sign(&key, NOW_MS, &cert, err);
	if (r == 0)
		r = identity_joined("link", &joined, gt_buf_str(&cert), gt_pki_ca_pem(ca), err);
	if (r == 0)
		r = identity_load("link", &i, err);
	if (r == 0)
		r = sign(&key, NOW_MS + WEEK_MS / 2, &next, err);
	if (r == 0)
		r = identity_renew(i, gt_buf_str(&next), err);
	if (r == 0 && i->id.not_after_ms < NOW_MS + WEEK_MS)
		wrong(w, "it was renewed, and is the old one");
	identity_free(i);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	gt_buf_fini(&next);
	return r;
}

/* Whole or not there: what is half written must not keep it from starting. */
static void identity_whole(struct world *w)
{
	struct identity *i = NULL;
	struct gt_err err;

	if (identity_load("link", &i, &err) < 0)
		wrong(w, "it joined and can not be loaded: %s", err.text);
	identity_free(i);
	if (identity_drop("link", &err) < 0)
		broken("%s", err.text);
}

const struct scene node_scenes[] = {
	{ "os.child", 0, NULL, child, NULL, NULL, NULL },
	{ "os.namespaces", ROOT, NULL, namespaces, NULL, NULL, NULL },
	{ "net.lease", ROOT, own_network, lease, NULL, NULL, NULL },
	{ "weights.scan", 0, with_weights, scan, NULL, NULL, NULL },
	{ "weights.scout", ROOT, with_weights, scout, NULL, NULL, NULL },
	{ "weights.prefetch", ROOT, with_weights, prefetch, NULL, NULL, NULL },
	{ "weights.store", ROOT | KEEPS, with_weights, weights_store, NULL, NULL, NULL },
	{ "weights.mount", ROOT | KEEPS, with_agent_dir, weights_mount, NULL, NULL, NULL },
	{ "gpu.gpud", 0, NULL, gpud, NULL, NULL, NULL },
	{ "hook.exec", WARM, with_hook, hook, NULL, NULL, NULL },
	{ "agent.logs", KEEPS, with_agent_dir, logs, NULL, NULL, NULL },
	{ "uplink.identity", KEEPS | WARM, cluster, identity, identity_whole, no_cluster, NULL },
};
SCENES_OF(node);
