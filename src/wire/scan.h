/* scan.h - walks over JSON text token by token without building anything, for what has to be known
 * before a document is built (its depth). Bodies that pass in pieces: openai_json.c. */
#ifndef GANTRY_WIRE_SCAN_H
#define GANTRY_WIRE_SCAN_H

#include <gantry/base/base.h>

#define GT_SCAN_DEPTH_MAX 512

enum gt_token {
	GT_TOKEN_END,   /* the document is complete and only blanks follow */
	GT_TOKEN_ERROR, /* no JSON, or deeper than GT_SCAN_DEPTH_MAX; scan->p is where */
	GT_TOKEN_OPEN,
	GT_TOKEN_CLOSE,
	GT_TOKEN_KEY,    /* tok and len: with its quotes, escapes as they stand */
	GT_TOKEN_STRING, /* the same */
	GT_TOKEN_ATOM,   /* number, true, false, null */
};

struct gt_scan {
	const char *p, *end;
	const char *tok; /* the token read last */
	size_t len;
	uint32_t depth; /* after that token: 1 inside the outermost brackets */
	unsigned char expect;
	uint64_t objects[GT_SCAN_DEPTH_MAX / 64]; /* bit per open bracket: it is a { */
};

void gt_scan_begin(struct gt_scan *scan, const char *text, size_t len);
/* After END or ERROR it answers the same again. The grammar is checked, UTF-8 is not. */
enum gt_token gt_scan_next(struct gt_scan *scan);
/* Are the open brackets around the next token those of an object? */
bool gt_scan_in_object(const struct gt_scan *scan);

/* The JSON path ("volumes[0].path") of the value or key that ends at or before byte `at`. */
void gt_scan_path(const char *text, size_t len, size_t at, char *out, size_t size);

#endif
