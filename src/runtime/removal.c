/* removal.c - after the last process. A container is gone when its control groups could be removed:
 * the kernel refuses that while anything is still in them. */
#include "runtime_impl.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/log.h>

#define RETRY_MS_FIRST 1
#define RETRY_MS_MAX   200
#define LOUD_AFTER     40 /* tries: some seconds */

void gt_exit_read(int status_fd, struct gt_exit *ret)
{
	struct gt_init_status st;

	/* Process 1 itself was killed: by us, or together with all of its group. */
	*ret = (struct gt_exit){ .code = -1, .signal = SIGKILL };
	if (status_fd < 0 || pread(status_fd, &st, sizeof(st), 0) != sizeof(st) ||
	    st.magic != GT_INIT_MAGIC)
		return;
	ret->code = st.code;
	ret->signal = st.signal;
	ret->wall_ms = st.wall_ms;
}

static void try_again(void *arg)
{
	gt_sandbox_remove(arg);
}

static void tell_owner(struct sandbox *box)
{
	struct gt_container *owner = box->owner;

	box->owner = NULL;
	if (!owner)
		return;
	owner->box = NULL;
	gt_container_on_exit(owner, &box->how);
}

void gt_sandbox_remove(struct sandbox *box)
{
	struct gt_runtime *rt = box->rt;
	int r;

	if (box->state != SANDBOX_REMOVING) {
		box->state = SANDBOX_REMOVING;
		gt_exit_read(box->owner ? box->owner->status : -EBADF, &box->how);
		/* The program may also have ended by itself after a helper of it was killed. */
		box->how.oom = gt_cgroup_oom_kills(&rt->cgroups, box->where.sandbox) > 0 &&
			       box->how.code != 0;
	}
	r = gt_hot_inherit(box) ? 0 : gt_cgroup_remove(&rt->cgroups, box->where.sandbox);
	if (r == 0) {
		tell_owner(box);
		gt_sandbox_forget(box);
		return;
	}
	gt_cgroup_kill(&rt->cgroups, box->where.sandbox);
	box->removals++;
	if (box->removals == LOUD_AFTER) {
		gt_warn("control group %s is still in use; trying on", box->where.sandbox);
		tell_owner(box);
	}
	gt_timer_set(rt->loop, &box->timer,
		     GT_MIN((uint64_t)RETRY_MS_FIRST << GT_MIN(box->removals, 10u), RETRY_MS_MAX),
		     try_again, box);
}

struct sandbox *gt_sandbox_leftover(struct gt_runtime *rt, const char *leaf)
{
	struct sandbox *box = gt_alloc(sizeof(*box));

	box->rt = rt;
	box->state = SANDBOX_REMOVING;
	box->pidfd = box->control = box->netns = -EBADF;
	gt_strcopy(box->where.sandbox, sizeof(box->where.sandbox), leaf);
	gt_sandbox_hold_ids(box);
	DL_APPEND(rt->sandboxes, box);
	return box;
}
