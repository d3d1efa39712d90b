/* http/server_priv.h - what server.c, request.c and stream.c share. */
#ifndef GANTRY_SRC_HTTP_SERVER_PRIV_H
#define GANTRY_SRC_HTTP_SERVER_PRIV_H

#include <microhttpd.h>

#include <gantry/http/server.h>

#include "router.h"

#define GT_REQUEST_ID_MAX 64

struct gt_http_server {
	struct gt_loop *loop;
	struct gt_http_config config;
	struct MHD_Daemon *daemon;
	struct gt_watch *watch; /* the daemon's own epoll descriptor */
	struct gt_watch *door;  /* the listening socket */
	struct gt_timer later;  /* set while nobody is let in, for want of something */
	struct gt_timer timer;  /* what the daemon asked to be run at, or at once after a resume */
	struct gt_request *requests; /* all in hand */
	size_t n_requests;
	size_t body_bytes; /* of all requests */
};

struct gt_answer_header {
	char *name, *value;
	struct gt_answer_header *next;
};

struct gt_request {
	struct gt_http_server *server;
	struct MHD_Connection *connection;
	struct gt_target target;
	enum gt_method method; /* GT_METHOD_N: one we do not know */
	const struct gt_http_route *route;
	char id[GT_REQUEST_ID_MAX + 1];
	struct gt_buf body;
	size_t body_bytes; /* counted in the server's */
	void *arg;
	size_t discarded;      /* bytes of a body that nobody wants */
	struct gt_err refusal; /* found before the handler could run; code 0 = none */
	uint64_t started_ns;
	bool begun;     /* the head was looked at */
	bool handed;    /* the handler was called */
	bool paused;    /* takes no pieces of its body */
	bool suspended; /* the connection waits in MHD for our answer or for stream bytes */
	bool gone;      /* the client hung up meanwhile */
	int status;     /* of the answer; 0 = not answered yet */
	struct MHD_Response *answer; /* until it is queued */
	struct gt_answer_header *headers;
	struct gt_watch *hangup; /* while suspended MHD does not look at the socket: we do */
	void (*on_gone)(void *arg);
	void *on_gone_arg;
	struct gt_stream *stream;
	struct gt_request *prev, *next;
};

struct gt_stream {
	struct gt_request *req;
	struct gt_buf queue;
	size_t sent; /* bytes at the queue's front that MHD has taken */
	size_t max_queued;
	bool ended;  /* the application is done */
	bool broken; /* overflowed or the client left: drop what is queued */
	void (*on_close)(void *arg);
	void *on_close_arg;
};

/* request.c */
struct gt_request *gt_request_new(struct gt_http_server *s, const char *uri,
				  struct MHD_Connection *connection);
void gt_request_begin(struct gt_request *req, const char *method); /* route, admission, limits */
void gt_request_refuse(struct gt_request *req);                    /* answers with req->refusal */
void gt_request_suspend(struct gt_request *req);
void gt_request_resume(struct gt_request *req);
void gt_request_free(struct gt_request *req);

/* stream.c */
void gt_stream_hung_up(struct gt_stream *s); /* tells the application, once */
void gt_stream_settle(struct gt_stream *s);  /* after bytes were taken from the queue */
void gt_stream_free(struct gt_stream *s);

/* server.c: runs the daemon in the loop's next round. */
void gt_http_server_kick(struct gt_http_server *s);

#endif
