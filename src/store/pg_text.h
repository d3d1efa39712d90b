/* store/pg_text.h - what PostgreSQL asks of text, and says beside its answers. */
#ifndef GANTRY_SRC_STORE_PG_TEXT_H
#define GANTRY_SRC_STORE_PG_TEXT_H

struct pg_result; /* libpq's PGresult */

/* The last lines of a replica, say, may be any bytes; a column of text takes UTF-8 alone. NULL: it
 * is fine as it is; else a copy, which the caller frees, with '?' for what is not. */
char *gt_pg_text(const char *text);
void gt_pg_notice(void *arg, const struct pg_result *res);

#endif
