/* fake.h - a server that answers requests by a table, in a process of its own. */
#ifndef GANTRY_TESTS_CLI_FAKE_H
#define GANTRY_TESTS_CLI_FAKE_H

#include <stddef.h>

struct rule {
	const char *start; /* of the request: "GET /v1/nodes" */
	const char *head;  /* status line and fields without Content-Length, "\r\n" after each */
	const char *body;  /* NULL: no answer at all */
};

/* Starts it and points GANTRY_URL and GANTRY_TOKEN at it. rules end with a NULL start. */
void fake_start(const struct rule *rules);
/* Ends it. Returns all requests as they came, bodies too. The caller frees. */
char *fake_stop(void);

#endif
