/* link/link.h - control's end of the link to agents and gateways, served on its own unix socket.
 *
 *	GET  /link/v1/nodes/{node}/desired	watch: orders of one node
 *	POST /link/v1/nodes/{node}/report	what the node observes
 *	GET  /link/v1/gateways/{gateway}/routes	watch: routes and token digests
 *	POST /link/v1/gateways/{gateway}/demand	who waits, who is served
 *	POST /link/v1/gateways/{gateway}/calls	durable calls: results up, leases down
 *	POST /link/v1/join			a machine joins by its token
 *	POST /link/v1/nodes/{node}/certificate, /link/v1/gateways/{gateway}/certificate
 *
 * A watch is one snapshot, then changes in order; a receiver too slow to follow is cut off and
 * starts again with a snapshot. A node or gateway is up exactly while its watch is open. Who may
 * connect is decided by the socket's file permissions; a gateway that passes on what came from
 * outside states who its sender has proven to be in the header Gantry-Peer ("node/NAME", or
 * "gateway/NAME" of a daemon with the same store), and a node may do what is its own, while it is a
 * member or has the store, nothing else. Loop thread only. */
#ifndef GANTRY_LINK_LINK_H
#define GANTRY_LINK_LINK_H

#include <gantry/control/control.h>
#include <gantry/http/pki.h>
#include <gantry/http/server.h>
#include <gantry/loop/loop.h>

struct gt_link;

struct gt_link_config {
	struct gt_loop *loop;
	int listen_fd;                    /* borrowed */
	struct gt_control *control;       /* borrowed */
	const char *const *tokens_sha256; /* hex digests of valid tokens; borrowed, fixed */
	size_t n_tokens;
	const struct gt_pki_ca *authority; /* borrowed; NULL: nobody joins, no certificates */
	struct gt_clock clock;             /* of the certificates */
	uint64_t node_certificate_ms;      /* their life; those of gateways last a day */
};

GT_MUST_USE int gt_link_new(const struct gt_link_config *config, struct gt_link **ret,
			    struct gt_err *err);
void gt_link_free(struct gt_link *link); /* NULL is fine */

#define GT_LINK_GATEWAY_CERT_MS (24 * 3600000ULL)

struct gt_link_cert {
	enum gt_pki_kind kind;
	const char *name, *csr;
	size_t csr_len;
	uint64_t now_ms, life_ms;
};
/* Answers with a certificate for the key of the request: {"certificate", "ca", KIND: name}. */
void gt_link_certify(struct gt_request *req, const struct gt_pki_ca *authority,
		     const struct gt_link_cert *of, int status);
/* A hook of gt_http_hooks: the problem document. */
void gt_link_refuse(struct gt_request *req, const struct gt_err *err, void *app);

/* What control's ports of the same names are wired to. */
void gt_link_on_order(struct gt_link *link, const char *node, const struct gt_order *order);
void gt_link_on_forget(struct gt_link *link, const char *node, const char *replica);
void gt_link_on_route(struct gt_link *link, const char *function);
void gt_link_on_route_gone(struct gt_link *link, const char *function);
void gt_link_on_task_work(struct gt_link *link, const char *function, uint64_t seen);
void gt_link_on_task_stop(struct gt_link *link, uint64_t seq, uint32_t attempt);
void gt_link_on_members(struct gt_link *link);

#endif
