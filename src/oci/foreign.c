/* foreign.c - the part of a configuration that only the engine's door for bundles of others takes
 * (runtime/foreign.h): capabilities, limits, groups, names of the host, paths, sysctl. */
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "map.h"

/* ---- capabilities ---- */

static const char *const cap_names[] = {
#define CAP(name) [CAP_##name] = "CAP_" #name
	CAP(CHOWN),
	CAP(DAC_OVERRIDE),
	CAP(DAC_READ_SEARCH),
	CAP(FOWNER),
	CAP(FSETID),
	CAP(KILL),
	CAP(SETGID),
	CAP(SETUID),
	CAP(SETPCAP),
	CAP(LINUX_IMMUTABLE),
	CAP(NET_BIND_SERVICE),
	CAP(NET_BROADCAST),
	CAP(NET_ADMIN),
	CAP(NET_RAW),
	CAP(IPC_LOCK),
	CAP(IPC_OWNER),
	CAP(SYS_MODULE),
	CAP(SYS_RAWIO),
	CAP(SYS_CHROOT),
	CAP(SYS_PTRACE),
	CAP(SYS_PACCT),
	CAP(SYS_ADMIN),
	CAP(SYS_BOOT),
	CAP(SYS_NICE),
	CAP(SYS_RESOURCE),
	CAP(SYS_TIME),
	CAP(SYS_TTY_CONFIG),
	CAP(MKNOD),
	CAP(LEASE),
	CAP(AUDIT_WRITE),
	CAP(AUDIT_CONTROL),
	CAP(SETFCAP),
	CAP(MAC_OVERRIDE),
	CAP(MAC_ADMIN),
	CAP(SYSLOG),
	CAP(WAKE_ALARM),
	CAP(BLOCK_SUSPEND),
	CAP(AUDIT_READ),
	CAP(PERFMON),
	CAP(BPF),
	CAP(CHECKPOINT_RESTORE),
#undef CAP
};

/* The specification wants capabilities that can not be granted to be told, not refused. A name that
 * is none is a mistake. */
static int read_caps(const struct oci_args *args, const struct gt_oci_strs *names, uint64_t *ret,
		     struct gt_err *err)
{
	uint64_t set = 0;

	for (size_t i = 0; i < names->n; i++) {
		size_t cap = 0;

		while (cap < GT_LEN(cap_names) && !gt_streq(cap_names[cap], names->v[i]))
			cap++;
		if (cap == GT_LEN(cap_names))
			return oci_refuse(err, "process.capabilities", "there is no \"%.40s\"",
					  names->v[i]);
		set |= 1ull << cap;
		if (!(gt_foreign_caps_max() >> cap & 1))
			oci_warn(args, "process.capabilities: %s can not be granted", names->v[i]);
	}
	*ret = set & gt_foreign_caps_max();
	return 0;
}

static int map_caps(const struct oci_args *args, const struct gt_oci_config *c,
		    struct gt_foreign *f, struct gt_err *err)
{
	static const enum gt_foreign_caps to[] = {
		[GT_OCI_CAP_BOUNDING] = GT_FOREIGN_BOUNDING,
		[GT_OCI_CAP_EFFECTIVE] = GT_FOREIGN_EFFECTIVE,
		[GT_OCI_CAP_PERMITTED] = GT_FOREIGN_PERMITTED,
		[GT_OCI_CAP_INHERITABLE] = GT_FOREIGN_INHERITABLE,
		[GT_OCI_CAP_AMBIENT] = GT_FOREIGN_AMBIENT,
	};
	uint64_t *caps = f->caps;

	f->has_caps = c->has_caps;
	for (size_t i = 0; i < GT_OCI_CAP_SET_N; i++) {
		int r = read_caps(args, &c->process.caps[i], &caps[to[i]], err);

		if (r < 0)
			return r;
	}
	/* What the kernel would refuse. */
	caps[GT_FOREIGN_EFFECTIVE] &= caps[GT_FOREIGN_PERMITTED];
	caps[GT_FOREIGN_INHERITABLE] &= caps[GT_FOREIGN_BOUNDING] | caps[GT_FOREIGN_PERMITTED];
	caps[GT_FOREIGN_AMBIENT] &= caps[GT_FOREIGN_PERMITTED] & caps[GT_FOREIGN_INHERITABLE];
	return 0;
}

/* ---- limits ---- */

static int find_limit(const char *name)
{
	static const struct {
		const char *name;
		int resource;
	} names[] = {
#define LIMIT(name) { "RLIMIT_" #name, RLIMIT_##name }
		LIMIT(AS),     LIMIT(CORE),   LIMIT(CPU),        LIMIT(DATA),
		LIMIT(FSIZE),  LIMIT(LOCKS),  LIMIT(MEMLOCK),    LIMIT(MSGQUEUE),
		LIMIT(NICE),   LIMIT(NOFILE), LIMIT(NPROC),      LIMIT(RSS),
		LIMIT(RTPRIO), LIMIT(RTTIME), LIMIT(SIGPENDING), LIMIT(STACK),
#undef LIMIT
	};

	for (size_t i = 0; i < GT_LEN(names); i++) {
		if (gt_streq(name, names[i].name))
			return names[i].resource;
	}
	return -ENOENT;
}

