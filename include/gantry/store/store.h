/* store/store.h - what must survive a crash: functions, their revisions, what was said of nodes,
 * joined machines, join tokens and the authority for certificates, durable calls, the epoch. A file
 * of SQLite, or PostgreSQL.
 *
 * Writes are queued to one writer thread that commits everything waiting in one transaction: the
 * fsync is the batching window. Completions are handed out by gt_store_poll on the caller's thread;
 * `notify` says that there are some. The path may be relative and then stays so: control may run as
 * a user that can not traverse the parents of its working directory. */
#ifndef GANTRY_STORE_STORE_H
#define GANTRY_STORE_STORE_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>
#include <gantry/model/member.h>
#include <gantry/model/provider.h>
#include <gantry/model/row.h>
#include <gantry/model/task.h>
#include <gantry/model/webhook.h>

struct gt_store;

struct gt_store_config {
	/* Of the database: "control/gantry.db", whose directory must exist; or a URL of PostgreSQL,
	 * "postgresql://...", which must be reached now. Later it may be lost and come back. */
	const char *path;
	void (*notify)(void *arg); /* writer thread: gt_store_poll has something to do */
	void *notify_arg;
	/* For bodies of calls above GT_TASK_INLINE_MAX: "control/bodies", made when it is not
	 * there; what a crash left in it is removed. NULL, and always with PostgreSQL: all bodies
	 * lie in the database. */
	const char *bodies_dir;
	/* SQLite: a file that keeps 64 MiB (a sixteenth of a small disk) for the time when the disk
	 * is full: results are still written down then, while new calls and functions are refused
	 * (storage_full) until there is room. NULL: none. Borrowed for the store's life. */
	const char *ballast;
	uint32_t pages_max; /* SQLite: most pages of 4 KiB; 0 = as many as the disk takes */
	/* That a lease was got for (lease.h); 0: counts it up, whoever else is there. Under an
	 * epoch that is over nothing is written. */
	uint64_t epoch;
	/* PostgreSQL: most time for one answer, ms; an open transaction that says nothing for so
	 * long is ended by the server. 0 = 10 s. */
	uint32_t patience_ms;
};

/* Is it a URL of PostgreSQL that may be given to roles? Slug bad_config. Connects to nothing. */
GT_MUST_USE int gt_store_check(const char *url, struct gt_err *err);

/* Connects to it and looks whether a control could begin there, as the process's user: what is
 * there is added to *ret, a line each, for people; token_print: as in lease.h. Changes nothing.
 * Fails, with what is missing, when no control could: ENOTCONN when it is not there. May take some
 * seconds, or wait for a resolver of names. */
struct gt_buf;
GT_MUST_USE int gt_store_look(const char *url, const char *token_print, struct gt_buf *ret,
			      struct gt_err *err);

/* Opens, migrates, and begins the epoch, durably. Fails with slug storage_full when the disk is
 * full, else with the file and what is wrong with it (a newer schema names both numbers). */
GT_MUST_USE int gt_store_open(const struct gt_store_config *config, struct gt_store **ret,
			      struct gt_err *err);
/* Finishes what is queued; completions that were not polled are dropped. NULL is fine. */
void gt_store_close(struct gt_store *s);
uint64_t gt_store_epoch(const struct gt_store *s);

/* Calls fn for the current revision of every function, in name order; the row is borrowed. Blocks.
 */
typedef void gt_store_row_fn(const struct gt_function_row *row, void *arg);
GT_MUST_USE int gt_store_load(struct gt_store *s, gt_store_row_fn *fn, void *arg,
			      struct gt_err *err);

/* The same for what users said of nodes. */
GT_MUST_USE int gt_store_load_nodes(struct gt_store *s,
				    void (*fn)(const struct gt_node_row *row, void *arg), void *arg,
				    struct gt_err *err);

/* And for the machines that joined, in the order of names. */
GT_MUST_USE int gt_store_load_members(struct gt_store *s,
				      void (*fn)(const struct gt_member *m, void *arg), void *arg,
				      struct gt_err *err);

