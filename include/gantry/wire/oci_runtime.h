/* wire/oci_runtime.h - the documents of the OCI runtime specification 1.x: a bundle's config.json
 * and the state of a container. Any thread.
 *
 * The specification wants unknown members and annotations to be passed over, so they are; what is
 * known must have its type and range, or the refusal names its JSON path. What a value means, and
 * what this engine can do of it, is decided above (room oci). */
#ifndef GANTRY_WIRE_OCI_RUNTIME_H
#define GANTRY_WIRE_OCI_RUNTIME_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

#define GT_OCI_CONFIG_MAX (1024 * 1024) /* bytes of a config.json */
#define GT_OCI_LIST_MAX   1024          /* elements of a list or a map */
#define GT_OCI_ID_MAX     128
#define GT_OCI_GROUPS_MAX 64

struct gt_oci_pair {
	char *name, *value;
};

struct gt_oci_strs {
	char **v; /* NULL-terminated, or NULL when n is 0 */
	size_t n;
};

struct gt_oci_mount {
	char *destination, *type, *source; /* type and source may be NULL */
	struct gt_oci_strs options;
};

struct gt_oci_rlimit {
	char *type; /* "RLIMIT_NOFILE" */
	uint64_t soft, hard;
};

struct gt_oci_namespace {
	char *type, *path; /* path: NULL = a new one */
};

struct gt_oci_id_map {
	uint32_t container, host, size;
};

struct gt_oci_device_rule { /* of the device control group */
	bool allow;
	char *access;
	int64_t major, minor; /* -1 = any */
};

struct gt_oci_hook {
	char *path;
	struct gt_oci_strs args, env;
	uint32_t timeout_s; /* 0 = none */
};

struct gt_oci_hook_list {
	struct gt_oci_hook *v;
	size_t n;
};

enum gt_oci_hook_point {
	GT_OCI_PRESTART,
	GT_OCI_CREATE_RUNTIME,
	GT_OCI_CREATE_CONTAINER,
	GT_OCI_START_CONTAINER,
	GT_OCI_POSTSTART,
	GT_OCI_POSTSTOP,
	GT_OCI_HOOK_POINT_N
};

enum gt_oci_cap_set {
	GT_OCI_CAP_BOUNDING,
	GT_OCI_CAP_EFFECTIVE,
	GT_OCI_CAP_PERMITTED,
	GT_OCI_CAP_INHERITABLE,
	GT_OCI_CAP_AMBIENT,
	GT_OCI_CAP_SET_N
};

struct gt_oci_config {
	char *version;
	bool has_process, has_caps, has_root, has_oom_score_adj, has_seccomp;
	struct {
		struct gt_oci_strs args, env;
		char *cwd;
		uint32_t uid, gid, umask;
		uint32_t groups[GT_OCI_GROUPS_MAX];
		size_t n_groups;
		struct gt_oci_strs caps[GT_OCI_CAP_SET_N];
		struct gt_oci_rlimit *rlimits;
		size_t n_rlimits;
		bool terminal, no_new_privileges;
		int oom_score_adj;
		char *apparmor, *selinux;
	} process;
	struct {
		char *path;
		bool readonly;
	} root;
	char *hostname, *domainname;
	struct gt_oci_mount *mounts;
	size_t n_mounts;
	struct {
		struct gt_oci_namespace *namespaces;
		size_t n_namespaces;
		struct gt_oci_id_map *uid_maps, *gid_maps;
		size_t n_uid_maps, n_gid_maps;
		struct gt_oci_strs masked, readonly;
		struct gt_oci_pair *sysctl;
		size_t n_sysctl;
		char *propagation, *mount_label, *cgroups_path;
	} linux_;
	struct {
		int64_t memory_bytes; /* <= 0: none */
		int64_t cpu_quota_us; /* <= 0: none */
		uint64_t cpu_period_us;
		int64_t pids; /* <= 0: none */
		struct gt_oci_device_rule *devices;
		size_t n_devices;
	} resources;
	/* The JSON path of the first member that exists in the specification but not here. */
	char unsupported[64];
	struct gt_oci_hook_list hooks[GT_OCI_HOOK_POINT_N];
	struct gt_oci_pair *annotations;
	size_t n_annotations;
};

/* -EINVAL with slug "malformed_json" or "invalid_spec", -EMSGSIZE above GT_OCI_CONFIG_MAX. */
GT_MUST_USE int gt_oci_config_read(const char *text, size_t len, struct gt_oci_config **ret,
				   struct gt_err *err);
void gt_oci_config_free(struct gt_oci_config *config); /* NULL is fine */
GT_CLEANUP_TYPE(oci_config, struct gt_oci_config *, gt_oci_config_free)

enum gt_oci_status {
	GT_OCI_CREATING,
	GT_OCI_CREATED,
	GT_OCI_RUNNING,
	GT_OCI_STOPPED,
	GT_OCI_STATUS_N
};
const char *gt_oci_status_name(unsigned status);

/* What is written of a container: the members of the specification's state, and with `own` those
 * that the adapter needs to find the process again. */
struct gt_oci_state {
	char id[GT_OCI_ID_MAX + 1];
	enum gt_oci_status status;
	int pid; /* 0 when stopped */
	uint64_t start_time;
	char *bundle; /* absolute */
	struct gt_oci_pair *annotations;
	size_t n_annotations;
};
void gt_oci_state_write(const struct gt_oci_state *state, bool own, struct gt_buf *out);
GT_MUST_USE int gt_oci_state_read(const char *text, size_t len, struct gt_oci_state *ret,
				  struct gt_err *err);
void gt_oci_state_fini(struct gt_oci_state *state);

#endif
