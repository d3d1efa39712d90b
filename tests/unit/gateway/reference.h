/* reference.h - a second reader of HTTP/1.1, written apart from src/http/http1.c and in another
 * manner (whole buffers, no states), and what must hold between what scripted peers sent and got.
 */
#ifndef TESTS_GATEWAY_REFERENCE_H
#define TESTS_GATEWAY_REFERENCE_H

#include "script.h"

enum ref_verdict { REF_MORE, REF_WHOLE, REF_BAD };

struct ref_message {
	const char *head, *method, *target; /* into the data */
	size_t head_len, method_len, target_len;
	int status;
	size_t len; /* of the whole message in the data, as far as it has come */
	struct gt_buf body;
	bool until_close, upgrade, head_done;
};

/* Reads the message at the start of data. Free m->body. */
enum ref_verdict ref_request(const char *data, size_t len, struct ref_message *m);
enum ref_verdict ref_response(const char *data, size_t len, bool to_head, struct ref_message *m);

/* NULL, or what is wrong: a replica or control saw a request that its client did not send, a client
 * saw what is no answer, a replica has more calls than slots. */
const char *ref_check(struct script *s);

#endif