/* And for the hosts of providers. */
GT_MUST_USE int gt_store_load_hosts(struct gt_store *s,
				    void (*fn)(const struct gt_host_row *row, void *arg), void *arg,
				    struct gt_err *err);

/* The authority that signs certificates, as PEM text that is added to both; -ENOENT (not_found):
 * there is none. Blocks. */
GT_MUST_USE int gt_store_authority(struct gt_store *s, struct gt_buf *key, struct gt_buf *cert,
				   struct gt_err *err);
/* Keeps this one, durably, unless there is one: ask again which it is. Blocks. */
GT_MUST_USE int gt_store_authority_keep(struct gt_store *s, const char *key, const char *cert,
					struct gt_err *err);

/* A secret that all controls of this store have in common, as text added to *ret; -ENOENT
 * (not_found): there is none of this name. Blocks. */
GT_MUST_USE int gt_store_key(struct gt_store *s, const char *name, struct gt_buf *ret,
			     struct gt_err *err);
/* Keeps this one, durably, unless there is one: ask again which it is. now_ms: when it was made, 0
 * = nobody knows. Blocks. */
GT_MUST_USE int gt_store_key_keep(struct gt_store *s, const char *name, const char *value,
				  uint64_t now_ms, struct gt_err *err);
/* Those that sign webhooks: the one of name GT_WEBHOOK_NEWEST, and those before. Blocks. */
GT_MUST_USE int gt_store_webhook_keys(struct gt_store *s, struct gt_webhook_keys *ret,
				      struct gt_err *err);

/* The store port of control (control/ports.h): ctx is the struct gt_store. Rows are copied; done is
 * called by gt_store_poll, in the order of the calls; err is NULL on success. */
void gt_store_put(void *ctx, const struct gt_function_row *row,
		  void (*done)(const struct gt_err *err, void *arg), void *arg);
void gt_store_drop(void *ctx, const char *function,
		   void (*done)(const struct gt_err *err, void *arg), void *arg);
void gt_store_put_node(void *ctx, const struct gt_node_row *row,
		       void (*done)(const struct gt_err *err, void *arg), void *arg);
/* Members and join tokens: does what op asks for, durably, and calls op->done. */
void gt_store_member(void *ctx, struct gt_member_op *op GT_TAKES);
void gt_store_webhook(void *ctx, struct gt_webhook_op *op GT_TAKES);
/* Hosts of providers: likewise. */
void gt_store_host(void *ctx, struct gt_host_op *op GT_TAKES);
void gt_store_revisions(void *ctx, const char *function,
			void (*done)(const struct gt_err *err, const struct gt_function_row *rows,
				     size_t n, void *arg),
			void *arg);
/* Durable calls: does what op asks for, and calls op->done. Changes are durable by then. Those that
 * only read see every change whose `done` was called. -> gt_task_op for what each verb takes. */
void gt_store_task(void *ctx, struct gt_task_op *op GT_TAKES);
void gt_store_poll(struct gt_store *s);

/* True once after PostgreSQL was lost in the middle of a commit and is back: calls that were told
 * to have failed may be there, so those that wait have to be counted anew. Any thread. */
bool gt_store_recount(struct gt_store *s);

/* -EIO, and why, when a read, write or sync of the state disk has failed; -ESTALE when the epoch is
 * over. Every write was refused since then, and only a process that opens the store anew may go on.
 * A PostgreSQL that is not there is no such failure: until it is, each write and read is refused
 * with `unavailable`. `notify` tells of it. A
 * database that is damaged is no such failure: what can be read is read, and writes are refused
 * with a text that says what to do. It is looked for once, by a thread of its own, after the store
 * was opened. Any thread. */
GT_MUST_USE int gt_store_failed(struct gt_store *s, struct gt_err *err);

GT_CLEANUP_TYPE(store, struct gt_store *, gt_store_close)

#endif
