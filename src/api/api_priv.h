/* api/api_priv.h - what the handlers share. One file a resource; each handler answers exactly once.
 */
#ifndef GANTRY_SRC_API_API_PRIV_H
#define GANTRY_SRC_API_API_PRIV_H

#include <gantry/api/api.h>
#include <gantry/base/cleanup.h>
#include <gantry/http/server.h>
#include <gantry/wire/wire.h>

#define GT_MEDIA_JSON   "application/json"
#define GT_MEDIA_NDJSON "application/x-ndjson"
#define GT_MEDIA_SSE    "text/event-stream"
#define GT_MEDIA_TEXT   "text/plain; charset=utf-8"
#define GT_HEARTBEAT_MS 15000
#define GT_API_LIST_MAX (512 * GT_MIB) /* bytes of a list answered as one body */

struct gt_follower; /* events.c */
struct gt_poll;     /* poll.c */
struct gt_watched;  /* call_wait.c */
struct gt_hooks;    /* call_hooks.c */
struct gt_owed;     /* op.h */

struct gt_api {
	struct gt_api_config config;
	char *agent_path, *door_path;
	char node[GT_NAME_MAX + 1]; /* whose agent has agent_path; "": all questions are its */
	struct gt_http_server *server;
	struct gt_follower *followers;
	struct gt_timer heartbeat;
	struct gt_poll *polls;
	struct gt_timer poll_timer; /* looks at polls after control has finished its change */
	struct gt_hooks *hooks;     /* call_hooks.c; NULL: nobody is told */
	struct gt_watched *watched; /* hash: calls that somebody waits for */
	struct gt_owed *owed;       /* who waits for the store */
	uint64_t *answers;          /* for /metrics: by route and status class */
};

extern const struct gt_http_route gt_api_routes[];
extern const size_t gt_api_routes_n;

/* ---- reply.c ---- */
bool gt_api_trusts(const struct gt_request *req, const struct gt_api *api); /* a valid token */
/* 0, or -EACCES with what to send, also in the header WWW-Authenticate. */
int gt_api_admit(struct gt_request *req, enum gt_role role, void *app, struct gt_err *err);
void gt_api_fail(struct gt_request *req, const struct gt_err *err); /* answers with a problem */
/* The same for etag_mismatch: the body names the current one (NULL = none). */
void gt_api_fail_etag(struct gt_request *req, const struct gt_err *err, const char *etag);
void gt_api_refuse(struct gt_request *req, const struct gt_err *err, void *app);
void gt_api_reply(struct gt_request *req, int status, struct gt_buf *json);
/* A list on one page: begun, then its items, then answered with. */
void gt_api_list_begin(struct gt_json *j, struct gt_buf *body);
void gt_api_list_reply(struct gt_request *req, struct gt_json *j, struct gt_buf *body);
/* {"member": what, "deleted": true} */
void gt_api_reply_deleted(struct gt_request *req, const char *member, const char *what);
/* Each of these answers with a problem and returns false when the parameter is bad. */
bool gt_api_query(struct gt_request *req, const char *const *known);
bool gt_api_flag(struct gt_request *req, const char *name, bool *ret); /* absent: unchanged */
bool gt_api_number(struct gt_request *req, const char *name, uint64_t min, uint64_t max,
		   uint64_t *ret); /* absent: unchanged */
bool gt_api_duration(struct gt_request *req, const char *name, uint64_t max_ms, uint64_t *ret);
bool gt_api_function(struct gt_api *api, struct gt_request *req, struct gt_function_view *ret);
/* 0, or -EINVAL (unsupported_media_type): a body that is stated, and not as JSON. */
int gt_api_json_check(const struct gt_request *req, struct gt_err *err);
bool gt_api_accepts(const struct gt_request *req, const char *media);
/* Link: <path?...>; rel="next" with the query as it came and this cursor. */
void gt_api_link_next(struct gt_request *req, const char *const *keep, const char *cursor);
/* Frames one JSON object for a stream: a line, or an event with its id. */
void gt_api_frame(struct gt_buf *out, bool sse, uint64_t id, const char *json, size_t len);

/* ---- view.c ---- */
void gt_view_function(struct gt_json *j, const struct gt_function_view *v, bool effective,
		      const bool *reached); /* reached NULL: not asked for */
void gt_view_revision(struct gt_json *j, const struct gt_function_row *row);
void gt_view_replica(struct gt_json *j, const struct gt_replica_view *v);
void gt_view_node(struct gt_json *j, const struct gt_node_view *v);
void gt_view_end(struct gt_json *j, const char *name, const struct gt_end *end);
void gt_view_time(struct gt_json *j, const char *name, uint64_t wall_ms); /* 0: left out */
void gt_view_etag_header(struct gt_request *req, const char *etag);

/* ---- usage.c ---- */
void gt_view_usage(struct gt_json *j, const struct gt_usage *u); /* has 0: left out */
void gt_api_metric_head(struct gt_buf *out, const char *name, const char *type, const char *help);
/* providers.c: nothing where there are none. */
void gt_api_provider_metrics(struct gt_api *api, struct gt_buf *out);
void gt_api_usage_metrics(struct gt_api *api, struct gt_buf *out);
/* gpu_metrics.c */
void gt_api_gpu_metrics(struct gt_api *api, struct gt_buf *out);

