/* http1_priv.h - what the parts of the HTTP/1.1 codec share. */
#ifndef GANTRY_HTTP_HTTP1_PRIV_H
#define GANTRY_HTTP_HTTP1_PRIV_H

#include <gantry/http/http1.h>

enum {
	H1_TCHAR = 1 << 0, /* allowed in a header name or method */
	H1_TEXT = 1 << 1,  /* allowed in a head line: no control but HTAB */
	H1_HEX = 1 << 2,
	H1_HOST = 1 << 3, /* allowed in Host */
};
extern const uint8_t gt_h1_class[256];

enum {
	H1_FORWARDED = 1 << 0, /* requests: the gateway writes its own */
	H1_OURS = 1 << 1,      /* responses: the gateway writes its own */
	H1_HOP = 1 << 2,       /* never forwarded */
};
struct gt_h1_known {
	const char *name;
	uint8_t len, flags;
};
extern const struct gt_h1_known gt_h1_known[GT_H1_NAME_N]; /* by enum gt_h1_name; [0] has len 0 */
enum gt_h1_name gt_h1_name_find(const char *name, size_t len);

static inline enum gt_h1_event gt_h1_bad(struct gt_h1 *h, const char *slug, const char *why)
{
	h->slug = slug;
	h->why = why;
	return GT_H1_BAD;
}

static inline bool gt_h1_all(const char *s, size_t len, uint8_t cls)
{
	for (size_t i = 0; i < len; i++)
		if (!(gt_h1_class[(uint8_t)s[i]] & cls))
			return false;
	return true;
}

/* How many bytes at the beginning are H1_TEXT. */
size_t gt_h1_text_len(const char *s, size_t len);
/* How many are H1_TCHAR; sets *underscored when one of them is "_". */
size_t gt_h1_token_len(const char *s, size_t len, bool *underscored);

/* One complete line, h->head[at..at+len) without CRLF. GT_H1_MORE = fine, go on; GT_H1_BAD. */
enum gt_h1_event gt_h1_first_line(struct gt_h1 *h, size_t at, size_t len);
enum gt_h1_event gt_h1_field_line(struct gt_h1 *h, size_t at, size_t len);
/* All lines are in: what they mean together. */
enum gt_h1_event gt_h1_head_done(struct gt_h1 *h);

#endif
