/* oci.h - what the files of the adapter share. One thread. */
#ifndef GANTRY_OCI_IMPL_H
#define GANTRY_OCI_IMPL_H

#include <stdio.h>

#include <gantry/base/err.h>
#include <gantry/model/spec.h>
#include <gantry/runtime/foreign.h>
#include <gantry/wire/oci_runtime.h>

/* ---- command line ---- */

struct oci_args {
	const char *root; /* where the containers' directories are */
	const char *log;  /* file for refusals and warnings, or NULL */
	bool log_json;
	const char *command, *id;
	const char *bundle, *config, *pid_file;
	bool detach, keep, force, quiet;
	const char *signal;
	FILE *out, *err;
};

/* command.c: a warning goes where refusals go. */
void oci_warn(const struct oci_args *args, const char *fmt, ...) GT_PRINTF(2, 3);

/* verbs.c: each returns an exit code, or a negative errno with err. */
int oci_create(const struct oci_args *args, struct gt_err *err);
int oci_run(const struct oci_args *args, struct gt_err *err);
int oci_start(const struct oci_args *args, struct gt_err *err);
int oci_state(const struct oci_args *args, struct gt_err *err);
int oci_kill(const struct oci_args *args, struct gt_err *err);
int oci_delete(const struct oci_args *args, struct gt_err *err);
int oci_list(const struct oci_args *args, struct gt_err *err);

/* ---- a bundle ---- */

struct oci_bundle {
	char *dir; /* absolute, free of links */
	char *text;
	size_t len; /* of config.json as it was read, kept for the hooks of a later command */
	struct gt_oci_config *config;
};

/* bundle.c */
int oci_bundle_load(const char *dir, const char *config, struct oci_bundle *ret,
		    struct gt_err *err);
void oci_bundle_fini(struct oci_bundle *b);

/* map.c: what the engine is asked for. Refuses what it can not do where the specification asks for
 * a refusal, warns where it does more or less than asked. */
struct oci_plan {
	struct gt_spec *spec;
	uint32_t id_base;          /* 0 = the engine's */
	bool has_program;          /* else it can be created, but not started */
	struct gt_foreign foreign; /* its texts are the configuration's */
	struct gt_foreign_sysctl *sysctls;
	char **sysctl_paths;
};
int oci_plan_make(const struct oci_args *args, const struct oci_bundle *bundle,
		  struct oci_plan *ret, struct gt_err *err);
void oci_plan_fini(struct oci_plan *p);

/* ---- a container's directory ---- */

struct oci_dir {
	char *path; /* <root>/<id> */
	int fd;
};

/* store.c. -EEXIST with a text when there is one of this id. */
int oci_dir_make(const char *root, const char *id, struct oci_dir *ret, struct gt_err *err);
int oci_dir_open(const char *root, const char *id, struct oci_dir *ret, struct gt_err *err);
void oci_dir_fini(struct oci_dir *d);
void oci_dir_remove(const struct oci_dir *d); /* best effort; what the engine left goes first */
bool oci_id_ok(const char *id);
int oci_file_write(int dirfd, const char *name, const void *data, size_t len, struct gt_err *err);
int oci_file_read(int dirfd, const char *name, size_t max, struct gt_buf *ret, struct gt_err *err);
int oci_state_save(const struct oci_dir *d, const struct gt_oci_state *state, struct gt_err *err);
/* As it is now: a monitor or a container that died unseen is taken into account. */
int oci_state_load(const struct oci_dir *d, struct gt_oci_state *ret, struct gt_err *err);
/* The monitor holds it as long as it lives; others wait for its end here, at most wait_ms. */
int oci_lock_take(const struct oci_dir *d, int *ret, struct gt_err *err);
int oci_lock_wait(const struct oci_dir *d, unsigned wait_ms, struct gt_err *err);

/* ---- the resident process ---- */

/* control.c: one request and one answer a connection. */
#define OCI_REQUEST_START 0 /* any other number: a signal to pass on */
int oci_control_listen(const struct oci_dir *d, int *ret, struct gt_err *err);
int oci_control_ask(const struct oci_dir *d, int request, struct gt_err *err);
int oci_control_accept(int listener, int *ret, int *ret_request); /* -EAGAIN: nobody asks */
void oci_control_answer(int conn, const struct gt_err *refusal);  /* NULL: done */

/* hooks.c: those of one point, in order, each with the state on its standard input. */
int oci_hooks_run(const struct gt_oci_hook_list *list, const struct gt_oci_state *state,
		  struct gt_err *err);

struct oci_monitor {
	const struct oci_args *args;
	const struct oci_dir *dir;
	const struct oci_bundle *bundle;
	const struct oci_plan *plan;
	bool wait_for_start; /* create; else run */
	int created_fd;      /* gets one struct oci_created, or -EBADF */
};

struct oci_created {
	int pid; /* 0: refused */
	struct gt_err err;
};

/* monitor.c: the container from its sandbox to its end; returns its exit code, or a negative errno
 * when it never ran. */
int oci_monitor_run(const struct oci_monitor *m, struct gt_err *err);

#endif
