/* api/api.h - the REST API that docs/openapi.yaml promises, served by control on its own unix
 * socket; the gateway passes management paths through to it. Loop thread only. */
#ifndef GANTRY_API_API_H
#define GANTRY_API_API_H

#include <stdio.h>

#include <gantry/control/control.h>
#include <gantry/http/client.h>
#include <gantry/loop/loop.h>

struct gt_api;
struct gt_pki_ca;

struct gt_api_config {
	struct gt_loop *loop;
	int listen_fd;                 /* already listening; stays the caller's */
	struct gt_control *control;    /* borrowed; outlives the API */
	struct gt_http_client *client; /* borrowed: for the logs, which the agent serves */
	const char *node;              /* this host's; copied; NULL: there are no others */
	const char *agent_path;        /* its agent's socket; copied; NULL = "run/agent.sock" */
	/* Other agents are asked here, of a gateway; copied; NULL = "run/door.sock". */
	const char *door_path;
	const struct gt_outbound *outbound; /* who may be told of calls; borrowed */
	const struct gt_pki_ca *authority;  /* borrowed; NULL: there are no join tokens */
	const char *const *tokens_sha256;   /* hex digests of valid tokens; borrowed, fixed */
	size_t n_tokens;
	bool no_dcgm; /* /metrics has no DCGM_FI_* names */
};

GT_MUST_USE int gt_api_new(const struct gt_api_config *config, struct gt_api **ret,
			   struct gt_err *err);
/* Ends what is open. What control still owes an answer may come later: it goes nowhere. NULL is
 * fine. */
void gt_api_free(struct gt_api *api);
/* The end begins: no more connections are taken, and who waits for something to happen is told.
 * What was begun goes on, while gt_api_active. */
void gt_api_drain(struct gt_api *api);
size_t gt_api_active(const struct gt_api *api); /* requests and streams in hand */

/* For control's port of the same name: feeds who follows events or waits for a state. */
void gt_api_on_event(struct gt_api *api, const struct gt_event *event);

/* The same for on_task_changed: who waits for that call looks again. */
void gt_api_on_task(struct gt_api *api, const char *id);

void gt_api_print_routes(FILE *out);      /* "METHOD PATH operationId summary", one a line */
const char *gt_api_contract(size_t *len); /* docs/openapi.yaml, as it was at build time */

#endif
