/* mounts.c - the list of mounts of a configuration as volumes and tmpfs of a spec. What every
 * container has anyway is passed over; each option is done, already so, or refused. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

struct options {
	bool bind, readonly;
	uint64_t size_bytes; /* 0 = not given */
};

/* Every container has these, with options of the engine's own. */
static bool is_fixed(const char *path, const char *type)
{
	static const struct {
		const char *path, *type;
	} fixed[] = {
		{ "/proc", "proc" },
		{ "/dev", "tmpfs" },
		{ "/dev/pts", "devpts" },
		{ "/dev/shm", "tmpfs" },
		{ "/dev/mqueue", "mqueue" },
		{ "/sys", "sysfs" },
		{ "/sys/fs/cgroup", "cgroup" },
		{ "/sys/fs/cgroup", "cgroup2" },
	};

	for (size_t i = 0; i < GT_LEN(fixed); i++) {
		if (gt_streq(path, fixed[i].path) && gt_streq(type, fixed[i].type))
			return true;
	}
	return false;
}

static int read_size(const char *text, uint64_t *ret)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || errno != 0 || *text == '-' || n > UINT64_MAX >> 30)
		return -EINVAL;
	if (*end == 'k' || *end == 'K')
		n *= GT_KIB;
	else if (*end == 'm' || *end == 'M')
		n *= GT_MIB;
	else if (*end == 'g' || *end == 'G')
		n *= GT_GIB;
	else
		end--;
	if (end[1] != '\0')
		return -EINVAL;
	*ret = n;
	return 0;
}

static bool one_of(const char *text, const char *const *list)
{
	while (*list && strcmp(text, *list) != 0)
		list++;
	return *list;
}

static int read_option(const struct oci_args *args, const char *text, struct options *o,
		       struct gt_err *err)
{
	/* So it is anyway. */
	static const char *const same[] = { "rw",       "nosuid",   "nodev",     "noexec",
					    "private",  "rprivate", "relatime",  "norelatime",
					    "async",    "exec",     "mode=1777", "mode=01777",
					    "mode=777", NULL };
	/* Less is done than was asked, which takes no right away from the host. */
	static const char *const less[] = { "suid",        "dev",     "slave",         "rslave",
					    "strictatime", "noatime", "nodiratime",    "diratime",
					    "sync",        "dirsync", "nostrictatime", "atime",
					    NULL };

	if (strcmp(text, "bind") == 0 || strcmp(text, "rbind") == 0) {
		o->bind = true;
	} else if (strcmp(text, "ro") == 0 || strcmp(text, "rro") == 0) {
		o->readonly = true;
	} else if (strncmp(text, "size=", 5) == 0) {
		if (read_size(text + 5, &o->size_bytes) < 0)
			return oci_refuse(err, "mounts", "option \"%.60s\" is no size", text);
	} else if (one_of(text, less)) {
		oci_warn(args, "mount option \"%s\" is not honoured", text);
	} else if (!one_of(text, same)) {
		return oci_refuse(err, "mounts", "option \"%.60s\" is not supported", text);
	}
	return 0;
}

static int add_volume(const struct oci_bundle *b, const struct gt_oci_mount *m, const char *path,
		      const struct options *o, struct gt_spec *spec, struct gt_err *err)
{
	gt_auto(free) char *full = NULL;
	char real[PATH_MAX];

	if (!m->source)
		return oci_refuse(err, "mounts", "%s: a bind mount needs a source", path);
	full = *m->source == '/' ? gt_strdup(m->source) : gt_asprintf("%s/%s", b->dir, m->source);
	if (!realpath(full, real))
		return gt_err_errno(err, errno, "mounts: source %s", full);
	if (spec->n_volumes == GT_VOLUMES_MAX)
		return oci_refuse(err, "mounts", "more than %d bind mounts", GT_VOLUMES_MAX);
	spec->volumes[spec->n_volumes++] = (struct gt_volume){ .host = gt_strdup(real),
							       .path = gt_strdup(path),
							       .readonly = o->readonly };
	return 0;
}

static int add_tmpfs(const char *path, const struct options *o, struct gt_spec *spec,
		     struct gt_err *err)
{
	if (o->readonly)
		return oci_refuse(err, "mounts", "%s: a read-only tmpfs", path);
	if (spec->n_tmpfs == GT_TMPFS_MAX)
		return oci_refuse(err, "mounts", "more than %d tmpfs", GT_TMPFS_MAX);
	spec->tmpfs[spec->n_tmpfs++] = (struct gt_tmpfs){
		.path = gt_strdup(path),
		.size_bytes = o->size_bytes ? o->size_bytes : GT_DEFAULT_TMPFS_BYTES,
	};
	return 0;
}

static int map_mount(const struct oci_args *args, const struct oci_bundle *b,
		     const struct gt_oci_mount *m, struct gt_spec *spec, struct gt_err *err)
{
	struct options o = { .bind = gt_streq(m->type, "bind") };
	gt_auto(free) char *path = NULL;
	size_t len = strlen(m->destination);

	while (len > 1 && m->destination[len - 1] == '/')
		len--;
	path = *m->destination == '/' ? gt_strndup(m->destination, len)
				      : gt_asprintf("/%.*s", (int)len, m->destination);
	if (is_fixed(path, m->type))
		return 0;
	for (size_t i = 0; i < m->options.n; i++) {
		int r = read_option(args, m->options.v[i], &o, err);

		if (r < 0)
			return r;
	}
	if (gt_streq(path, "/"))
		return oci_refuse(err, "mounts", "nothing can be mounted on the root");
	if (o.bind)
		return add_volume(b, m, path, &o, spec, err);
	if (gt_streq(m->type, "tmpfs"))
		return add_tmpfs(path, &o, spec, err);
	return oci_refuse(err, "mounts", "%s: type \"%.40s\" is not supported", path,
			  m->type ? m->type : "");
}

int oci_map_mounts(const struct oci_args *args, const struct oci_bundle *bundle,
		   struct gt_spec *spec, struct gt_err *err)
{
	const struct gt_oci_config *c = bundle->config;

	spec->volumes = gt_alloc_array(GT_VOLUMES_MAX, sizeof(*spec->volumes));
	spec->tmpfs = gt_alloc_array(GT_TMPFS_MAX, sizeof(*spec->tmpfs));
	for (size_t i = 0; i < c->n_mounts; i++) {
		int r = map_mount(args, bundle, &c->mounts[i], spec, err);

		if (r < 0)
			return r;
	}
	return 0;
}
