/* sync.c - layers that the agent has taken over are brought to the disk, one after the other:
 * nobody waits for that. They are its files by now, and opened anew to read. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/base/cleanup.h>

#include "work.h"

struct unsynced {
	struct unsynced *prev, *next;
	char diff_id[GT_REF_DIGEST_SIZE];
};

static bool sync_file(const struct worker *w, const char *diff_id, const char *end)
{
	char path[GT_REF_DIGEST_SIZE + 8];

	snprintf(path, sizeof(path), "%s%s", gt_digest_hex(diff_id), end);
	gt_auto(fd) int fd = openat(w->layers_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0;
}

static struct unsynced *take(struct worker *w)
{
	struct unsynced *u;

	pthread_mutex_lock(&w->lock);
	u = w->unsynced;
	if (u)
		DL_DELETE(w->unsynced, u);
	w->syncing = u != NULL;
	pthread_mutex_unlock(&w->lock);
	return u;
}

static void *sync_all(void *arg)
{
	struct worker *w = arg;
	struct unsynced *u;

	while ((u = take(w))) {
		struct gt_image_event e = { .word = GT_IMAGE_SYNCED };

		gt_strcopy(e.name, sizeof(e.name), u->diff_id);
		if (sync_file(w, u->diff_id, ".tar") && sync_file(w, u->diff_id, ".erofs"))
			gt_work_tell(w, &e);
		free(u);
	}
	return NULL;
}

void gt_work_sync(struct worker *w, const char *diff_id)
{
	struct unsynced *u = gt_alloc(sizeof(*u));
	pthread_t thread;

	gt_strcopy(u->diff_id, sizeof(u->diff_id), diff_id);
	pthread_mutex_lock(&w->lock);
	DL_APPEND(w->unsynced, u);
	if (!w->syncing && pthread_create(&thread, NULL, sync_all, w) == 0) {
		pthread_detach(thread);
		w->syncing = true;
	} /* else the next one starts it */
	pthread_mutex_unlock(&w->lock);
}
