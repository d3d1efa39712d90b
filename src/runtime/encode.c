/* encode.c - a spec as the flat file that process 1 reads (init_proto.h). */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/os/os.h>
#include <gantry/runtime/foreign.h>

#include "runtime_impl.h"

#define ENCODED_MAX   (16 * GT_MIB)
#define HOSTNAME_SIZE 65 /* the kernel's */

struct mount_entry {
	const char *path;
	const struct gt_volume *volume; /* one of these three, or a tmpfs */
	const struct gt_inject_bind *bind;
	const struct gt_container_file *file;
	uint64_t size_bytes;
};

struct mount_list {
	struct mount_entry entries[PLAN_TREES_MAX + GT_TMPFS_MAX];
	size_t n;
};

/* A parent sorts before what is mounted below it. */
static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct mount_entry *)a)->path, ((const struct mount_entry *)b)->path);
}

/* What layers, volumes and the node's own files leave: the others stay as the volume has them. */
static size_t files_room(const struct gt_container_args *args)
{
	size_t taken = GT_MAX(args->n_layers, (size_t)1) + args->spec->n_volumes +
		       (args->inject ? args->inject->n_binds : 0);

	return PLAN_TREES_MAX - GT_MIN(taken, (size_t)PLAN_TREES_MAX);
}

static int list_mounts(const struct gt_container_args *args, struct mount_list *ret,
		       struct gt_err *err)
{
	const struct gt_spec *spec = args->spec;
	const struct gt_inject *inject = args->inject;
	struct mount_list l = { .n = 0 };

	if (spec->n_volumes > GT_VOLUMES_MAX || spec->n_tmpfs > GT_TMPFS_MAX ||
	    args->n_files > GT_RUNTIME_FILES_MAX)
		return gt_err_set(err, E2BIG, "sandbox_failed",
				  "too many volumes, tmpfs mounts or files");
	for (size_t i = 0; i < spec->n_volumes; i++)
		l.entries[l.n++] = (struct mount_entry){ .path = spec->volumes[i].path,
							 .volume = &spec->volumes[i] };
	for (size_t i = 0; i < spec->n_tmpfs; i++)
		l.entries[l.n++] = (struct mount_entry){ .path = spec->tmpfs[i].path,
							 .size_bytes = spec->tmpfs[i].size_bytes };
	for (size_t i = 0; inject && i < inject->n_binds; i++)
		l.entries[l.n++] = (struct mount_entry){ .path = inject->binds[i].path,
							 .bind = &inject->binds[i] };
	for (size_t i = 0; i < args->n_files && i < files_room(args); i++)
		l.entries[l.n++] = (struct mount_entry){ .path = args->files[i].path,
							 .file = &args->files[i] };
	qsort(l.entries, l.n, sizeof(l.entries[0]), by_path);
	*ret = l;
	return 0;
}

void gt_encode_string(struct gt_buf *out, const char *s)
{
	gt_buf_add(out, s, strlen(s) + 1);
}

static bool has_env(const struct gt_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_env; i++) {
		if (gt_streq(spec->env[i].name, name))
			return true;
	}
	return false;
}

/* Unless the user has set the name. Returns how many were added. */
static uint32_t add_default(struct gt_buf *out, const struct gt_spec *spec, const char *name,
			    const char *value)
{
	if (has_env(spec, name))
		return 0;
	gt_buf_addf(out, "%s=%s", name, value);
	gt_buf_addc(out, '\0');
	return 1;
}

static uint32_t add_env(struct gt_buf *out, const struct gt_container_args *args,
			const char *hostname)
{
	const struct gt_spec *spec = args->spec;
	uint32_t n = (uint32_t)spec->n_env;
	char port[8], revision[16];

	snprintf(port, sizeof(port), "%u", spec->port);
	snprintf(revision, sizeof(revision), "%u", args->revision);
	for (size_t i = 0; i < spec->n_env; i++) {
		gt_buf_addf(out, "%s=%s", spec->env[i].name, spec->env[i].value);
		gt_buf_addc(out, '\0');
	}
	if (args->foreign)
		return n; /* a bundle lists all of it */
	n += add_default(out, spec, "PATH", GT_DEFAULT_PATH);
	n += add_default(out, spec, "HOSTNAME", hostname);
	if (spec->socket)
		n += add_default(out, spec, "GANTRY_SOCKET", spec->socket);
	else
		n += add_default(out, spec, "PORT", port);
	n += add_default(out, spec, "GANTRY_FUNCTION", args->function);
	n += add_default(out, spec, "GANTRY_REVISION", revision);
	return n;
}

/* With GPUs or with other members: through shared and locked memory. */
static bool works_with_others(const struct gt_spec *spec)
{
	return spec->gang.size > 0 || spec->resources.gpu.count > 0;
}

static uint64_t shm_bytes(const struct gt_spec *spec)
{
	if (spec->resources.shm_bytes > 0 || !works_with_others(spec))
		return spec->resources.shm_bytes;
	return spec->resources.memory_bytes / 4;
}

