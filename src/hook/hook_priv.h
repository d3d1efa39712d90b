/* hook_priv.h - one call of a hook, as the two kinds share it. */
#ifndef GANTRY_HOOK_PRIV_H
#define GANTRY_HOOK_PRIV_H

#include <sys/types.h>

#include <gantry/base/buf.h>
#include <gantry/hook/hook.h>

#define HOOK_LINE_MAX 400 /* of what a program says on 2; the rest of a line is lost */

struct hook_call {
	struct gt_hooks *hooks;
	enum gt_hook_verb verb;
	char provider[GT_PROVIDER_NAME_MAX + 1];
	uint64_t timeout_ms;
	gt_hook_fn *done;
	void *arg;
	struct gt_buf ask, answer;
	struct gt_http_call *http; /* NULL: a program */
	pid_t pid;
	int pidfd, out, said;
	struct gt_watch *on_end, *on_out, *on_said;
	struct gt_timer late;
	struct gt_err failed; /* of one that is being killed */
	char line[HOOK_LINE_MAX + 1],
		last[HOOK_LINE_MAX + 1]; /* of 2: unfinished; the last whole */
	size_t line_len, lines;
	struct hook_call *prev, *next;
};

struct gt_hooks {
	struct gt_hooks_config config;
	struct gt_outbound anywhere;
	struct hook_call *calls;
};

/* Tells the caller, and frees the call. why NULL: call->answer is to be read. */
void hook_finish(struct hook_call *call, const struct gt_err *why);
/* exec.c */
GT_MUST_USE int hook_exec_start(struct hook_call *call, const char *program, struct gt_err *err);
void hook_exec_end(struct hook_call *call); /* kills what runs, closes all */

#endif
