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
	char *workdir, *hostname;
	char **argv, **envp, **paths; /* argv and envp end in NULL */
};

struct init_fds {
	int fixed[GT_INIT_FD_N];
	int volumes[GT_INIT_FDS_MAX];
	size_t n_volumes;
};

/* Tells the agent and ends the process; with it the container. */
_Noreturn void init_fail(enum gt_init_step step, int code, unsigned index);
uint64_t init_now_us(void);

/* stage.c: everything that needs no specification. Leaves scratch/{dev,proc,sys} mounted and the
 * working directory in scratch. */
void init_stage(const struct gt_init_stage *stage, const int *fds, size_t n_fds);

/* net.c: loopback, and with host >= 0 (the host's network namespace, taken) a way out. */
void init_net(const struct gt_init_net *net, int host);

/* spec.c: points into the mapped file; fails on what does not add up. */
void init_spec_read(int fd, size_t len, struct init_spec *ret);

/* root.c: from the staged scratch to the container's root as "/". */
void init_root(const struct init_spec *spec, const struct init_fds *fds,
	       const struct gt_init_stage *stage);

/* etc.c: resolv.conf, hosts and hostname into "up", over the image in "lower". */
void init_etc(const char *hostname, const char *resolv, uint32_t id_base);

/* priv.c: user namespace, capabilities, seccomp: nothing privileged is possible after it. */
void init_drop(const struct init_spec *spec, int userns);

/* child.c: returns the program's process id once it was executed. */
pid_t init_exec(const struct init_spec *spec, const struct init_fds *fds);

/* reap.c: the rest of process 1's life. */
_Noreturn void init_reap(pid_t program, int status_fd);

#endif
