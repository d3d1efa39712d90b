/* wire/openai.h - what a gateway has to know of the body of an OpenAI request, read while the body
 * passes: no byte of it is kept, none is changed, and the verdict does not depend on how the bytes
 * were cut into feeds. JSON bodies and multipart/form-data (audio, image edits) are read.
 *
 * Refused, so that no replica can read another model than the gateway did: what is no JSON object,
 * deeper than GT_OPENAI_DEPTH_MAX, not UTF-8, has `model` or `stream` twice; forms with a preamble,
 * an epilogue, a folded or doubled header, a boundary that does not stand alone on its line. */
#ifndef GANTRY_WIRE_OPENAI_H
#define GANTRY_WIRE_OPENAI_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_OPENAI_DEPTH_MAX 512
#define GT_PROMPT_BLOCK     256 /* bytes of the prompt between two taps */
#define GT_PROMPT_TAPS      64  /* so the first 16 KiB are told apart */

/* A chained hash of the prompt (`messages`, `prompt` or `input`, as its bytes stand): tap[i] is
 * that of its first (i + 1) * GT_PROMPT_BLOCK bytes. Prompts with equal taps began with equal
 * bytes. */
struct gt_prompt_taps {
	uint64_t tap[GT_PROMPT_TAPS];
	uint32_t n;
	uint64_t bytes; /* of the prompt so far, also those beyond the last tap */
};

/* What is known after the bytes fed so far. */
struct gt_openai_ask {
	char model[GT_MODEL_NAME_MAX + 1]; /* "" = not yet */
	bool stream;                       /* the answer is wanted as server-sent events */
	struct gt_prompt_taps prompt;      /* of JSON bodies */
};

struct gt_openai_scan;

/* content_type: the header's value, not terminated; NULL = none. Everything but multipart/form-data
 * is read as JSON. -EINVAL with "malformed_request" when its boundary is missing or not valid. */
GT_MUST_USE int gt_openai_scan_new(const char *content_type, size_t len,
				   struct gt_openai_scan **ret, struct gt_err *err);
void gt_openai_scan_free(struct gt_openai_scan *s); /* NULL is fine */
GT_CLEANUP_TYPE(openai_scan, struct gt_openai_scan *, gt_openai_scan_free)

/* 0; or refused, and again by each later call: -EINVAL with "malformed_json" or "malformed_request"
 * and the byte in the text, -ENOENT with "bad_parameter" or "model_not_found" and path "model". */
GT_MUST_USE int gt_openai_scan_feed(struct gt_openai_scan *s, const char *data, size_t len,
				    struct gt_err *err);
/* The body is complete: refused when it ends inside something or names no model. */
GT_MUST_USE int gt_openai_scan_end(struct gt_openai_scan *s, struct gt_err *err);
const struct gt_openai_ask *gt_openai_scan_ask(const struct gt_openai_scan *s);

#endif