static int encode(struct gt_runtime *rt, const struct gt_container_args *args,
		  const struct mount_list *mounts, struct gt_buf *out, struct gt_err *err)
{
	const struct gt_spec *spec = args->spec;
	struct gt_init_spec head = {
		.magic = GT_INIT_MAGIC,
		.n_filter = (uint32_t)(rt->filter.len / 8),
		.n_argv = (uint32_t)spec->n_command,
		.n_mounts = (uint32_t)mounts->n,
		.home = !has_env(spec, "HOME"),
		.foreign = args->foreign != NULL,
		.inject = args->inject != NULL,
		.disk_bytes = spec->resources.disk_bytes,
		.memlock = !args->foreign && works_with_others(spec),
		.shm_bytes = args->foreign ? 0 : shm_bytes(spec),
	};
	char hostname[HOSTNAME_SIZE];

	gt_strcopy(hostname, sizeof(hostname),
		   args->foreign && args->foreign->hostname ? args->foreign->hostname
							    : args->function);
	gt_buf_add(out, &head, sizeof(head));
	gt_buf_add(out, rt->filter.data, rt->filter.len);
	for (size_t i = 0; i < mounts->n; i++) {
		const struct mount_entry *e = &mounts->entries[i];
		struct gt_init_mount m = { .volume = e->volume || e->bind || e->file,
					   .size_bytes = e->size_bytes };

		gt_buf_add(out, &m, sizeof(m));
	}
	if (args->foreign)
		gt_foreign_encode(args->foreign, out);
	if (args->inject)
		gt_inject_encode(args->inject, out);
	gt_encode_string(out, spec->workdir ? spec->workdir : "/");
	gt_encode_string(out, hostname);
	gt_encode_string(out, spec->user ? spec->user : "0:0");
	for (size_t i = 0; i < spec->n_command; i++)
		gt_encode_string(out, spec->command[i]);
	head.n_env = add_env(out, args, hostname);
	for (size_t i = 0; i < mounts->n; i++)
		gt_encode_string(out, mounts->entries[i].path);
	if (args->foreign)
		gt_foreign_encode_strings(args->foreign, out);
	if (args->inject)
		gt_inject_encode_strings(args->inject, out);
	if (out->failed)
		return gt_err_set(err, E2BIG, "sandbox_failed",
				  "command and environment are too large");
	memcpy(out->data, &head, sizeof(head));
	return 0;
}

int gt_spec_encode(struct gt_runtime *rt, const struct gt_container_args *args, struct plan *p,
		   struct gt_err *err)
{
	size_t n_links = args->inject ? args->inject->n_links : 0;
	struct mount_list mounts = { .n = 0 };
	int r;

	gt_buf_init(&p->flat, ENCODED_MAX);
	if (args->spec->n_command == 0)
		return gt_err_set(err, EINVAL, "command_missing", "the function has no command");
	r = list_mounts(args, &mounts, err);
	if (r == 0)
		r = encode(rt, args, &mounts, &p->flat, err);
	if (r < 0)
		return r;
	p->mount_paths = gt_alloc_array(mounts.n + n_links + 1, sizeof(*p->mount_paths));
	for (size_t i = 0; r == 0 && i < mounts.n; i++) {
		p->mount_paths[i] = gt_strdup(mounts.entries[i].path);
		if (mounts.entries[i].volume)
			r = gt_volume_open(rt, mounts.entries[i].volume, p, err);
		else if (mounts.entries[i].bind)
			r = gt_bind_open(mounts.entries[i].bind, p, err);
		else if (mounts.entries[i].file)
			r = gt_file_add(mounts.entries[i].file, p, err);
	}
	for (size_t i = 0; r == 0 && i < n_links; i++)
		p->mount_paths[mounts.n + i] = gt_strdup(args->inject->links[i].path);
	if (r == 0 && args->inject)
		gt_inject_devices(args->inject, p);
	return r;
}

static int go_add(struct gt_init_go *go, size_t *len, const char *name, const char *value,
		  struct gt_err *err)
{
	int n = snprintf(go->env + *len, sizeof(go->env) - *len, "%s%s", name, value);

	if (go->n_env == GT_INIT_GO_ENV || n < 0 || (size_t)n >= sizeof(go->env) - *len)
		return gt_err_set(err, E2BIG, "sandbox_failed",
				  "the replica's own environment is too large");
	*len += (size_t)n + 1;
	go->n_env++;
	return 0;
}

int gt_go_add(struct gt_init_go *go, const char *const *env, size_t n, struct gt_err *err)
{
	size_t len = 0;
	int r = 0;

	for (uint32_t i = 0; i < go->n_env; i++)
		len += strlen(go->env + len) + 1;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = go_add(go, &len, env[i], "", err);
	return r;
}

int gt_go_encode(const struct gt_container_args *args, struct gt_init_go **ret, struct gt_err *err)
{
	gt_auto(free) struct gt_init_go *go = gt_alloc(sizeof(*go));
	size_t len = 0;
	int r = 0;

	go->type = GT_INIT_GO;
	if (!args->foreign && !has_env(args->spec, "GANTRY_REPLICA"))
		r = go_add(go, &len, "GANTRY_REPLICA=", args->replica, err);
	if (r == 0)
		r = gt_go_add(go, args->env, args->n_env, err);
	if (r == 0)
		*ret = gt_steal(&go);
	return r;
}
