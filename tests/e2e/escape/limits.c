/* limits.c - bombs: each must hit a bound of the container's own. */
#include "escape.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS_MAX  4000
#define FILES_MAX  200000
#define BLOCK_SIZE (1 << 20)
#define BLOCKS_MAX 1024

static void bound(struct result *r, const char *what, int reached, int max, int wanted)
{
	say(r, reached < max && errno == wanted ? CONTAINED : ESCAPED, "%s: %d, then %s", what,
	    reached, reached < max ? error_name(errno) : "nothing");
}

static void forks(struct result *r, const char *arg, long nr)
{
	static pid_t children[FORKS_MAX];
	int n = 0, code;

	(void)arg;
	(void)nr;
	while (n < FORKS_MAX && (children[n] = fork()) >= 0) {
		if (children[n] == 0) {
			pause();
			_exit(0);
		}
		n++;
	}
	code = errno;
	for (int i = 0; i < n; i++)
		kill(children[i], SIGKILL);
	for (int i = 0; i < n; i++)
		waitpid(children[i], NULL, 0);
	errno = code;
	bound(r, "processes", n, FORKS_MAX, EAGAIN);
}

static void fill(struct result *r, const char *path, long nr)
{
	static char block[BLOCK_SIZE];
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600), n = 0, code;

	(void)nr;
	memset(block, 'x', sizeof(block));
	if (fd < 0) {
		say(r, ESCAPED, "%s: %s", path, error_name(errno));
		return;
	}
	while (n < BLOCKS_MAX && write(fd, block, sizeof(block)) == sizeof(block))
		n++;
	/* The last write may have been a short one. */
	code = write(fd, block, 1) < 0 ? errno : ENOSPC;
	unlink(path);
	close(fd);
	errno = code;
	bound(r, path, n, BLOCKS_MAX, ENOSPC);
}

static void inodes(struct result *r, const char *prefix, long nr)
{
	char path[64];
	int n = 0, code = 0;

	(void)nr;
	for (; n < FILES_MAX; n++) {
		int fd;

		snprintf(path, sizeof(path), "%s%d", prefix, n);
		fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd < 0)
			break;
		close(fd);
	}
	code = errno;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s%d", prefix, i);
		unlink(path);
	}
	errno = code;
	bound(r, prefix, n, FILES_MAX, ENOSPC);
}

/* More than the replica may have. Being killed is the good end, and the tests outside see it. */
static void hog(struct result *r, const char *arg, long nr)
{
	(void)arg;
	for (long i = 0; i < nr; i++) {
		void *block = mmap(NULL, BLOCK_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (block == MAP_FAILED) {
			say(r, CONTAINED, "%ld MiB, then %s", i, error_name(errno));
			return;
		}
		memset(block, 1, BLOCK_SIZE);
	}
	say(r, ESCAPED, "%ld MiB", nr);
}

static const struct probe table[] = {
	{ "bomb_processes", forks, NULL, 0, NOWHERE, PLAIN },
	{ "bomb_layer", fill, "/layer-bomb", 0, NOWHERE, PLAIN },
	{ "bomb_shm", fill, "/dev/shm/bomb", 0, NOWHERE, PLAIN },
	{ "bomb_tmpfs", fill, "/scratch/bomb", 0, NOWHERE, PLAIN },
	{ "bomb_layer_inodes", inodes, "/inode-", 0, NOWHERE, PLAIN },
	{ "bomb_shm_inodes", inodes, "/dev/shm/inode-", 0, NOWHERE, PLAIN },
	{ "bomb_tmpfs_inodes", inodes, "/scratch/inode-", 0, NOWHERE, PLAIN },
	{ "bomb_memory", hog, NULL, 512, NOWHERE, ALONE },
};
const struct probes limit_probes = PROBES(table);
