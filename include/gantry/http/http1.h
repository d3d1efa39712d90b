/* http/http1.h - HTTP/1.1 as bytes in, events out: no descriptors, no clock. One strict reader for
 * requests and responses (there is no lenient mode), and writers that build a head from the parsed
 * form, so that no byte of a peer's head reaches the other side unread.
 *
 *	while ((ev = gt_h1_feed(&h, data, len, &used, &body)) != GT_H1_MORE)
 *		... handle ev, skip `used` bytes ...
 *
 * The verdict does not depend on how the bytes were cut into feeds. Not thread-safe. */
#ifndef GANTRY_HTTP_HTTP1_H
#define GANTRY_HTTP_HTTP1_H

#include <string.h>

#include <gantry/base/buf.h>

#define GT_H1_LINE_MAX       8192  /* request line (414) or one header line (431) */
#define GT_H1_HEAD_MAX       32768 /* all lines of the head (431) */
#define GT_H1_FIELDS_MAX     100   /* (431) */
#define GT_H1_METHOD_MAX     32
#define GT_H1_CHUNK_LINE_MAX 256  /* a chunk's size with its extensions */
#define GT_H1_TRAILER_MAX    8192 /* all trailer lines of a body */

enum gt_h1_kind { GT_H1_REQUEST, GT_H1_RESPONSE };

enum gt_h1_event {
	GT_H1_MORE, /* all bytes were used; feed more */
	GT_H1_HEAD, /* the head is parsed and checked; told once a message */
	GT_H1_DATA, /* `body` is the next piece of the body, pointing into the fed bytes */
	GT_H1_END,  /* the message is complete; bytes after it were not used */
	GT_H1_BAD,  /* refused: slug and why are set; told again on every further feed */
};

enum gt_h1_framing { GT_H1_NO_BODY, GT_H1_LENGTH, GT_H1_CHUNKED, GT_H1_UNTIL_CLOSE };

/* Header names that somebody here acts on. */
enum gt_h1_name {
	GT_H1_OTHER,
	GT_H1_AUTHORIZATION,
	GT_H1_CONNECTION,
	GT_H1_CONTENT_ENCODING,
	GT_H1_CONTENT_LENGTH,
	GT_H1_CONTENT_TYPE,
	GT_H1_EXPECT,
	GT_H1_FORWARDED,
	GT_H1_GANTRY_CLIENT_SUBJECT,
	GT_H1_GANTRY_DEADLINE,
	GT_H1_GANTRY_PEER,
	GT_H1_GANTRY_PRIORITY,
	GT_H1_GANTRY_REPLICA,
	GT_H1_GANTRY_REVISION,
	GT_H1_GANTRY_ROUTES,
	GT_H1_GANTRY_TRACE_ID,
	GT_H1_HOST,
	GT_H1_KEEP_ALIVE,
	GT_H1_PROXY_AUTHENTICATE,
	GT_H1_PROXY_AUTHORIZATION,
	GT_H1_PROXY_CONNECTION,
	GT_H1_TE,
	GT_H1_TRACEPARENT,
	GT_H1_TRACESTATE,
	GT_H1_TRAILER,
	GT_H1_TRANSFER_ENCODING,
	GT_H1_UPGRADE,
	GT_H1_X_FORWARDED_FOR,
	GT_H1_X_FORWARDED_HOST,
	GT_H1_X_FORWARDED_PREFIX,
	GT_H1_X_FORWARDED_PROTO,
	GT_H1_X_REQUEST_ID,
	GT_H1_NAME_N
};

/* A piece of the head; text = h->head + at. */
struct gt_h1_span {
	uint16_t at, len;
};

struct gt_h1_field {
	struct gt_h1_span name, value; /* value without the blanks around it */
	uint8_t id;                    /* enum gt_h1_name */
	bool hop;                      /* meant for this connection only: never forwarded */
};

struct gt_h1_body {
	const char *data;
	size_t len;
};

struct gt_h1 {
	/* Set by the owner before the response is fed: it answers a HEAD request. */
	bool to_head;
	/* Valid from GT_H1_HEAD on, until reset. */
	uint8_t minor;            /* HTTP/1.minor: 0 or 1 */
	uint16_t status;          /* of a response */
	struct gt_h1_span method; /* of a request */
	struct gt_h1_span
		target; /* path and query ("/..."), or "*"; absolute form is cut to this */
	struct gt_h1_span reason; /* of a response; may be empty */
	enum gt_h1_framing framing;
	bool has_length;  /* Content-Length was given (also where there is no body: HEAD, 304) */
	bool underscored; /* a header name has a "_" */
	bool keep_alive;  /* the connection may be used again after this message */
	bool expect_continue;
	bool websocket;  /* a well-formed wish (request) or consent (101) to become a websocket */
	uint64_t length; /* the Content-Length */
	struct gt_h1_field *fields;
	uint16_t n_fields, cap_fields;
	uint8_t first[GT_H1_NAME_N]; /* of each known name: its first field, counted from 1; 0 =
					none */
	char *head;
	/* Valid after GT_H1_BAD: a slug of model/problem.tbl, and the reason for people. */
	const char *slug, *why;
	/* The reader's own. */
	uint8_t kind, state;
	bool led; /* one empty line before the request was skipped */
	uint8_t digits;
	uint16_t chunk_line, trailer, trailer_line;
	uint32_t head_len, head_cap, line;
	uint64_t left;
};

