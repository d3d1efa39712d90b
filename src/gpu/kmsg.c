/* kmsg.c - /dev/kmsg gives one record a read; a FIFO gives lines in any pieces. A storm of lines is
 * read a bounded number at a time, so that the loop has others' turns between. */
#include "kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define READS 32 /* a round */

struct gpu_kmsg {
	int fd;
	struct gt_watch *watch;
	gpu_kmsg_fn *fn;
	void *arg;
	size_t len;
	char text[4096];
};

static void take_line(struct gpu_kmsg *k, const char *line, size_t len)
{
	struct gt_gpu_incident incident;
	int32_t pid;

	if (gpu_xid_parse(line, len, &incident, &pid))
		k->fn(&incident, pid, k->arg);
}

/* Whole lines; one that is longer than all of the room is cut. */
static void take_lines(struct gpu_kmsg *k)
{
	size_t at = 0;
	char *end;

	while ((end = memchr(k->text + at, '\n', k->len - at))) {
		take_line(k, k->text + at, (size_t)(end - k->text) - at);
		at = (size_t)(end - k->text) + 1;
	}
	if (at == 0 && k->len == sizeof(k->text)) {
		take_line(k, k->text, k->len);
		at = k->len;
	}
	memmove(k->text, k->text + at, k->len - at);
	k->len -= at;
}

static void on_readable(struct gt_watch *w, unsigned events, void *arg)
{
	struct gpu_kmsg *k = arg;

	(void)w;
	(void)events;
	for (unsigned i = 0; i < READS; i++) {
		ssize_t n = read(k->fd, k->text + k->len, sizeof(k->text) - k->len);

		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* the kernel overwrote what was not read yet: on with the next */
		if (n < 0 && errno == EINVAL && k->len > 0) {
			k->len = 0; /* no room for a record beside a piece of one */
			continue;
		}
		if (n <= 0)
			break;
		k->len += (size_t)n;
		take_lines(k);
	}
}

int gpu_kmsg_open(struct gt_loop *loop, const char *path, gpu_kmsg_fn *fn, void *arg,
		  struct gpu_kmsg **ret, struct gt_err *err)
{
	struct gpu_kmsg *k = gt_alloc(sizeof(*k));
	int r = 0;

	k->fn = fn;
	k->arg = arg;
	k->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC); /* a FIFO that has no end for us */
	if (k->fd < 0)
		k->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (k->fd < 0)
		r = gt_err_errno(err, errno, "%s", path);
	if (r == 0) {
		(void)!lseek(k->fd, 0, SEEK_END);
		r = gt_loop_watch(loop, k->fd, GT_EV_READ, on_readable, k, &k->watch, err);
	}
	if (r < 0)
		gpu_kmsg_close(k);
	else
		*ret = k;
	return r;
}

void gpu_kmsg_close(struct gpu_kmsg *k)
{
	if (!k)
		return;
	gt_watch_close(k->watch);
	gt_close(k->fd);
	free(k);
}
