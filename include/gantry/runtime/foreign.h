/* runtime/foreign.h - what a bundle of the OCI runtime specification asks for and a function's
 * specification has no word for. Only for the adapter that lets others judge the engine (room oci):
 * nothing here loosens the sandbox but `root_direct`. All is borrowed for the call it is given to.
 */
#ifndef GANTRY_RUNTIME_FOREIGN_H
#define GANTRY_RUNTIME_FOREIGN_H

#include <gantry/base/base.h>

#define GT_FOREIGN_GROUPS_MAX 64
#define GT_FOREIGN_LIMITS_MAX 32

struct gt_foreign_limit {
	int resource; /* RLIMIT_*; not CORE, which stays 0 */
	uint64_t soft, hard;
};

struct gt_foreign_sysctl {
	const char *path; /* "net/ipv4/ip_forward": of a namespace of the container's */
	const char *value;
};

enum gt_foreign_caps {
	GT_FOREIGN_BOUNDING,
	GT_FOREIGN_EFFECTIVE,
	GT_FOREIGN_PERMITTED,
	GT_FOREIGN_INHERITABLE,
	GT_FOREIGN_AMBIENT,
	GT_FOREIGN_CAPS_N
};

struct gt_foreign {
	const char *hostname, *domainname; /* NULL: the function's name; none */
	bool root_direct;   /* programs write into the image's directory, no layer lies over it */
	bool root_readonly; /* once all is mounted */
	bool has_caps;
	uint64_t caps[GT_FOREIGN_CAPS_N]; /* bits CAP_*; at most what the engine leaves any program
					   */
	bool has_oom_score_adj;
	int oom_score_adj; /* >= 0 */
	uint32_t umask;
	uint32_t groups[GT_FOREIGN_GROUPS_MAX];
	size_t n_groups;
	struct gt_foreign_limit limits[GT_FOREIGN_LIMITS_MAX];
	size_t n_limits;
	const struct gt_foreign_sysctl *sysctls;
	size_t n_sysctls;
	/* Besides the engine's own; what does not exist is passed over. */
	const char *const *masked, *const *readonly;
	size_t n_masked, n_readonly;
};

/* The capabilities that a program can have at most. */
uint64_t gt_foreign_caps_max(void);

#endif
