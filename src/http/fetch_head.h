/* fetch_head.h - the head of an answer, line by line. */
#ifndef GANTRY_HTTP_FETCH_HEAD_H
#define GANTRY_HTTP_FETCH_HEAD_H

#include <gantry/http/fetch.h>

#define GT_FETCH_HEADERS_MAX    100
#define GT_FETCH_HEAD_BYTES_MAX (64 * GT_KIB)

struct gt_fetch_field {
	char *name, *value;
};

struct gt_fetch_answer {
	int status;
	int64_t retry_after_s;
	struct gt_fetch_field fields[GT_FETCH_HEADERS_MAX];
	size_t n;
	size_t bytes;  /* of the head so far */
	bool complete; /* what comes now are trailers, which nobody reads */
};

enum gt_fetch_line { GT_FETCH_LINE_OK, GT_FETCH_LINE_LAST, GT_FETCH_LINE_BAD };

void gt_fetch_answer_reset(struct gt_fetch_answer *a);
/* One line with its end. LAST: the head of the final answer (not of a 1xx) is complete. */
enum gt_fetch_line gt_fetch_answer_line(struct gt_fetch_answer *a, const char *line, size_t len);

#endif
