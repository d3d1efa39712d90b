/* access_log.h - one JSON line a request, formatted and written by a thread of its own: whoever
 * adds only copies into a bounded ring, and never waits. What does not fit is dropped and counted;
 * the log itself tells how many. Each ring has one thread that adds. */
#ifndef GANTRY_GATEWAY_ACCESS_LOG_H
#define GANTRY_GATEWAY_ACCESS_LOG_H

#include <gantry/base/err.h>

enum gt_access_text_id {
	GT_ACCESS_FUNCTION,
	GT_ACCESS_METHOD,
	GT_ACCESS_PATH, /* without the query, which may hold secrets */
	GT_ACCESS_REFUSED,
	GT_ACCESS_REPLICA,
	GT_ACCESS_REQUEST_ID,
	GT_ACCESS_TRACE_ID,
	GT_ACCESS_PEER,
	GT_ACCESS_TEXTS
};

struct gt_access_text { /* any bytes; len 0: the line does not have it */
	const char *at;
	uint16_t len;
};

struct gt_access_facts {
	uint64_t time_ms; /* wall clock, when the head had come */
	uint64_t wait_us, total_us, bytes_in, bytes_out;
	uint64_t token; /* part of the token's hash; 0 = none */
	uint32_t revision;
	uint16_t status; /* 0 = no answer */
	bool cut;        /* the answer broke off, or the client left */
};

#define GT_ACCESS_RING     ((size_t)4 * GT_MIB) /* all of them together */
#define GT_ACCESS_RING_MIN ((size_t)512 * GT_KIB)

struct gt_access_log;

GT_MUST_USE int gt_access_log_new(int fd GT_TAKES, unsigned rings, struct gt_access_log **ret,
				  struct gt_err *err);
/* Writes what is in the ring, unless whoever reads the file does not. NULL is fine. */
void gt_access_log_free(struct gt_access_log *log);
void gt_access_log_file(struct gt_access_log *log, int fd GT_TAKES); /* the file from now on */
void gt_access_log_add(struct gt_access_log *log, unsigned ring,
		       const struct gt_access_facts *facts,
		       const struct gt_access_text texts[GT_ACCESS_TEXTS]);
/* Wakes the writer; call now and then. */
void gt_access_log_flush(struct gt_access_log *log, unsigned ring);
/* Lines that did not fit into the ring; ring 0: also what was not written. */
uint64_t gt_access_log_dropped(struct gt_access_log *log, unsigned ring);

#endif