/* ---- metrics.c ---- */
void gt_metrics_family(struct gt_buf *out, const char *name, const char *type, const char *help,
		       struct gt_buf *samples); /* ends the buffer */

/* ---- op.c ---- */
void gt_api_owed_drop(struct gt_api *api); /* at the end: nobody answers any more */

/* ---- poll.c ---- */
void gt_api_poll_start(struct gt_api *api, struct gt_request *req, const char *function,
		       enum gt_function_state until, uint64_t wait_ms, bool effective);
void gt_api_poll_event(struct gt_api *api);
void gt_api_polls_end(struct gt_api *api);

/* ---- call_wait.c, call_batch.c ---- */
void gt_api_watches_end(struct gt_api *api);
void gt_api_hooks_start(struct gt_api *api);
void gt_api_hooks_kick(struct gt_api *api); /* a call may have ended */
void gt_api_hooks_end(struct gt_api *api);
gt_piece_fn gt_api_batch_piece;

/* ---- agents.c ---- */
#define GT_API_NODES_MAX 64 /* that are asked one question */
struct gt_api_nodes {
	const struct gt_api *api;
	char name[GT_API_NODES_MAX][GT_NAME_MAX + 1];
	size_t n;
};
bool gt_api_own_node(const struct gt_api *api, const char *node); /* NULL: yes */
/* How that node's agent is asked for /link/v1/<path>: the URL, for the caller to free, at *socket.
 */
char *gt_api_agent_url(const struct gt_api *api, const char *node, const char *path,
		       const char **socket);
/* The own one, and then the others that are not lost. */
void gt_api_nodes_there(const struct gt_api *api, struct gt_api_nodes *ret);
/* ?node=NAME of a node that is known; absent: *ret is unchanged. False: answered. */
bool gt_api_node_param(struct gt_api *api, struct gt_request *req, const char **ret);

/* ---- logs_merge.c: logs of several nodes as those of one ---- */
enum gt_log_form { GT_LOG_NDJSON, GT_LOG_TEXT, GT_LOG_SSE };
/* query: as the agents take it, without tail, after and follow. */
void gt_api_logs_merge(struct gt_api *api, struct gt_request *req, const struct gt_api_nodes *nodes,
		       enum gt_log_form form, const char *query, uint64_t tail, uint64_t after,
		       bool follow);
/* logs.c: one line of an agent in the form that was asked for; nothing for a heartbeat. */
void gt_log_line_write(enum gt_log_form form, const char *line, size_t len, struct gt_buf *out);
struct gt_stream *gt_log_stream_open(struct gt_request *req, enum gt_log_form form);

/* ---- forward.c: answers with what the node's agent answers to /link/v1/<path>. ---- */
void gt_api_forward(struct gt_api *api, struct gt_request *req, const char *node, const char *path,
		    bool stream);

/* logs.c: lines of agents in the form that the client asked for. */
struct gt_log_question {
	const char *replica; /* that is asked for, so that only its node is; NULL: any */
	const char *text;    /* for agents: all but what follows */
	uint64_t tail, after;
	bool follow;
};
void gt_api_logs_answer(struct gt_api *api, struct gt_request *req, const char *function,
			const struct gt_log_question *q);

void gt_api_followers_event(struct gt_api *api, const struct gt_event *event);
void gt_api_followers_end(struct gt_api *api);

/* ---- handlers: (request, struct gt_api) ---- */
gt_handler_fn gt_api_put_function, gt_api_get_function, gt_api_list_functions,
	gt_api_delete_function, gt_api_list_revisions, gt_api_get_revision, gt_api_list_replicas,
	gt_api_get_replica, gt_api_delete_replica, gt_api_list_decisions, gt_api_get_shadow,
	gt_api_get_logs, gt_api_list_events, gt_api_list_nodes, gt_api_get_node, gt_api_clear_gpu,
	gt_api_create_token, gt_api_list_tokens, gt_api_delete_token, gt_api_cordon_node,
	gt_api_uncordon_node, gt_api_drain_node, gt_api_delete_node, gt_api_list_models,
	gt_api_get_model, gt_api_list_images, gt_api_pull_image, gt_api_collect_images,
	gt_api_delete_image, gt_api_get_bundle, gt_api_put_bundle, gt_api_get_metrics,
	gt_api_create_call, gt_api_list_function_calls, gt_api_create_batch, gt_api_list_calls,
	gt_api_put_call, gt_api_get_call, gt_api_cancel_call, gt_api_get_call_result,
	gt_api_follow_call, gt_api_get_call_logs, gt_api_replay_call, gt_api_list_schedules,
	gt_api_put_schedule, gt_api_get_schedule, gt_api_delete_schedule, gt_api_pause_schedule,
	gt_api_resume_schedule, gt_api_run_schedule, gt_api_get_version, gt_api_get_live,
	gt_api_get_ready, gt_api_get_contract, gt_api_list_providers, gt_api_create_webhook_key,
	gt_api_list_webhook_keys, gt_api_delete_webhook_key;

#endif
