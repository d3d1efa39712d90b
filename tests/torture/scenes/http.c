/* http.c - certificates, servers, clients, fetches. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/http/client.h>
#include <gantry/http/fetch.h>
#include <gantry/http/pki.h>
#include <gantry/http/server.h>

#include "../../unit/http/fake_server.h"
#include "../torture.h"

#define NOW_MS  1700000000000ULL
#define WEEK_MS (7ULL * 86400 * 1000)

/* ---- certificates ---- */

static int authority(struct world *w, struct gt_err *err)
{
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_pki_ca *ca = NULL;
	int r = gt_pki_ca_new(NOW_MS, &key, &cert, err);

	(void)w;
	if (r == 0)
		r = gt_pki_ca_open(gt_buf_str(&key), gt_buf_str(&cert), &ca, err);
	gt_pki_ca_free(ca);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	return r;
}

static struct gt_buf ca_key, ca_cert;
static struct gt_pki_ca *ca;

static void with_ca(struct world *w)
{
	struct gt_err err;

	(void)w;
	if (gt_pki_ca_new(NOW_MS, &ca_key, &ca_cert, &err) < 0 ||
	    gt_pki_ca_open(gt_buf_str(&ca_key), gt_buf_str(&ca_cert), &ca, &err) < 0)
		broken("%s", err.text);
}

static void without_ca(struct world *w)
{
	(void)w;
	gt_pki_ca_free(ca);
	gt_buf_wipe(&ca_key);
	gt_buf_fini(&ca_cert);
}

/* A certificate is asked for and given: what a join, and each renewal, are. */
static int certify(struct world *w, struct gt_err *err)
{
	struct gt_buf key = { 0 }, csr = { 0 }, cert = { 0 };
	struct gt_pki_id id = { 0 };
	int r = gt_pki_key_new(&key, err);

	if (r == 0)
		r = gt_pki_request(gt_buf_str(&key), &csr, err);
	if (r == 0)
		r = gt_pki_sign(ca, csr.data, csr.len, GT_PKI_NODE, "n-1", NOW_MS, WEEK_MS, &cert,
				err);
	if (r == 0)
		r = gt_pki_identity_pem(cert.data, cert.len, &id, err);
	if (r == 0 && !gt_streq(id.name, "n-1"))
		wrong(w, "it names %s", id.name);
	gt_buf_wipe(&key);
	gt_buf_fini(&csr);
	gt_buf_fini(&cert);
	return r;
}

static int join_token(struct world *w, struct gt_err *err)
{
	char token[GT_PKI_TOKEN_SIZE], pin[GT_PKI_PIN_SIZE];
	int r = gt_pki_token_new(gt_pki_ca_pin(ca), token, err);

	if (r == 0)
		r = gt_pki_token_pin(token, pin, err);
	if (r == 0 && !gt_streq(pin, gt_pki_ca_pin(ca)))
		wrong(w, "another pin");
	return r;
}

/* ---- a server and a client on one loop ---- */

static void on_hello(struct gt_request *req, void *app)
{
	struct gt_buf body = { 0 };

	(void)app;
	gt_buf_adds(&body, "hello");
	gt_request_reply(req, 200, "text/plain", &body);
}

static int admit(struct gt_request *req, enum gt_role role, void *app, struct gt_err *err)
{
	(void)req;
	(void)role;
	(void)app;
	(void)err;
	return 0;
}

static void refuse(struct gt_request *req, const struct gt_err *err, void *app)
{
	struct gt_buf body = { 0 };

	(void)app;
	gt_buf_adds(&body, err->text);
	gt_request_reply(req, 500, "text/plain", &body);
}

static const struct gt_http_route routes[] = {
	{ GT_GET, "/hello", GT_ROLE_NONE, 0, on_hello, "hello", "" },
};

static int listener;

static void listening(struct world *w)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "http.sock" };

	(void)w;
	unlink(at.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	MUST(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 16) == 0);
}

static void deaf(struct world *w)
{
	(void)w;
	gt_close(listener);
}

static int serve_nothing(struct world *w, struct gt_err *err)
{
	struct gt_http_config config = { .listen_fd = listener,
					 .routes = routes,
					 .n_routes = 1,
					 .hooks = { admit, refuse, NULL, NULL } };
	struct gt_http_server *s = NULL;
	struct gt_loop *l = NULL;
	int r = gt_loop_new(&l, err);

	(void)w;
	if (r == 0)
		r = gt_http_server_new(l, &config, &s, err);
	gt_http_server_free(s);
	gt_loop_free(l);
	return r;
}

struct asked {
	bool done;
	int status;
	bool right;
	struct gt_err err;
};

static void on_done(int status, const char *body, size_t len, const struct gt_err *err, void *arg)
{
	struct asked *a = arg;

	a->done = true;
	a->status = status;
	a->right = len == 5 && memcmp(body, "hello", 5) == 0;
	if (err)
		a->err = *err;
}

