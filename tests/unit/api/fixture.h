/* The API over real control, a store in memory, and a stand-in for the agent's log server. */
#ifndef TESTS_UNIT_API_FIXTURE_H
#define TESTS_UNIT_API_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/api/api.h>
#include <gantry/control/member.h>
#include <gantry/control/webhook.h>
#include <gantry/http/pki.h>
#include <gantry/http/server.h>
#include <gantry/wire/value.h>

#define TOKEN "secret-token"

struct world {
	struct gt_loop *loop;
	struct gt_http_client *client;
	struct gt_control *control;
	struct gt_api *api;
	struct gt_http_server *agent, *door;
	char dir[64], api_path[96], agent_path[96], door_path[96];
	int api_fd, agent_fd, door_fd;
	struct stored *rows;
	bool storage_full;
	bool silent;      /* the store answers nothing any more, but what hooks are due */
	struct job *kept; /* what it was asked since */
	size_t n_kept;
	const char *callback; /* of a call that has ended; told once */
	struct gt_pki_ca *authority;
	struct gt_join_token join_token; /* the last that was made */
	struct gt_webhook_keys webhook_keys;
	char log_question[256]; /* what the agent was asked */
	struct gt_stream *log_stream;
	const char *log_text; /* the agent's answer when not followed */
	/* Of node "far", by way of the door. */
	const char *far_text; /* NULL: it is not reached */
	struct gt_stream *far_stream;
	char far_question[256];
};

struct answer {
	int fd, status;
	bool closed;
	struct gt_buf raw;     /* as it came */
	const char *body;      /* in raw, once the head is complete */
	struct gt_value *json; /* NULL when it is none */
};

int world_setup(void **state);
int world_setup_silent(
	void **state);               /* with a store for calls; its teardown frees what was asked */
int world_setup_hosts(void **state); /* this one is "near", and "far" has joined */
int world_teardown(void **state);

#define step_until(w, cond)                                                     \
	do {                                                                    \
		int n_ = 0;                                                     \
		while (!(cond) && n_++ < 2000)                                  \
			assert_int_equal(gt_loop_step((w)->loop, 20, NULL), 0); \
		assert_true(cond);                                              \
	} while (0)

/* Sends a request with the token and more header lines ("A: b\r\n", NULL = none) and waits for the
 * whole answer, which must have a status that the contract knows for that operation. */
void ask(struct world *w, const char *method, const char *path, const char *headers,
	 const char *body, struct answer *ret);
/* The same without waiting: step until answer_has. */
void ask_open(struct world *w, const char *method, const char *path, const char *headers,
	      const char *body, struct answer *ret);
bool answer_has(struct answer *a, const char *text); /* reads what is there; in the body */
bool answer_closed(struct answer *a);
void answer_fini(struct answer *a);
bool header_has(const struct answer *a, const char *line); /* "ETag: \"x", without its end */
const char *str(const struct answer *a, const char *path); /* of its JSON; "(absent)" */
/* Asks, and must be answered with a problem. */
void refused(struct world *w, const char *method, const char *path, const char *headers,
	     const char *body, int status, const char *code);

void put_ok(struct world *w, const char *name, const char *spec, int status);
/* What a node and a gateway would tell control. */
void node_up(struct world *w, const char *node);
void observe(struct world *w, const char *node, const char *replica, const char *function,
	     enum gt_replica_state state);

#endif
