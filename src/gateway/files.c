/* files.c - files that arrive as descriptors, opened by the supervisor. */
#include "files.h"

#include <stdlib.h>

#include <gantry/os/os.h>

#include "access_log.h"
#include "tls.h"

/* A message is a set of bits, by enum gt_gateway_file, and their descriptors in this order. */
int gt_gateway_send_files(int sock, const int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	int sent[GT_GATEWAY_FILES];
	uint32_t set = 0;
	size_t n = 0;

	for (unsigned i = 0; i < GT_GATEWAY_FILES; i++) {
		if (fds[i] < 0)
			continue;
		set |= 1U << i;
		sent[n++] = fds[i];
	}
	return gt_os_send(sock, &set, sizeof(set), sent, n, err);
}

static int receive(int sock, int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	int got[GT_GATEWAY_FILES];
	uint32_t set = 0;
	size_t len, n, at = 0;
	int r = gt_os_recv(sock, &set, sizeof(set), &len, got, GT_GATEWAY_FILES, &n, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < GT_GATEWAY_FILES; i++)
		fds[i] = set & 1U << i && at < n ? got[at++] : -1;
	while (at < n)
		gt_close(got[at++]);
	return 0;
}

/* ---- to the other shards ---- */

struct letter {
	struct gt_mail mail;
	struct gt_access_log *access;
	struct ssl_ctx_st *tls; /* shared; NULL: there is none */
};

static void open_letter(struct gt_gateway *gw, struct gt_mail *m GT_TAKES)
{
	struct letter *l = GT_CONTAINER(m, struct letter, mail);

	gw->access = l->access;
	gt_tls_server_free(gw->tls);
	gw->tls = l->tls;
	free(l);
}

static void spread(struct gt_gateway *gw)
{
	for (unsigned i = 1; gw->shards && i < gw->shards->n; i++) {
		struct letter *l = gt_alloc(sizeof(*l));

		*l = (struct letter){ .mail.fn = open_letter,
				      .access = gw->access,
				      .tls = gt_tls_server_share(gw->tls) };
		gt_shard_post(gw->shards, i, &l->mail);
	}
}

/* ---- what came ---- */

static int use_log(struct gt_gateway *gw, int fd GT_TAKES, struct gt_err *err)
{
	if (fd < 0)
		return 0; /* that it is not wanted any more takes another gateway */
	if (!gw->access)
		return gt_access_log_new(fd, gw->shards ? gw->shards->n : 1, &gw->access, err);
	gt_access_log_file(gw->access, fd);
	return 0;
}

/* Connections that are there keep what they began with. */
static int use_tls(struct gt_gateway *gw, const int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	struct ssl_ctx_st *next = NULL;

	if (fds[GT_GATEWAY_TLS_CERT] < 0)
		return 0;
	int r = gt_tls_server_new(fds[GT_GATEWAY_TLS_CERT], fds[GT_GATEWAY_TLS_KEY],
				  fds[GT_GATEWAY_TLS_CLIENT_CA], gw->cfg.tls_client_optional, &next,
				  err);

	if (r < 0)
		return r;
	gt_tls_server_free(gw->tls);
	gw->tls = next;
	return 0;
}

int gt_gateway_check_files(const int fds[GT_GATEWAY_FILES], struct gt_err *err)
{
	struct ssl_ctx_st *server = NULL;
	int r = fds[GT_GATEWAY_TLS_CERT] < 0
			? 0
			: gt_tls_server_new(fds[GT_GATEWAY_TLS_CERT], fds[GT_GATEWAY_TLS_KEY],
					    fds[GT_GATEWAY_TLS_CLIENT_CA], false, &server, err);

	gt_tls_server_free(server);
	return r;
}

int gt_files_take(struct gt_gateway *gw, struct gt_err *err)
{
	int fds[GT_GATEWAY_FILES];
	int r = receive(gw->cfg.files_fd, fds, err);

	if (r < 0)
		return r;
	r = use_log(gw, fds[GT_GATEWAY_ACCESS_LOG], err);
	if (r == 0)
		r = use_tls(gw, fds, err);
	if (r == 0)
		spread(gw);
	for (unsigned i = GT_GATEWAY_TLS_CERT; i < GT_GATEWAY_FILES; i++)
		gt_close(fds[i]);
	return r;
}

static void on_files(struct gt_watch *w, unsigned events, void *arg)
{
	struct gt_gateway *gw = arg;
	struct gt_err err = { 0 };
	int r;

	(void)events;
	while ((r = gt_files_take(gw, &err)) == 0)
		;
	if (r == -EAGAIN)
		return;
	if (r == -ECONNRESET) { /* another supervisor has taken over, and replaces us soon */
		gt_watch_close(w);
		gw->files = NULL;
		return;
	}
	gt_error("gateway: %s; what was in use before stays", err.text);
}

int gt_files_follow(struct gt_gateway *gw, struct gt_err *err)
{
	if (gw->cfg.files_fd < 0)
		return 0;
	int r = gt_files_take(gw, err);

	if (r == -EAGAIN)
		return gt_err_set(err, EPROTO, "internal", "the supervisor sent no files");
	if (r < 0)
		return r;
	return gt_loop_watch(gw->loop, gw->cfg.files_fd, GT_EV_READ, on_files, gw, &gw->files, err);
}
