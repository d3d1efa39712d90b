/* http/watch.h - the receiving end of a link watch: keeps one NDJSON stream open, reconnects with
 * backoff (10 ms doubled to 500 ms), cuts it into lines, notices silence. Loop thread only. */
#ifndef GANTRY_HTTP_WATCH_H
#define GANTRY_HTTP_WATCH_H

#include <gantry/http/client.h>

struct gt_ndjson_watch;

struct gt_ndjson_config {
	const char *unix_path;    /* copied; may be relative to the cwd */
	const char *url;          /* copied */
	size_t line_max;          /* a longer line ends the connection; 0 = 64 MiB */
	uint64_t silence_ms;      /* reconnect after no byte for so long; 0 = 30 s. The sender pings
				     every 10 s */
	void (*on_up)(void *arg); /* connected with status 200: the next line is a snapshot */
	void (*on_line)(const char *line, size_t len, void *arg); /* without the '\n' */
	void (*on_down)(const struct gt_err *why, void *arg); /* once for each on_up; both may be
								 NULL */
	void *arg;
};

GT_MUST_USE int gt_ndjson_watch_new(struct gt_loop *loop, struct gt_http_client *client,
				    const struct gt_ndjson_config *config,
				    struct gt_ndjson_watch **ret, struct gt_err *err);
void gt_ndjson_watch_free(struct gt_ndjson_watch *w); /* NULL is fine; no callback after it */

#endif
