/* init.h - the parts of gantry-init, process 1 of a container. It is a small static program that
 * shares no code with the daemon: after the root was entered nothing is left of the host. */
#ifndef GANTRY_RUNTIME_INIT_INIT_H
#define GANTRY_RUNTIME_INIT_INIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <gantry/runtime/init_proto.h>

struct init_spec {
	const struct gt_init_spec *head;
	const void *filter; /* struct sock_filter[head->n_filter] */
	const struct gt_init_mount *mounts;
	char *workdir, *hostname, *user;
	/* argv and envp end in NULL; envp has room for HOME and what GO adds. */
	char **argv, **envp, **paths;
	const struct gt_init_foreign *foreign; /* NULL: a function's; else with these strings */
	char *domainname, **masked, **readonly, **sysctls;
	const struct gt_init_inject *inject; /* NULL: no devices; else with these */
	const struct gt_init_node *nodes;
	char **node_paths, **links, **texts, **hides; /* links and texts in pairs */
};

/* What came with PREPARE. */
struct init_prepare {
	struct gt_init_prepare head;
	int fds[GT_INIT_FDS_MAX];
	size_t n_fds;
	uint64_t came_us;
};

/* Tells the agent and ends the process; with it the container. */
_Noreturn void init_fail(enum gt_init_step step, int code, unsigned index);
uint64_t init_now_us(void);

/* wire.c: packets of the socket. */
void init_answer(const struct gt_init_answer *a);
/* One packet of exactly `size` bytes, which begins with `type`. Returns the number of descriptors;
 * the end of the socket ends the process. */
size_t init_receive(enum gt_init_type type, void *data, size_t size, int fds[GT_INIT_FDS_MAX]);

/* stage.c: everything that needs no specification. Leaves scratch/{dev,proc,sys} mounted and the
 * working directory in scratch. */
void init_stage(const struct gt_init_stage *stage, const int *fds, size_t n_fds);

/* An empty, unwritable thing of its kind over the path; fine when it is not there. */
void init_mask(const char *path, enum gt_init_step step);

/* net.c: loopback, and with host >= 0 (the host's network namespace, taken) a way out. */
void init_net(const struct gt_init_net *net, int host);

/* spec.c: points into the mapped file; fails on what does not add up. */
void init_spec_read(int fd, size_t len, struct init_spec *ret);

/* root.c: from the staged scratch to the container's root as "/". Closes layers and volumes. */
void init_root(const struct init_spec *spec, const struct init_prepare *p,
	       const struct gt_init_stage *stage);

/* etc.c: resolv.conf, hosts and hostname into "up", over the layers of the image. */
void init_etc(const char *hostname, const char *resolv, const struct init_prepare *p,
	      uint32_t id_base);

/* What is below `root`, never through a link that leads out; -1 with errno. */
int init_open_below(int root, const char *path, uint64_t flags, uint64_t resolve);
/* A descriptor of the place to mount on or to make something in; what is missing of the path is
 * made. Not in /dev, /proc or /sys. index: for who reads why it failed. */
int init_target(int root, const char *path, bool dir, uint32_t id_base, unsigned index);

/* inject.c: device nodes and views of /proc and /sys, while they are still staged; links, in the
 * new root, when all is mounted there. */
void init_inject(const struct init_spec *spec, uint32_t id_base);
void init_inject_links(const struct init_spec *spec, int root, uint32_t id_base);

/* foreign.c: what a bundle asks for beyond a function's specification. */
/* Instead of an overlay; returns a descriptor. From there on to init_foreign_set_up files are made
 * as the container's root: the mount knows no other user. */
int init_foreign_root(const struct init_prepare *p, uint32_t id_base);
/* With the host's rights, when all is mounted and the host's /proc is still there. */
void init_foreign_set_up(const struct init_spec *spec, int root);
/* In the child: 0, or an errno. The second, instead of becoming the user as functions do. */
int init_foreign_limits(const struct gt_init_foreign *f);
int init_foreign_become(const struct gt_init_foreign *f, uint32_t uid, uint32_t gid);

/* priv.c: user namespace, capabilities, seccomp: nothing privileged is possible after it. */
void init_drop(const struct init_spec *spec, int userns);
/* The rest, which depends on the user: what may never come back. */
int init_lock_rights(bool root);

/* user.c: who "name", "7", "name:group" and so on are, by the files below the directory `root`. */
#define INIT_GROUPS_MAX 64
struct init_user {
	uint32_t uid, gid;
	uint32_t groups[INIT_GROUPS_MAX];
	size_t n_groups;
	char home[256];
};
/* 0, or an errno and what could not be found: ENOENT for a name that is missing. */
int init_user_find(int root, const char *text, struct init_user *ret,
		   enum gt_init_user_part *ret_part);

/* child.c: returns the program's process id once it was executed, with the moment GO came. */
pid_t init_exec(const struct init_spec *spec, bool tell_prepared, uint64_t *ret_go_us);

/* reap.c: the rest of process 1's life. */
_Noreturn void init_reap(pid_t program, int status_fd);

#endif
