/* backend.h - which database a test's store lies in: the same tests run on a file of SQLite and on
 * a PostgreSQL of their own, which listens on a socket in a temporary directory alone. */
#ifndef GANTRY_TESTS_UNIT_STORE_BACKEND_H
#define GANTRY_TESTS_UNIT_STORE_BACKEND_H

#include <stdbool.h>

/* Group set-up and tear-down of cmocka. The server ends with this process, however that ends. */
int backend_pg_begin(void **state);
int backend_pg_end(void **state);
bool backend_pg_installed(void); /* else says so */

bool backend_is_pg(void);
/* A new place for a store: call it in a directory of the test's own. */
void backend_fresh(void);
const char *backend_path(void);
/* PostgreSQL: one number out of the test's schema; a statement that gives none is 0. */
long backend_sql(const char *sql);
/* The server as if its machine had lost power, and back. */
void backend_pg_crash(void);
void backend_pg_return(void);
/* Not at work, but there: STOP and CONT for all of its processes. */
void backend_pg_signal(int signo);

#endif
