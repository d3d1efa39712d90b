/* plan.c - what a sandbox is made of: put together, compared, sent. */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <gantry/os/os.h>

#include "runtime_impl.h"

/* Causes are for users: what has none yet is the node's trouble. */
int gt_cause_set(struct gt_err *err, int r)
{
	if (r < 0 && err && gt_streq(err->slug, "system_error"))
		gt_strcopy(err->slug, sizeof(err->slug), "sandbox_failed");
	return r;
}

/* The disks that it reads its image from and that its volumes are on. */
static void find_disks(const struct gt_runtime *rt, struct plan *p)
{
	struct stat st;

	if (stat(rt->mnt_path, &st) == 0)
		gt_cgroup_disk_add("/sys", st.st_dev, &p->limits);
	for (size_t i = 0; i < p->n_trees; i++) {
		if (fstat(p->trees[i].fd, &st) == 0)
			gt_cgroup_disk_add("/sys", st.st_dev, &p->limits);
	}
}

int gt_plan_new(struct gt_runtime *rt, const struct gt_container_args *args, struct plan **ret,
		struct gt_err *err)
{
	const struct gt_spec *spec = args->spec;
	struct plan *p = gt_alloc(sizeof(*p));
	int r;

	gt_strcopy(p->function, sizeof(p->function), args->function);
	p->revision = args->revision;
	p->network = spec->network;
	p->shared_ids = args->foreign != NULL;
	p->limits = (struct gt_cgroup_limits){
		.memory_bytes = spec->resources.memory_bytes,
		.memory_high_bytes = spec->resources.memory_high_bytes,
		.cpu_milli = spec->resources.cpu_milli,
		.pids = spec->resources.pids,
		.io = spec->resources.io,
	};
	r = gt_image_open(rt, args, p, err);
	if (r == 0)
		r = gt_spec_encode(rt, args, p, err);
	if (r == 0 && gt_io_is_limited(&p->limits.io))
		find_disks(rt, p);
	if (r == 0)
		r = gt_cgroups_can(&rt->cgroups, &p->limits, err);
	if (r < 0) {
		gt_plan_free(p);
		return gt_cause_set(err, r);
	}
	p->command = gt_strdup(spec->command[0]);
	p->workdir = gt_strdup(spec->workdir);
	p->image = gt_strdup(spec->image);
	p->user = gt_strdup(spec->user);
	*ret = p;
	return 0;
}

void gt_plan_free(struct plan *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_trees; i++) {
		gt_close(p->trees[i].fd);
		free(p->trees[i].name);
	}
	for (char **path = p->mount_paths; path && *path; path++)
		free(*path);
	free(p->mount_paths);
	free(p->command);
	free(p->workdir);
	free(p->image);
	free(p->user);
	gt_buf_fini(&p->flat);
	free(p);
}

/* Byte by byte, not by a digest. A tree is the same while its root is the same inode: both plans
 * hold it open, so that the number can not belong to another one. */
bool gt_plan_same(const struct plan *a, const struct plan *b)
{
	if (!gt_streq(a->function, b->function) || a->revision != b->revision ||
	    a->network != b->network || a->shared_ids != b->shared_ids ||
	    a->n_layers != b->n_layers || a->n_trees != b->n_trees || a->flat.len != b->flat.len ||
	    memcmp(a->flat.data, b->flat.data, a->flat.len) != 0 ||
	    memcmp(&a->limits, &b->limits, sizeof(a->limits)) != 0)
		return false;
	for (size_t i = 0; i < a->n_trees; i++) {
		const struct plan_tree *x = &a->trees[i], *y = &b->trees[i];

		if (x->id[0] != y->id[0] || x->id[1] != y->id[1] || x->attr != y->attr ||
		    x->map != y->map || x->layer != y->layer)
			return false;
	}
	return true;
}

int gt_plan_send(const struct gt_runtime *rt, const struct plan *p, int sock, int userns,
		 bool answer, struct gt_err *err)
{
	struct gt_init_prepare m = {
		.type = GT_INIT_PREPARE,
		.spec_len = (uint32_t)p->flat.len,
		.n_layers = (uint32_t)p->n_layers,
		.by_fd = rt->layers_by_fd,
		.answer = answer,
	};
	int fds[GT_INIT_FDS_MAX], r;
	size_t n = GT_INIT_FD_LAYERS;

	r = gt_os_memfd("gantry-spec", p->flat.data, p->flat.len, &fds[GT_INIT_FD_SPEC], err);
	if (r < 0)
		return r;
	fds[GT_INIT_FD_USERNS] = userns;
	for (size_t i = 0; r == 0 && i < p->n_trees; i++) {
		r = gt_tree_take(p, &p->trees[i], userns, &fds[n], err);
		n += r == 0;
	}
	if (r == 0)
		r = gt_os_send(sock, &m, sizeof(m), fds, n, err);
	while (n > GT_INIT_FD_LAYERS)
		gt_close(fds[--n]);
	gt_close(fds[GT_INIT_FD_SPEC]);
	return r;
}

static void user_failure(const struct plan *p, const struct gt_init_answer *a, struct gt_err *err)
{
	const char *user = p->user ? p->user : "0:0", *colon = strchr(user, ':');
	bool group = a->index == GT_INIT_USER_GROUP;
	const char *file = group ? "/etc/group" : "/etc/passwd";
	int len = (int)(colon ? colon - user : (long)strlen(user));

	if (group && colon) {
		user = colon + 1;
		len = (int)strlen(user);
	}
	if (a->code == ENOENT)
		gt_err_set(err, a->code, "exec_failed", "%s \"%.*s\" is not in %s of the image %s",
			   group ? "group" : "user", len, user, file, p->image);
	else
		gt_err_set(err, a->code, "exec_failed",
			   "%s \"%.*s\": %s of the image %s can not be used: %s",
			   group ? "group" : "user", len, user, file, p->image, strerror(a->code));
}

void gt_plan_failure(const struct plan *p, const struct gt_init_answer *a, struct gt_err *err)
{
	const char *reason = strerror(a->code);

	switch (a->step) {
	case GT_INIT_STEP_LOOKUP:
		gt_err_set(err, a->code, "command_missing",
			   "command \"%s\" does not exist in the image %s", p->command, p->image);
		break;
	case GT_INIT_STEP_INTERPRETER:
		gt_err_set(err, a->code, "exec_failed",
			   "command \"%s\" is in the image %s, but its interpreter or dynamic "
			   "loader is not",
			   p->command, p->image);
		break;
	case GT_INIT_STEP_EXEC:
		gt_err_set(err, a->code, "exec_failed", "command \"%s\" can not be executed: %s",
			   p->command, reason);
		break;
	case GT_INIT_STEP_WORKDIR:
		gt_err_set(err, a->code, "exec_failed",
			   "the working directory %s can not be entered: %s", p->workdir, reason);
		break;
	case GT_INIT_STEP_USER_NAME:
		user_failure(p, a, err);
		break;
	case GT_INIT_STEP_TARGET:
	case GT_INIT_STEP_MOUNT:
		gt_err_set(err, a->code, "sandbox_failed", "mount at %s in the container: %s",
			   a->index > 0 ? p->mount_paths[a->index - 1] : "/dev, /proc or /sys",
			   reason);
		break;
	default:
		gt_err_set(err, a->code, "sandbox_failed", "the sandbox could not %s: %s (%u)",
			   gt_init_step_text(a->step), reason, a->index);
	}
}
