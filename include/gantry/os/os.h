/* os/os.h - one thin wrapper a system call, or a handful that only make sense together. No policy:
 * what to do, and in which order, is decided by the rooms above.
 *
 * Each returns 0 or -errno with the object named in err; outputs are written only on success and
 * descriptors are close-on-exec and the caller's. */
#ifndef GANTRY_OS_OS_H
#define GANTRY_OS_OS_H

#include <dirent.h>
#include <sys/types.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_OS_FDS_MAX 253 /* descriptors in one packet: the kernel takes no more */

/* ---- files ---- */
/* dirfd may be AT_FDCWD. The text is written by one write(2) into an existing file. */
int gt_os_write_at(int dirfd, const char *path, const char *text, struct gt_err *err);
/* At most size - 1 bytes, NUL-terminated, without trailing blanks. Fits files of the kernel. */
int gt_os_read_at(int dirfd, const char *path, char *buf, size_t size, struct gt_err *err);
int gt_os_open_dir(int dirfd, const char *path, int *ret, struct gt_err *err);
/* To read the names in a directory; the caller's, for closedir(3). NULL: errno says why. */
DIR *gt_os_list(int dirfd);
/* As open(2), but the directory `root` is the root of all that path and symbolic links name. */
int gt_os_open_in(int root, const char *path, int flags, int *ret, struct gt_err *err);
int gt_os_mkdir_at(int dirfd, const char *path, mode_t mode, struct gt_err *err); /* may exist */
int gt_os_rmdir_at(int dirfd, const char *path, struct gt_err *err); /* may be gone already */
/* A new FIFO of ours with mode 0600, replacing one that is there. */
int gt_os_fifo_at(int dirfd, const char *name, struct gt_err *err);
/* An unnamed file in memory with this content, sealed against any change. */
int gt_os_memfd(const char *name, const void *data, size_t len, int *ret, struct gt_err *err);

/* ---- processes ---- */
int gt_os_pidfd_open(pid_t pid, int *ret, struct gt_err *err);
int gt_os_pidfd_signal(int pidfd, int signo, struct gt_err *err);
bool gt_os_pidfd_ended(int pidfd); /* also when nobody has taken its exit status yet */
/* Takes the exit status of a dead child; -ECHILD for somebody else's child. */
int gt_os_pidfd_reap(int pidfd, struct gt_err *err);
/* When the process was started, in clock ticks since boot: tells a reused pid apart. */
int gt_os_start_time(pid_t pid, uint64_t *ret, struct gt_err *err);
/* It ends, or there is none: the kernel shows it in no control group any more. */
bool gt_os_pid_ending(pid_t pid);
struct gt_os_spawn {
	uint64_t flags; /* CLONE_NEW* */
	int cgroup;     /* directory of a group of version 2 to begin in; < 0 = the caller's */
	void (*fn)(void *arg); /* executes a program; a return is an exit with 127 */
	void *arg;
};
/* A child that runs fn in the caller's memory, on a small stack of its own, while the calling
 * thread sleeps until it has executed or ended: fn keeps to syscall(2). The descriptors are the
 * caller's too, until fn takes a copy of some: close_range(2) with CLOSE_RANGE_UNSHARE. All signals
 * are blocked in it, handlers are reset, what is ignored stays ignored. */
int gt_os_spawn(const struct gt_os_spawn *spawn, pid_t *ret_pid, int *ret_pidfd,
		struct gt_err *err);

/* ---- namespaces ---- */
/* A user namespace that maps 0..count-1 to base..base+count-1 for users and groups alike. It
 * belongs to the user `base`: what the kernel counts for the users in it, it counts for the owner
 * too, who must not be the same for all. */
int gt_os_userns_new(uint32_t base, uint32_t count, int *ret, struct gt_err *err);
int gt_os_ns_open(pid_t pid, const char *name, int *ret, struct gt_err *err); /* "net", "user" */
/* A non-blocking TCP socket made inside the network namespace `netns`; the calling thread is moved
 * there and back to `home`. Aborts when it can not come back. */
int gt_os_socket_in(int netns, int home, int *ret, struct gt_err *err);
/* The same for reading a file whose content is the namespace's: "/proc/thread-self/net/...". */
int gt_os_read_in(int netns, int home, const char *path, char *buf, size_t size,
		  struct gt_err *err);

/* ---- mounts ---- */
/* Only a name for the file or directory, without any right on it. Symbolic links are followed in
 * the root directory only (/lib); elsewhere they are -ELOOP: a program with a writable volume
 * could have put one there to get at something else. */
int gt_os_path_open(const char *path, int *ret, struct gt_err *err);
/* A private, unattached copy of what is mounted at a descriptor (not of mounts below it). */
int gt_os_tree_open(int at, int *ret, struct gt_err *err);
/* MOUNT_ATTR_* bits to set; userns >= 0 maps the ids of the tree by that namespace. */
int gt_os_tree_attr(int tree, uint64_t set, int userns, struct gt_err *err);
/* The absolute path that a descriptor stands for now. */
int gt_os_fd_path(int fd, char *buf, size_t size, struct gt_err *err);
/* A tmpfs with these options at a directory, or with `again` new options for the one that is there:
 * no programs, devices or set-user-id bits in it. */
int gt_os_tmpfs_mount(const char *path, const char *options, bool again, struct gt_err *err);
int gt_os_unmount(const char *path, struct gt_err *err); /* now, or when the last user is gone */
/* Gives the process its own mount table, of which nothing gets out. */
int gt_os_mounts_private(struct gt_err *err);

/* ---- connections between hosts ---- */
#define GT_OS_TCP_SILENT_MS 3000
/* TCP_USER_TIMEOUT, which the kernel counts from the first time that it sends something again, 0.2
 * to 0.4 s after it was sent: so it is over when the probes are where nothing was on its way. */
#define GT_OS_TCP_UNACKED_MS (GT_OS_TCP_SILENT_MS - 400)
/* A peer that is gone is missed within about GT_OS_TCP_SILENT_MS, whether something was sent to it
 * or not: one that says nothing is asked each second. 0 or -errno. */
int gt_os_tcp_guard(int fd);
/* Of a guarded one: may what was sent wait for a program that does not read it? The kernel takes a
 * window that stays closed for a peer that is gone. 0 or -errno. */
int gt_os_tcp_patience(int fd, bool patient);
/* Of a patient one: nothing was acknowledged for GT_OS_TCP_SILENT_MS, though something is on its
 * way. A window that is closed is not: its peer still says so. */
bool gt_os_tcp_silent(int fd);

/* ---- packet sockets ---- */
int gt_os_socketpair(int ret[2], struct gt_err *err); /* SOCK_SEQPACKET, blocking */
int gt_os_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds,
	       struct gt_err *err);
/* Never waits: -EAGAIN when nothing is there (err untouched), -ECONNRESET at the end, after
 * all that the peer sent before it. Descriptors past max_fds are closed. */
int gt_os_recv(int sock, void *data, size_t size, size_t *ret_len, int *fds, size_t max_fds,
	       size_t *ret_n_fds, struct gt_err *err);

#endif
