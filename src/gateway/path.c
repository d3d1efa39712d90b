/* path.c - where a request goes and what it is called, read from its head alone. */
#include "calls.h"

#include <string.h>

static bool has_prefix(const char *t, size_t len, const char *prefix)
{
	size_t n = strlen(prefix);

	return len >= n && !memcmp(t, prefix, n);
}

static bool path_is(const char *t, size_t len, const char *path)
{
	return len == strlen(path) && !memcmp(t, path, len);
}

/* Of /v1/images only what control has no use for: that is about images of containers. */
static bool is_openai(const char *t, size_t path_len)
{
	static const char *const paths[] = {
		"/v1/completions",
		"/v1/embeddings",
		"/v1/responses",
		"/v1/messages",
		"/v1/moderations",
		"/v1/rerank",
		"/v1/score",
		"/v1/images/edits",
		"/v1/images/generations",
		"/v1/images/variations",
	};
	static const char *const families[] = { "/v1/audio/", "/v1/chat/", "/v1/messages/",
						"/v1/responses/" };

	for (size_t i = 0; i < GT_LEN(paths); i++)
		if (path_is(t, path_len, paths[i]))
			return true;
	for (size_t i = 0; i < GT_LEN(families); i++)
		if (has_prefix(t, path_len, families[i]))
			return true;
	return false;
}

struct gt_path gt_path_read(const struct gt_h1 *req)
{
	const char *t = gt_h1_text(req, req->target);
	size_t len = req->target.len;
	const char *query = memchr(t, '?', len);
	size_t path_len = query ? (size_t)(query - t) : len;

	if (t[0] == '*')
		return (struct gt_path){ .way = GT_WAY_SERVER };
	if (has_prefix(t, path_len, "/f/")) {
		const char *name = t + GT_PATH_NAME;
		const char *slash = memchr(name, '/', path_len - GT_PATH_NAME);
		size_t n = slash ? (size_t)(slash - name) : path_len - GT_PATH_NAME;

		return (struct gt_path){ GT_WAY_FUNCTION, (uint16_t)n, false };
	}
	if (path_is(t, path_len, "/link") || has_prefix(t, path_len, "/link/"))
		return (struct gt_path){ .way = GT_WAY_LINK };
	if (path_is(t, path_len, "/livez"))
		return (struct gt_path){ .way = GT_WAY_LIVEZ };
	if (path_is(t, path_len, "/readyz"))
		return (struct gt_path){ .way = GT_WAY_READYZ };
	if (is_openai(t, path_len))
		return (struct gt_path){ .way = GT_WAY_OPENAI, .openai = true };
	return (struct gt_path){ .way = GT_WAY_CONTROL,
				 .openai = path_is(t, path_len, "/v1/models") ||
					   has_prefix(t, path_len, "/v1/models/") };
}

static bool id_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '-' || c == '_' || c == '.';
}

void gt_request_id_make(const struct gt_gateway *gw, const struct gt_h1 *req,
			char out[GT_GW_REQUEST_ID + 1])
{
	const struct gt_h1_field *f = req ? gt_h1_find(req, GT_H1_X_REQUEST_ID) : NULL;
	bool sane = f && f->value.len && f->value.len <= GT_GW_REQUEST_ID;

	for (size_t i = 0; sane && i < f->value.len; i++)
		sane = id_char(gt_h1_text(req, f->value)[i]);
	if (!sane) {
		gt_ulid(gt_loop_clock(gw->loop), &gw->rnd, out);
		return;
	}
	memcpy(out, gt_h1_text(req, f->value), f->value.len);
	out[f->value.len] = '\0';
}
