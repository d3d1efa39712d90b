/* runtime/init_proto.h - inside the runtime room only: what the agent and the container's process 1
 * say to each other over one packet socket.
 *
 *	agent -> init  STAGE    + one descriptor of a group's list of members a group to join,
 *				with GT_INIT_NET_EGRESS the host's network namespace last, with
 *				GT_INIT_NET_MADE the one to have
 *	init -> agent  STAGED
 *	agent -> init  PREPARE  + specification, user namespace, layers, volumes
 *	init -> agent  PREPARED   when PREPARE asked for it
 *	agent -> init  GO       + standard output, standard error
 *	agent -> init  STATUS   + a file for the end
 *	init -> agent  RUNS, or FAILED and exit
 *
 * The agent need not wait for an answer before it sends what comes next. STAGE holds what is the
 * same for all, PREPARE what is the same for all replicas of a revision, GO the rest. The end of
 * the socket ends an init that has not got all of them. Both ends are built together, so structs go
 * over the wire as they are. Libc headers only. */
#ifndef GANTRY_RUNTIME_INIT_PROTO_H
#define GANTRY_RUNTIME_INIT_PROTO_H

#include <linux/capability.h>
#include <stdint.h>

#define GT_INIT_SOCKET     3          /* where init finds its end */
#define GT_INIT_SCRATCH    "/scratch" /* the one directory where init begins */
#define GT_INIT_FDS_MAX    250        /* in one packet; the kernel takes 253 */
#define GT_INIT_LAYERS_MAX 128
#define GT_INIT_MAGIC      0x32544e47u /* "GNT2" */
#define GT_INIT_GO_ENV     25
#define GT_INIT_GO_BYTES   8192 /* the ids of 16 GPUs, twice; the addresses of 64 members */

#define GT_INIT_CAP(name) (1ull << CAP_##name)
/* What root may be inside: owner of its files, switching users, nothing about the machine. */
#define GT_INIT_CAPS                                                                           \
	(GT_INIT_CAP(CHOWN) | GT_INIT_CAP(DAC_OVERRIDE) | GT_INIT_CAP(FOWNER) |                \
	 GT_INIT_CAP(FSETID) | GT_INIT_CAP(KILL) | GT_INIT_CAP(SETGID) | GT_INIT_CAP(SETUID) | \
	 GT_INIT_CAP(SETPCAP) | GT_INIT_CAP(NET_BIND_SERVICE))

enum gt_init_type {
	GT_INIT_STAGE = 1,
	GT_INIT_STAGED,
	GT_INIT_PREPARE,
	GT_INIT_PREPARED,
	GT_INIT_GO,
	GT_INIT_STATUS,
	GT_INIT_RUNS,
	GT_INIT_FAILED,
};

enum gt_init_net_flags {
	GT_INIT_NET_HOST = 1,   /* it has no network of its own */
	GT_INIT_NET_EGRESS = 2, /* make a veth pair; the members below say how */
	GT_INIT_NET_4 = 4,
	GT_INIT_NET_6 = 8,
	GT_INIT_NET_MADE = 16, /* it gets one that is there and set up */
};

struct gt_init_net {
	uint32_t flags;
	char host_if[16];           /* name of the host's end */
	uint8_t addr4[4], gate4[4]; /* the container's address; the next hop, which is nobody's */
	uint8_t addr6[16];
};

#define GT_INIT_RESOLV_SIZE 1024

struct gt_init_stage {
	uint32_t type;
	uint32_t id_base; /* host id of the container's root */
	uint32_t cgroup2; /* show the container its own part of the unified hierarchy */
	struct gt_init_net net;
	char resolv[GT_INIT_RESOLV_SIZE]; /* the container's /etc/resolv.conf, NUL-terminated */
};

/* Descriptors: the memory file, the user namespace, `n_layers` detached trees (topmost first), and
 * one a volume. */
struct gt_init_prepare {
	uint32_t type;
	uint32_t spec_len; /* bytes in the memory file */
	uint32_t n_layers;
	uint32_t by_fd;  /* the kernel's overlay takes layers by descriptor; they stay detached */
	uint32_t answer; /* PREPARED is waited for; GO comes at some later time */
};

enum gt_init_prepare_fd { GT_INIT_FD_SPEC, GT_INIT_FD_USERNS, GT_INIT_FD_LAYERS };

/* Descriptors: FIFOs, open for both directions: no reader may ever be missing. */
struct gt_init_go {
	uint32_t type;
	uint32_t n_env;             /* up to GT_INIT_GO_ENV */
	char env[GT_INIT_GO_BYTES]; /* NUL-terminated strings, "NAME=value" */
};

