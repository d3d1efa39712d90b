/* gateway/gateway.h - the data plane of one host, as one thread or several: takes every client
 * connection, holds calls until a replica has a free slot, passes them on, and hands management
 * paths to control. It keeps serving what it knows while control is away. */
#ifndef GANTRY_GATEWAY_GATEWAY_H
#define GANTRY_GATEWAY_GATEWAY_H

#include <gantry/base/err.h>

/* Files that the gateway, which is not root, uses but may not open. Whoever may hands them over as
 * descriptors on a packet socket (gt_os_socketpair), all of them each time: at the start, and when
 * they should be opened anew. */
enum gt_gateway_file {
	GT_GATEWAY_ACCESS_LOG, /* open for appending */
	GT_GATEWAY_TLS_CERT,   /* PEM: the certificate and its chain; the next two likewise */
	GT_GATEWAY_TLS_KEY,
	GT_GATEWAY_TLS_CLIENT_CA,
	GT_GATEWAY_FILES
};

/* fds: -1 = none; they stay the caller's. */
GT_MUST_USE int gt_gateway_send_files(int sock, const int fds[GT_GATEWAY_FILES],
				      struct gt_err *err);

/* Are the files of TLS such that connections can be made with them? Slug "bad_config". */
GT_MUST_USE int gt_gateway_check_files(const int fds[GT_GATEWAY_FILES], struct gt_err *err);

#define GT_GATEWAY_PROXIES_MAX  64
#define GT_GATEWAY_THREADS_MAX  16
#define GT_GATEWAY_THREADS_AUTO 4 /* at most, where threads is 0 */

struct gt_gateway_config {
	int listen_fd;      /* listening TCP socket; stays the caller's */
	int predecessor_fd; /* packet sockets, or -1, the caller's: to the gateway that this one */
	int successor_fd;   /* replaces, and to the one that will replace this one */
	/* Networks whose connections begin with a PROXY header; NULL = none. */
	const char *proxy_from;
	int tls_listen_fd; /* the same for TLS; -1 = none; either of both may be */
	int door_fd; /* listening unix socket: control's way to agents of other nodes; -1 = none */
	const char *tls_proxy_from;
	bool tls_client_optional; /* with a CA for clients: who has no certificate may come in */
	int files_fd; /* the files arrive here, the first before the start; -1 = none; the caller's
		       */
	int ready_fd; /* gets "READY\n" with the first routes; -1 = none; the caller's */
	const char *name;      /* of this gateway, in link paths; NULL = "local" */
	const char *node;      /* this host's: the broker is for it alone; NULL = "" */
	const char *api_path;  /* control's API; NULL = "run/api.sock" */
	const char *link_path; /* control's link; NULL = "run/link.sock" */
	const char *dial_path; /* the node's broker; NULL = "run/dial.sock" */
	/* With several daemons that share a store: control tells here which of them leads, and the
	 * uplink takes here what is passed on to that one. NULL, both: there is one. */
	const char *lead_path, *forward_path;
	unsigned threads;         /* up to GT_GATEWAY_THREADS_MAX; 0 = one for each processor */
	uint32_t connections_max; /* client connections at once; 0 = 10000 */
	uint64_t drain_ms;        /* after TERM: how long calls may go on; 0 = 30 s */
	uint64_t memory_bytes;    /* for buffered bytes of all connections; 0 = 256 MiB */
};

/* Serves until SIGTERM or SIGINT and the drain after it, then returns 0; -errno when it can not
 * start. A second signal ends the drain. The config is borrowed for the call. */
GT_MUST_USE int gt_gateway_run(const struct gt_gateway_config *config, struct gt_err *err);

#endif
