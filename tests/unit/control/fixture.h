/* fixture.h - control between fake ports: time stands still until a test moves it, the store
 * answers when it is told to, and everything that control says is kept. */
#ifndef TEST_CONTROL_FIXTURE_H
#define TEST_CONTROL_FIXTURE_H

#include <gantry/control/member.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIX_EPOCH 7
#define FIX_MAX   512

struct fix_job {
	bool drop;
	char function[GT_NAME_MAX + 1];
	gt_store_done_fn *done;
	void *arg;
};

struct fix {
	struct gt_control *c;
	uint64_t now_ns, seed;
	int64_t set_ms; /* what the wall's clock was set by */
	struct fix_job jobs[FIX_MAX];
	size_t n_jobs;
	size_t n_orders, n_forgets, n_routes, n_gone, n_events, n_due;
	struct gt_order order; /* the last one; spec_json is not kept */
	char node[GT_NAME_MAX + 1], forgot[GT_REPLICA_ID_SIZE], routed[GT_NAME_MAX + 1];
	struct gt_event event; /* the last one */
	bool restarted;
	struct gt_node_row said;     /* the last that was stored of a node */
	struct gt_member_op *member; /* the last one that waits for the store */
	size_t n_members;            /* how often members were told */
	struct gt_scale_in scaled;   /* what the autoscaler was told last */
};

int fix_setup(void **state);       /* node n1 and gateway g1 are up and have reported */
int fix_setup_empty(void **state); /* nobody is connected yet */
int fix_teardown(void **state);
struct gt_control_ports fix_ports(struct fix *x);

void fix_pass(struct fix *x,
	      uint64_t ms);     /* time goes by; control ticks whenever it asked for it */
struct gt_spec *fix_spec(void); /* max 5, target 1, idle 60 s, drain 30 s */
/* Deploys and lets the store answer; etag is derived from `text`. */
void fix_put(struct fix *x, const char *name, struct gt_spec *spec, const char *text);
void fix_store_answer(struct fix *x, const struct gt_err *err); /* the oldest job */

void fix_demand(struct fix *x, const char *function, uint32_t queued, uint32_t in_flight);
void fix_drained(struct fix *x, const char *replica);
/* A partial report about one replica of the function with the last order. */
void fix_report(struct fix *x, const char *replica, enum gt_replica_state state);
void fix_fail(struct fix *x, const char *replica, const char *cause);
void fix_report_full(struct fix *x, const struct gt_observed *all, size_t n);
struct gt_observed fix_observed(const char *replica, const char *function, uint32_t revision,
				enum gt_replica_state state);
struct gt_function_view fix_view(struct fix *x, const char *function);
size_t fix_orders(struct fix *x, struct gt_order *out, size_t max); /* desired set of n1 */
/* Demand 1, start, ready; id receives the replica. */
void fix_start(struct fix *x, const char *function, char id[GT_REPLICA_ID_SIZE]);

#endif