struct gt_init_status_here {
	uint32_t type; /* one descriptor, which gets one struct gt_init_status */
};

/* Where a start failed: name, text for people. */
#define GT_INIT_STEPS(X)                                  \
	X(PROTOCOL, "understand the agent")               \
	X(NAMESPACES, "make its namespaces")              \
	X(CGROUP, "join its control groups")              \
	X(NETWORK, "set up its network")                  \
	X(SCRATCH, "make its scratch file system")        \
	X(DEV, "make /dev")                               \
	X(PROC, "mount /proc")                            \
	X(SYS, "mount /sys")                              \
	X(ETC, "write its name and name servers")         \
	X(OVERLAY, "lay a writable layer over the image") \
	X(TARGET, "make a mount point")                   \
	X(MOUNT, "mount into the root")                   \
	X(PIVOT, "switch to the new root")                \
	X(INJECT, "give it its devices")                  \
	X(FOREIGN, "do what the bundle asks for")         \
	X(HOSTNAME, "set the host name")                  \
	X(USERNS, "enter its user namespace")             \
	X(PRIVILEGE, "drop privileges")                   \
	X(SECCOMP, "load the system call filter")         \
	X(FORK, "start a process")                        \
	X(STDIO, "set up standard input and output")      \
	X(USER_NAME, "find the user")                     \
	X(USER, "switch to the user")                     \
	X(WORKDIR, "enter the working directory")         \
	X(LOOKUP, "find the command")                     \
	X(INTERPRETER, "find the command's interpreter")  \
	X(EXEC, "execute the command")

enum gt_init_step {
#define X(name, text) GT_INIT_STEP_##name,
	GT_INIT_STEPS(X)
#undef X
		GT_INIT_STEP_N
};

struct gt_init_answer {
	uint32_t type;
	uint32_t step;    /* FAILED: enum gt_init_step */
	int32_t code;     /* FAILED: errno */
	uint32_t index;   /* FAILED: which mount, with TARGET and MOUNT; what, with USER_NAME */
	uint64_t root_us; /* PREPARE received -> root file system in place; 0: done ahead of GO */
	uint64_t exec_us; /* from there, or from GO, to the program's execution */
};

/* index of a failed USER_NAME */
enum gt_init_user_part { GT_INIT_USER_FILE, GT_INIT_USER_USER, GT_INIT_USER_GROUP };

/* The memory file: this head, `n_filter` seccomp instructions of 8 bytes, `n_mounts` mounts, then
 * one struct gt_init_foreign when `foreign` is 1, one struct gt_init_inject and its nodes when
 * `inject` is 1, NUL-terminated strings: working directory, host name, user, arguments,
 * environment, mount paths, and those of the foreign and of the inject struct. */
struct gt_init_spec {
	uint32_t magic;
	uint32_t n_filter, n_argv, n_env, n_mounts;
	uint32_t home; /* the environment lacks HOME: the user's own is put there */
	uint32_t foreign, inject;
	uint32_t memlock; /* it may lock all of its memory */
	uint32_t zero;
	uint64_t disk_bytes;
	uint64_t shm_bytes; /* of /dev/shm; 0 = as it was staged */
};

/* runtime/foreign.h, flat. Its strings: domain name, masked paths, read-only paths, and a path and
 * a value for each sysctl. */
#define GT_INIT_FOREIGN_MAX 64
struct gt_init_foreign {
	uint32_t root_direct, root_readonly, has_caps, has_oom_score_adj;
	int32_t oom_score_adj;
	uint32_t umask, n_groups, n_limits, n_masked, n_readonly, n_sysctls, zero;
	uint64_t caps[5]; /* in the order of enum gt_foreign_caps */
	uint32_t groups[GT_INIT_FOREIGN_MAX];
	struct {
		uint64_t resource, soft, hard;
	} limits[GT_INIT_FOREIGN_MAX];
};

/* model/inject.h, flat, but for what is mounted like volumes and for the environment. Its strings:
 * a path below /dev for each node, path and target of each link, path below /proc/driver and
 * content of each text, and the paths below /sys that are hidden. */
struct gt_init_inject {
	uint32_t n_nodes, n_links, n_texts, n_hides;
};

struct gt_init_node {
	uint32_t major, minor;
	uint32_t block, zero;
};

struct gt_init_mount {
	uint32_t volume; /* 1: take the next volume descriptor; 0: make a tmpfs */
	uint32_t zero;
	uint64_t size_bytes; /* of a tmpfs */
};

struct gt_init_status {
	uint32_t magic;
	int32_t code;   /* -1 when it was killed */
	int32_t signal; /* 0 when it exited */
	uint32_t zero;
	uint64_t wall_ms;
};

#endif
