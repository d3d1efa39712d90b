/* control/ports.h - the world as control sees it: structs of functions, wired by daemon to the real
 * one and by sim to a virtual one. Control itself makes no system call, so every decision can be
 * replayed from its inputs. All calls happen on control's thread. */
#ifndef GANTRY_CONTROL_PORTS_H
#define GANTRY_CONTROL_PORTS_H

#include <gantry/base/clock.h>
#include <gantry/base/err.h>
#include <gantry/cron/zone.h>
#include <gantry/model/event.h>
#include <gantry/model/member.h>
#include <gantry/model/provider.h>
#include <gantry/model/row.h>
#include <gantry/model/task.h>
#include <gantry/model/webhook.h>
#include <gantry/scale/scale.h>

/* Writes are durable before `done`; done is never called before the port call returned. err is NULL
 * on success. Rows are copied by the store. Operations on one function complete in the order given.
 *
 * What the store has not answered when control ends is answered by nobody: the store frees the
 * operation at its own end, which comes last, control what it kept of it, and whoever asked control
 * what it keeps itself. */
typedef void gt_store_done_fn(const struct gt_err *err, void *arg);
typedef void gt_store_revisions_fn(const struct gt_err *err, const struct gt_function_row *rows,
				   size_t n, void *arg);

struct gt_store_port {
	void *ctx;
	/* The function's new current revision (also kept as a revision; old ones are pruned). */
	void (*put)(void *ctx, const struct gt_function_row *row, gt_store_done_fn *done,
		    void *arg);
	void (*drop)(void *ctx, const char *function, gt_store_done_fn *done, void *arg);
	/* What users said of a node; GT_DUTY_ALL removes the row. */
	void (*put_node)(void *ctx, const struct gt_node_row *row, gt_store_done_fn *done,
			 void *arg);
	/* Newest first; rows are borrowed for the call. It sees every change whose done was called.
	 */
	void (*revisions)(void *ctx, const char *function, gt_store_revisions_fn *done, void *arg);
	/* Durable calls: does what op asks for and calls op->done, in the order of the calls for
	 * those that change something. NULL: there are none. */
	void (*task)(void *ctx, struct gt_task_op *op GT_TAKES);
	/* Members and join tokens, in the order of the calls. NULL: no machine may join. */
	void (*member)(void *ctx, struct gt_member_op *op GT_TAKES);
	/* The keys that sign webhooks, in the order of the calls. NULL: they can not be changed. */
	void (*webhook)(void *ctx, struct gt_webhook_op *op GT_TAKES);
	/* Hosts of providers, in the order of the calls. Needed where `hook` is there. */
	void (*host)(void *ctx, struct gt_host_op *op GT_TAKES);
};

/* Told on every change; the receiver may read control but must not change it from inside a call. */
struct gt_control_ports {
	struct gt_clock clock;
	struct gt_rand rnd;
	struct gt_store_port store;
	void *ctx;
	void (*on_order)(void *ctx, const char *node,
			 const struct gt_order *order); /* new or changed */
	void (*on_forget)(void *ctx, const char *node, const char *replica);
	void (*on_route)(void *ctx, const char *function); /* read it with gt_control_route */
	void (*on_route_gone)(void *ctx, const char *function);
	void (*on_event)(void *ctx, const struct gt_event *event);
	/* Durable calls. There is work for a function, where there was none; the number only grows.
	 * A call has ended, or an attempt of it. Whoever has the lease should stop. Needed where
	 * store.task is there. */
	void (*on_task_work)(void *ctx, const char *function, uint64_t seen);
	void (*on_task_changed)(void *ctx, const char *id);
	void (*on_task_stop)(void *ctx, uint64_t seq, uint32_t attempt);
	/* A time zone by its name, for control to keep. Slug invalid_schedule. NULL: there is
	 * none but UTC. */
	int (*zone)(void *ctx, const char *name, struct gt_zone **ret, struct gt_err *err);
	/* Asks a provider's hook; `ask` is borrowed for the call, done is called exactly once,
	 * later, within the provider's timeout. NULL: there are no providers. Needed with it: a new
	 * join token, whose text goes into `text`; ret has its id and digest. */
	void (*hook)(void *ctx, const struct gt_hook_ask *ask, gt_hook_fn *done, void *arg);
	int (*join_token)(void *ctx, char text[GT_HOST_TOKEN_SIZE], struct gt_join_token *ret,
			  struct gt_err *err);
	void (*on_members)(void *ctx);      /* gt_control_members changed. NULL = not asked for */
	void (*on_webhook_keys)(void *ctx); /* gt_control_webhook_keys changed. NULL = likewise */
	void (*on_due)(void *ctx);          /* gt_control_due_ns may have changed */
	/* Every decision of the scale room, also those that change nothing; in and out NULL: the
	 * function's state is forgotten. NULL = not asked for. */
	void (*on_scale)(void *ctx, const char *function, const struct gt_scale_in *in,
			 const struct gt_scale_out *out);
};

#endif