static int map_limits(const struct oci_args *args, const struct gt_oci_config *c,
		      struct gt_foreign *f, struct gt_err *err)
{
	for (size_t i = 0; i < c->process.n_rlimits; i++) {
		const struct gt_oci_rlimit *l = &c->process.rlimits[i];
		int resource = find_limit(l->type);

		if (resource < 0)
			return oci_refuse(err, "process.rlimits", "there is no \"%.40s\"", l->type);
		for (size_t k = 0; k < i; k++) {
			if (gt_streq(l->type, c->process.rlimits[k].type))
				return oci_refuse(err, "process.rlimits", "%s is there twice",
						  l->type);
		}
		if (l->soft > l->hard)
			return oci_refuse(err, "process.rlimits", "%s: soft is above hard",
					  l->type);
		if (resource == RLIMIT_CORE) {
			oci_warn(args, "process.rlimits: RLIMIT_CORE stays 0");
			continue;
		}
		f->limits[f->n_limits++] = (struct gt_foreign_limit){ resource, l->soft, l->hard };
	}
	return 0;
}

/* ---- sysctl ---- */

static bool asks_for(const struct gt_oci_config *c, const char *namespace)
{
	for (size_t i = 0; i < c->linux_.n_namespaces; i++) {
		if (gt_streq(c->linux_.namespaces[i].type, namespace))
			return true;
	}
	return false;
}

/* Those of a namespace that the container is to have for itself: with others a bundle means the
 * host's. */
static bool sysctl_is_own(const struct gt_oci_config *c, const char *name)
{
	static const char *const exact[] = { "kernel.msgmax", "kernel.msgmnb",
					     "kernel.msgmni", "kernel.sem",
					     "kernel.shmall", "kernel.shmmax",
					     "kernel.shmmni", "kernel.shm_rmid_forced" };

	for (size_t i = 0; i < GT_LEN(exact); i++) {
		if (gt_streq(name, exact[i]))
			return asks_for(c, "ipc");
	}
	return (gt_starts_with(name, "net.") && asks_for(c, "network")) ||
	       (gt_starts_with(name, "fs.mqueue.") && asks_for(c, "ipc"));
}

static int map_sysctls(const struct gt_oci_config *c, struct oci_plan *p, struct gt_err *err)
{
	size_t n = c->linux_.n_sysctl;

	p->sysctls = gt_alloc_array(n + 1, sizeof(*p->sysctls));
	p->sysctl_paths = gt_alloc_array(n + 1, sizeof(*p->sysctl_paths));
	for (size_t i = 0; i < n; i++) {
		char *path = gt_strdup(c->linux_.sysctl[i].name);

		p->sysctl_paths[i] = path; /* NULL-terminated: freed by it */
		if (!sysctl_is_own(c, path) || strchr(path, '/') || strlen(path) > 200)
			return oci_refuse(err, "linux.sysctl",
					  "\"%.100s\" is of no namespace of a container's own",
					  path);
		for (char *at = path; (at = strchr(at, '.')); at++)
			*at = '/';
		p->sysctls[i] = (struct gt_foreign_sysctl){ path, c->linux_.sysctl[i].value };
	}
	p->foreign.sysctls = p->sysctls;
	p->foreign.n_sysctls = n;
	return 0;
}

int oci_map_foreign(const struct oci_args *args, const struct gt_oci_config *c, struct oci_plan *p,
		    struct gt_err *err)
{
	struct gt_foreign *f = &p->foreign;
	int r;

	f->hostname = c->hostname;
	f->domainname = c->domainname;
	/* A read-only root needs no writes of its owner's: mount points are made in a layer. */
	f->root_direct = !c->root.readonly;
	f->root_readonly = c->root.readonly;
	f->umask = c->process.umask;
	f->n_groups = c->process.n_groups;
	memcpy(f->groups, c->process.groups, f->n_groups * sizeof(f->groups[0]));
	f->masked = (const char *const *)c->linux_.masked.v;
	f->n_masked = c->linux_.masked.n;
	f->readonly = (const char *const *)c->linux_.readonly.v;
	f->n_readonly = c->linux_.readonly.n;
	f->has_oom_score_adj = c->has_oom_score_adj;
	f->oom_score_adj = c->process.oom_score_adj;
	if (f->oom_score_adj < 0)
		return oci_refuse(err, "process.oomScoreAdj",
				  "no container is spared more than others");
	r = map_caps(args, c, f, err);
	if (r == 0)
		r = map_limits(args, c, f, err);
	return r < 0 ? r : map_sysctls(c, p, err);
}