void gt_h1_init(struct gt_h1 *h, enum gt_h1_kind kind);
void gt_h1_reset(struct gt_h1 *h); /* for the next message; keeps the memory of a usual head */
void gt_h1_fini(struct gt_h1 *h);  /* gives all memory back */

/* Reads data[0..len). *used = bytes consumed, always set. `body` is set with GT_H1_DATA. After
 * GT_H1_HEAD or GT_H1_DATA feed the rest, even when it is empty: GT_H1_END may follow. */
enum gt_h1_event gt_h1_feed(struct gt_h1 *h, const char *data, size_t len, size_t *used,
			    struct gt_h1_body *body);
/* The peer closed: GT_H1_END when the message may end so, else GT_H1_BAD. */
enum gt_h1_event gt_h1_eof(struct gt_h1 *h);
bool gt_h1_started(const struct gt_h1 *h); /* any byte of the message was seen */

static inline const char *gt_h1_text(const struct gt_h1 *h, struct gt_h1_span s)
{
	return h->head + s.at;
}
bool gt_h1_is(const struct gt_h1 *h, struct gt_h1_span s, const char *text); /* case-sensitive */
/* The first field of that name, or NULL. */
const struct gt_h1_field *gt_h1_find(const struct gt_h1 *h, enum gt_h1_name name);
/* The same for a name that is not in the list: whatever the case of its letters. */
const struct gt_h1_field *gt_h1_find_text(const struct gt_h1 *h, const char *name);
bool gt_h1_idempotent(const struct gt_h1 *h); /* by RFC 9110: GET HEAD OPTIONS TRACE PUT DELETE */

/* How a head is passed on. */
enum gt_h1_connection { GT_H1_KEEP, GT_H1_CLOSE, GT_H1_SWITCH /* Upgrade: websocket */ };
struct gt_h1_header {
	const char *name, *value; /* value NULL: not written */
	size_t name_len, value_len;
};
static inline struct gt_h1_header gt_h1_header(const char *name, const char *value)
{
	return (struct gt_h1_header){ name, value, strlen(name), value ? strlen(value) : 0 };
}
struct gt_h1_rewrite {
	const char *target; /* instead of the parsed one; NULL = keep it (requests) */
	size_t target_len;
	bool drop_authorization, drop_tracestate;
	bool keep_ours; /* responses: what the gateway states itself was stated by one */
	enum gt_h1_framing framing; /* of what will be sent; CHUNKED writes Transfer-Encoding */
	uint64_t length;            /* with GT_H1_LENGTH */
	enum gt_h1_connection connection;
	const struct gt_h1_header *extra; /* added at the end; the names must be safe */
	size_t n_extra;
};
/* Both leave out hop-by-hop fields, framing, Expect, and what the gateway states itself:
 * X-Forwarded-*, Forwarded, Gantry-Client-Subject, Gantry-Peer, traceparent and X-Request-Id of
 * requests, Gantry-* and X-Request-Id of responses. -EINVAL when an extra value holds a control
 * character; -ENOBUFS. */
GT_MUST_USE int gt_h1_write_request(const struct gt_h1 *h, const struct gt_h1_rewrite *rw,
				    struct gt_buf *out);
GT_MUST_USE int gt_h1_write_response(const struct gt_h1 *h, const struct gt_h1_rewrite *rw,
				     struct gt_buf *out);
/* Once a head is complete: its text and fields are of no more use; or of a request's head all but
 * its method and target. What it means stays, framing and all. */
void gt_h1_forget_head(struct gt_h1 *h);
void gt_h1_keep_line(struct gt_h1 *h);
/* Of a body whose length is known, while it is being read: bytes to come; and so many of them went
 * another way than gt_h1_feed. After the last one that tells GT_H1_END. */
uint64_t gt_h1_body_left(const struct gt_h1 *h);
void gt_h1_body_took(struct gt_h1 *h, uint64_t len);
const char *gt_h1_reason(int status); /* "Not Found"; "" for a status without a known name */

#define GT_H1_CHUNK_HEAD 20 /* bytes that gt_h1_chunk_head may write: 16 digits, CRLF, NUL */
size_t gt_h1_chunk_head(size_t len, char out[GT_H1_CHUNK_HEAD]);

#endif