static int exchange(struct gt_loop *l, struct world *w, struct gt_err *err)
{
	struct asked asked = { 0 };
	struct gt_http_out out = { .method = "GET",
				   .unix_path = "http.sock",
				   .url = "http://control/hello",
				   .timeout_ms = 3000,
				   .on_done = on_done,
				   .arg = &asked };
	struct gt_http_client *c = NULL;
	struct gt_http_call *call;
	int r = gt_http_client_new(l, &c, err);

	if (r == 0)
		r = gt_http_start(c, &out, &call, err);
	while (r == 0 && !asked.done)
		r = gt_loop_step(l, 1000, err);
	gt_http_client_free(c);
	if (r < 0)
		return r;
	if (asked.status == 0) {
		*err = asked.err;
		return err->code ? -err->code : -EIO;
	}
	if (asked.status == 200 && !asked.right)
		wrong(w, "another body");
	return asked.status == 200 ? 0
				   : gt_err_set(err, EIO, "unavailable", "status %d", asked.status);
}

static int call_once(struct world *w, struct gt_err *err)
{
	struct gt_http_config config = { .listen_fd = listener,
					 .routes = routes,
					 .n_routes = 1,
					 .hooks = { admit, refuse, NULL, NULL } };
	struct gt_http_server *s = NULL;
	struct gt_loop *l = NULL;
	int r = gt_loop_new(&l, err);

	if (r == 0)
		r = gt_http_server_new(l, &config, &s, err);
	if (r == 0)
		r = exchange(l, w, err);
	gt_http_server_free(s);
	gt_loop_free(l);
	return r;
}

/* ---- a fetch from a server that is another process ---- */

static pid_t server;
static uint16_t port;

static bool on_request(struct fake_request *req, void *arg)
{
	(void)arg;
	return fake_reply(req, 200, "Content-Type: text/plain\r\n", "hello", 5);
}

static void with_server(struct world *w)
{
	int tell[2];

	(void)w;
	MUST(pipe(tell) == 0);
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		port = fake_server_port(fake_server_start(on_request, NULL));
		MUST(write(tell[1], &port, sizeof(port)) == sizeof(port));
		for (;;)
			pause();
	}
	MUST(read(tell[0], &port, sizeof(port)) == sizeof(port));
	close(tell[0]);
	close(tell[1]);
}

static void without_server(struct world *w)
{
	(void)w;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

static int take(const void *data, size_t len, void *arg, struct gt_err *err)
{
	(void)err;
	return gt_buf_add(arg, data, len);
}

static int fetch(struct world *w, struct gt_err *err)
{
	gt_auto(fetcher) struct gt_fetcher *f = NULL;
	gt_auto(buf) struct gt_buf got = { 0 };
	char url[64];
	struct gt_fetch what = { .url = url, .on_data = take, .arg = &got, .whole_ms = 5000 };
	int r = gt_fetcher_new(&(struct gt_fetcher_config){ .connect_ms = 2000 }, &f, err);

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", port);
	if (r == 0)
		r = gt_fetch(f, &what, err);
	if (r == 0 && !gt_streq(gt_buf_str(&got), "hello"))
		wrong(w, "it said all came and it was %zu bytes", got.len);
	return r;
}

/* ---- the loop ---- */

static void nothing(void *arg)
{
	*(bool *)arg = true;
}

static void on_signal(int signo, void *arg)
{
	(void)signo;
	(void)arg;
}

static int loop_all(struct world *w, struct gt_err *err)
{
	struct gt_timer timer = { 0 };
	struct gt_wake *wake = NULL;
	struct gt_loop *l = NULL;
	bool rung = false, due = false;
	sigset_t mask, before;
	int r;

	sigprocmask(SIG_SETMASK, NULL, &before);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	r = gt_loop_new(&l, err);
	if (r == 0)
		r = gt_loop_signals(l, &mask, on_signal, NULL, err);
	if (r == 0)
		r = gt_wake_new(l, nothing, &rung, &wake, err);
	if (r == 0) {
		gt_timer_set(l, &timer, 1, nothing, &due);
		gt_wake_ring(wake);
	}
	for (int i = 0; r == 0 && !(rung && due); i++) {
		r = gt_loop_step(l, 1000, err);
		if (i > 5) {
			wrong(w, "rung %d due %d", rung, due);
			break;
		}
	}
	if (l)
		gt_timer_clear(l, &timer);
	gt_wake_free(wake);
	gt_loop_free(l);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

const struct scene http_scenes[] = {
	{ "loop.all", 0, NULL, loop_all, NULL, NULL, NULL },
	{ "pki.authority", WARM, NULL, authority, NULL, NULL, NULL },
	{ "pki.certify", WARM, with_ca, certify, NULL, without_ca, NULL },
	{ "pki.token", WARM, with_ca, join_token, NULL, without_ca, NULL },
	{ "http.server", KEEPS | WARM, listening, serve_nothing, NULL, deaf, NULL },
	{ "http.call", KEEPS | WARM, listening, call_once, NULL, deaf, NULL },
	{ "http.fetch", WARM, with_server, fetch, NULL, without_server, NULL },
};
SCENES_OF(http);
