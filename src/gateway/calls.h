/* calls.h - what is done with one call: path.c, answer.c, call.c, call_time.c, openai.c, relay.c,
 * sse.c, head.c.
 */
#ifndef GANTRY_GATEWAY_CALLS_H
#define GANTRY_GATEWAY_CALLS_H

#include <gantry/wire/openai.h>

#include "conn.h"
#include "routes.h"
#include "up.h"

#define GT_CALL_COLLECT_MAX (32 * GT_MIB) /* of a body, before its model is known */
/* Requests that control's API has at once, of all shards; it takes 1000 connections. */
#define GT_CALL_CONTROL_MAX 900
/* Of these, without a valid token. Control says who needs one, and which is valid: it alone knows
 * its paths, and a token that was just changed. But strangers keep nobody else out. */
#define GT_CALL_STRANGERS_MAX 100

/* path.c: no state of its own */
struct gt_path {
	enum gt_way way;
	uint16_t name_len; /* of the function; the replica's target is what follows */
	bool openai;       /* refusals are told in OpenAI's dialect */
};
struct gt_path gt_path_read(const struct gt_h1 *req);
#define GT_PATH_NAME (sizeof("/f/") - 1) /* where a function's name begins */
/* Not terminated. */
static inline const char *gt_call_function(const struct gt_call *call)
{
	const struct gt_h1 *req = &call->conn->x->req;

	return gt_h1_text(req, req->target) + GT_PATH_NAME;
}
/* The caller's own id when it is a sane one. */
void gt_request_id_make(const struct gt_gateway *gw, const struct gt_h1 *req,
			char out[GT_GW_REQUEST_ID + 1]);

/* answer.c */
struct gt_refusal {
	const char *slug;
	const char *detail;
	int64_t retry_after_s; /* -1 = none */
	const struct gt_end *end;
	uint64_t limit;
	const char *path;
};
#define GT_REFUSAL(slug_, detail_) \
	((struct gt_refusal){ .slug = (slug_), .detail = (detail_), .retry_after_s = -1 })
/* Writes a whole answer into the connection's queue. */
int gt_answer_problem(struct gt_conn *c, const struct gt_refusal *why, const char *request_id,
		      bool openai);
int gt_answer_json(struct gt_conn *c, int status, const char *body, size_t len,
		   const char *request_id);

/* call.c */
void gt_call_begin(struct gt_conn *c); /* the head of a request is in c->req */
void gt_call_route(struct gt_call *call);
/* Nothing was sent, and another gateway has its function now, or this one has: begins anew, with
 * what is here of its body. */
void gt_call_reroute(struct gt_call *call);
/* The same of one that waits for its function here, in the queue or with a slot; refused where the
 * client was told too much already. */
void gt_call_give_away(struct gt_call *call);
void gt_call_resume(struct gt_call *call); /* it came from another shard to its function's home */
void gt_call_body(struct gt_call *call, const char *data, size_t len);
void gt_call_body_end(struct gt_call *call);
size_t gt_call_body_room(const struct gt_call *call); /* bytes to read from the client now */
void gt_call_got_slot(struct gt_call *call, struct gt_target *t);
void gt_call_refuse(struct gt_call *call, const struct gt_refusal *why);
/* The same, with when to come again. */
void gt_call_refuse_for_now(struct gt_call *call, const char *slug, const char *detail);
int64_t gt_call_retry_after_s(const struct gt_call *call);
void gt_call_refuse_token(struct gt_call *call);
/* Nothing has this name, unless control, which is away, knows better. */
void gt_call_refuse_unknown(struct gt_call *call, const struct gt_refusal *why);
void gt_call_refuse_start(struct gt_call *call); /* the function's start failed */
void gt_call_arm(struct gt_call *call);          /* the timer for its state */
void gt_call_free_slot(struct gt_call *call);
bool gt_call_idempotent(const struct gt_call *call);
bool gt_call_may_retry(struct gt_call *call); /* counts it; answered or ended gives it back */
void gt_call_answered(struct gt_call *call);  /* the head of the replica's answer is here */
/* The answer is complete on our side, or the client is gone: gives everything back but the queue of
 * bytes to the client. */
void gt_call_finish(struct gt_call *call);
void gt_call_init(struct gt_call *call, struct gt_gateway *gw); /* of memory that is all zero */
void gt_call_clear(struct gt_call *call); /* for the next one: keeps memory for its head */
void gt_call_fini(struct gt_call *call);

void gt_call_want_body(struct gt_call *call); /* 100 Continue, when the client waits for it */
void gt_call_admit(struct gt_call *call);     /* call->fn was found: into its queue, or refused */
bool gt_call_body_whole(const struct gt_call *call); /* every byte of it was read */

/* openai.c: calls whose function is named by the body's `model`. Bodies are read here before they
 * are queued; false = the call was refused and is over. */
void gt_openai_begin(struct gt_call *call);
GT_MUST_USE bool gt_openai_read(struct gt_call *call, const char *data, size_t len);
GT_MUST_USE bool gt_openai_read_end(struct gt_call *call);
void gt_openai_route(struct gt_call *call); /* nothing while the model is not known */

/* sse.c: answers that are event streams. call->sse is set from the moment on that the client was
 * told so; then failures are told in the stream, too. */
void gt_sse_expect(struct gt_call *call); /* the client asked for a stream: keeps it company */
/* The head of the replica's answer: true = the client has a head already. */
bool gt_sse_head(struct gt_call *call);
GT_MUST_USE int gt_sse_down(struct gt_call *call, const char *data, size_t len);
GT_MUST_USE int gt_sse_end(struct gt_call *call); /* the answer is complete: what was held back */
void gt_sse_refuse(struct gt_call *call, const struct gt_refusal *why); /* ends the call */
size_t gt_sse_size(const struct gt_call *call);                         /* bytes of memory */
void gt_sse_free(struct gt_call *call);

/* relay.c */
/* Bytes of the answer's body to the client, framed. 0 or -errno. */
GT_MUST_USE int gt_relay_down(struct gt_call *call, const char *data, size_t len);
void gt_relay_connect(struct gt_call *call); /* a slot is held, or the way is control */
void gt_relay_attach(struct gt_call *call, struct gt_up *up);
void gt_relay_dial_failed(struct gt_call *call, int error); /* the replica takes no connection */
void gt_relay_no_broker(struct gt_call *call, int error);
/* The node gave no connection in time, or is no node any more. */
void gt_relay_unreached(struct gt_call *call, int error);
void gt_relay_broken(struct gt_call *call, int error); /* call->up is of no more use */
void gt_relay_retry(struct gt_call *call);             /* the pause is over */
bool gt_relay_flush(struct gt_call *call);             /* to the replica */
bool gt_relay_read(struct gt_call *call); /* from the replica; true = something moved */
void gt_relay_cut(struct gt_call *call);  /* the answer can not be completed: closes the client */

/* access.c: lines of the access log, if there is one */
void gt_access_call(const struct gt_call *call); /* it ends */
/* A request was refused before its head was read. */
void gt_access_no_call(const struct gt_conn *c, const char *slug, const char *request_id);

/* Who makes the call, as far as this gateway knows; of one that was passed on, what the other
 * gateway says. */
struct gt_client {
	const char *address; /* the connection's */
	bool tls;
};
struct gt_client gt_client_of(const struct gt_call *call);

/* head.c: heads on their way up and down */
int gt_head_up(struct gt_call *call);
int gt_head_down(struct gt_call *call);
int gt_head_interim(struct gt_call *call);

#endif
