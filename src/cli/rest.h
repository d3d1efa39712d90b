/* rest.h - one HTTP request at a time to the daemon, over libcurl's easy interface. */
#ifndef GANTRY_CLI_REST_H
#define GANTRY_CLI_REST_H

#include <stdio.h>

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

struct gt_target;
struct gt_rest;
struct gt_rest_answer;

struct gt_rest_request {
	const char *method;         /* NULL = GET */
	const char *path;           /* starts with '/', escaped */
	const char *accept;         /* NULL = whatever comes */
	const char *content_type;   /* NULL = none */
	const char *const *headers; /* "Name: value" each */
	size_t n_headers;
	const char *body; /* NULL = none */
	size_t body_len;
	FILE *file;          /* a body that is read while it is sent, instead of `body` */
	int64_t file_bytes;  /* -1 = not known */
	uint64_t timeout_ms; /* of the whole exchange; 0 = none */
	/* Body bytes as they come, of every answer that is no problem document; NULL: they are kept
	 * in answer->body. Returns false to end the exchange (not an error). */
	bool (*on_data)(const struct gt_rest_answer *answer, const char *data, size_t len,
			void *arg);
	/* Some times a second, as long as it takes. */
	void (*on_idle)(const struct gt_rest_answer *answer, void *arg);
	void *arg;
};

struct gt_rest_answer {
	long status;  /* 0 until the header has come */
	bool problem; /* application/problem+json; it is in body */
	char content_type[128];
	char etag[80];
	char timing[512]; /* Server-Timing */
	char retry_after[32];
	struct gt_buf body;
	bool broken; /* on_data refused to go on */
};

/* The target's strings are copied. */
struct gt_rest *gt_rest_new(const struct gt_target *target);
struct gt_rest *gt_rest_dup(const struct gt_rest *r); /* same daemon, a connection of its own */
void gt_rest_free(struct gt_rest *r);                 /* NULL is fine */
const char *gt_rest_url(const struct gt_rest *r);
/* 0 when an answer came, of whatever status. Else slug "unreachable" (no connection),
 * "deadline" (timeout_ms passed) or "cut_off" (the connection broke). Caller: gt_rest_answer_fini.
 */
GT_MUST_USE int gt_rest_send(struct gt_rest *r, const struct gt_rest_request *req,
			     struct gt_rest_answer *answer, struct gt_err *err);
void gt_rest_answer_fini(struct gt_rest_answer *a);

static inline void gt_cleanup_answer(struct gt_rest_answer *a)
{
	gt_rest_answer_fini(a);
}

#endif
