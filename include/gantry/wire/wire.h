/* wire/wire.h - JSON <-> model. The only room that sees JSON documents from outside.
 *
 * Readers take text of any origin: sizes, depth (GT_JSON_DEPTH_MAX), types, ranges, duplicate and
 * unknown members are checked; the refusal names the JSON path ("scale.max") in err->path, its
 * reason and the fix in err->text. Messages between roles and hosts may have unknown members: who
 * sends may be of a newer version. Slugs: "malformed_json" (400) for what is no JSON,
 * "invalid_spec" (422) for the rest. Nothing is written to *ret on failure. */
#ifndef GANTRY_WIRE_WIRE_H
#define GANTRY_WIRE_WIRE_H

#include <gantry/model/event.h>
#include <gantry/model/member.h>
#include <gantry/model/msg.h>
#include <gantry/model/problem.h>
#include <gantry/model/schedule.h>
#include <gantry/model/task.h>
#include <gantry/wire/json.h>

/* Function specs. gt_spec_read also runs gt_spec_check. gt_spec_write gives the canonical text:
 * members in table order, defaults left out, so that equal specs have equal text (and thus equal
 * ETags). */
GT_MUST_USE int gt_spec_read(const char *text, size_t len, struct gt_spec **ret,
			     struct gt_err *err);
/* The same of one that was accepted before, perhaps by a newer program: members that this one does
 * not know are passed over, and `unknown` gets the name of one of them, cut, or "". */
#define GT_SPEC_UNKNOWN_SIZE 64
GT_MUST_USE int gt_spec_read_kept(const char *text, size_t len, char unknown[GT_SPEC_UNKNOWN_SIZE],
				  struct gt_spec **ret, struct gt_err *err);
void gt_spec_write(const struct gt_spec *spec, struct gt_buf *out);
/* The same with every default filled in: what is in force (GET ...?effective=1, the CLI). */
void gt_spec_write_effective(const struct gt_spec *spec, struct gt_buf *out);

/* problem+json: type, title, status, detail, code, instance, trace_id, retryable,
 * errors[{path,detail}], retry_after_s when >= 0, and cause, exit_code, signal, log when `end` is
 * given. */
struct gt_problem {
	const struct gt_problem_kind *kind;
	const char *detail;
	const char *path;         /* JSON path of the mistake, or NULL */
	const char *request_id;   /* instance */
	const char *trace_id;     /* or NULL */
	int64_t retry_after_s;    /* -1 = none */
	const struct gt_end *end; /* why a start failed, or NULL */
	const char *etag;         /* current ETag with etag_mismatch, or NULL */
	uint64_t limit;           /* with body_too_large: the limit in bytes; 0 = none */
};
void gt_problem_write(const struct gt_problem *p, struct gt_buf *out);
/* The same refusal in OpenAI's dialect: {"error":{"message","type","param","code"}}. */
void gt_problem_write_openai(const struct gt_problem *p, struct gt_buf *out);
/* Somebody else's error in that dialect; message NULL: told by the status. */
void gt_openai_error_write(int status, const char *message, struct gt_buf *out);

/* The members of an end (cause, text_name, exit_code, signal, log[]) into the object that is open.
 */
void gt_end_write(struct gt_json *j, const struct gt_end *end, const char *text_name);

void gt_event_write(const struct gt_event *e, struct gt_buf *out); /* one object, no newline */

/* Link messages. Watch lines (downward) end in '\n', and are of the epoch of the snapshot that
 * they follow: who has heard of a later epoch obeys none of them.
 *	{"type":"snapshot","epoch":E,"seq":N,"orders":[...]}		agent
 *	{"type":"order","seq":N,"order":{...}}   {"type":"forget","seq":N,"replica":"..."}
 *	{"type":"snapshot","epoch":E,"seq":N,"tokens":["<sha256 hex>"],"routes":[...]}	gateway
 *	{"type":"route","seq":N,"route":{...}}   {"type":"gone","seq":N,"function":"..."}
 *	{"type":"tokens","seq":N,"tokens":[...]}   {"type":"ping","seq":N}
 *	{"type":"nodes","seq":N,"nodes":[{"name":"..","since_ms":N}]}	also in a gateway's snapshot
 *	{"type":"work","seq":N,"function":"...","number":N}   {"type":"cancel","seq":N,"number":N}
 */
enum gt_line_type {
	GT_LINE_SNAPSHOT, /* orders[], or routes[], tokens[] and members[] */
	GT_LINE_ORDER,    /* orders[0] */
	GT_LINE_FORGET,   /* name = replica id */
	GT_LINE_ROUTE,    /* routes[0] */
	GT_LINE_GONE,     /* name = function */
	GT_LINE_TOKENS,   /* tokens[] */
	GT_LINE_PING,
	GT_LINE_WORK, /* name = function: durable calls wait for it; number: of this call to work */
	GT_LINE_CANCEL, /* number and attempt: a lease that nobody wants any more */
	GT_LINE_NODES,  /* members[]: all that may connect from other machines */
	GT_LINE_N
};
struct gt_line {
	enum gt_line_type type;
	uint64_t epoch, seq, number;
	uint32_t attempt; /* GT_LINE_CANCEL */
	char name[GT_NAME_MAX + 1];
	struct gt_order *orders;
	size_t n_orders;
	struct gt_route *routes;
	size_t n_routes;
	char (*tokens)[GT_TOKEN_HASH_HEX];
	size_t n_tokens;
	struct gt_member *members;
	size_t n_members;
	bool partial; /* control has not settled: replicas that routes lack may serve all the same
		       */
};
void gt_line_fini(struct gt_line *l);
GT_MUST_USE int gt_line_read(const char *text, size_t len, struct gt_line *ret, struct gt_err *err);
void gt_line_write(const struct gt_line *l, struct gt_buf *out); /* with the '\n' */

GT_MUST_USE int gt_report_read(const char *text, size_t len, struct gt_report *ret,
			       struct gt_err *err);
void gt_report_write(const struct gt_report *r, struct gt_buf *out);
/* Durable calls between a gateway and control (EXCHANGE of model/task.h): a JSON object, a newline,
 * and the bodies that it tells the lengths of, one after the other. Up: whose it is, results,
 * wants, what it holds. Down: leases, and what is left for each want. */
GT_MUST_USE int gt_exchange_read(const char *text, size_t len, struct gt_task_op **ret,
				 uint64_t *epoch, struct gt_err *err);
void gt_exchange_write(const struct gt_task_op *op, uint64_t epoch, struct gt_buf *out);
/* A line of a batch: id, key, method, path, content_type, priority, deadline (then: how long, in
 * ms) and body or text. Members of *ret that are pointers are new; the others it leaves. */
GT_MUST_USE int gt_task_line_read(const char *text, size_t len, struct gt_task *ret,
				  struct gt_err *err);
/* A schedule: function, cron and zone or every, catch_up, warm, callback, and a call as a line of a
 * batch has it. Fills what the user says, and leaves the rest as it is. -EINVAL (invalid_schedule)
 * and others name the member. Written, it is the same whenever it means the same. */
GT_MUST_USE int gt_schedule_read(const char *text, size_t len, struct gt_schedule *ret,
				 struct gt_err *err);
void gt_schedule_write(const struct gt_schedule *s, struct gt_json *j, const char *name);
GT_MUST_USE int gt_leases_read(const char *text, size_t len, struct gt_task_op **ret,
			       struct gt_err *err);
void gt_leases_write(const struct gt_task_op *op, struct gt_buf *out);

/* What a machine says that wants to join: token, node and csr (PEM); a renewal has csr alone.
 * Refusals are of slug bad_parameter. Caller: gt_join_fini. */
struct gt_join {
	char token[128];
	char node[GT_NAME_MAX + 1];
	char *csr;
};
GT_MUST_USE int gt_join_read(const char *text, size_t len, struct gt_join *ret, struct gt_err *err);
GT_MUST_USE int gt_renew_read(const char *text, size_t len, struct gt_join *ret,
			      struct gt_err *err);
void gt_join_fini(struct gt_join *join);
/* What an operator says of a join token: ttl and node, both may be left out. */
struct gt_token_ask {
	uint64_t ttl_ms;
	char node[GT_NAME_MAX + 1]; /* "" = any */
};
GT_MUST_USE int gt_token_ask_read(const char *text, size_t len, struct gt_token_ask *ret,
				  struct gt_err *err);

/* And of a key of webhooks: overlap, which may be left out. */
GT_MUST_USE int gt_webhook_ask_read(const char *text, size_t len, uint64_t *overlap_ms,
				    struct gt_err *err);

GT_MUST_USE int gt_demand_read(const char *text, size_t len, struct gt_demand *ret,
			       struct gt_err *err);
void gt_demand_write(const struct gt_demand *d, struct gt_buf *out);

#endif
