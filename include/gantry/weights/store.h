/* weights/store.h - copies of files of weights in the node's memory, of which every replica sees
 * the same one: a tmpfs of huge pages, DIR/agent/weights, mounted by the supervisor so that it
 * outlives the agent. A file's name there is gt_weights_id_name of its source, with ".part" while
 * it is being filled; so what a later process finds tells all there is to know.
 *
 * The agent's loop thread; each call is a few file operations. */
#ifndef GANTRY_WEIGHTS_STORE_H
#define GANTRY_WEIGHTS_STORE_H

#include <gantry/base/err.h>
#include <gantry/weights/scan.h>

/* For a supervisor. bytes 0: there shall be none, and the memory of one that is there comes back
 * when its last user is gone. Where the kernel has no huge pages for it, ordinary ones. */
GT_MUST_USE int gt_weights_store_mount(const char *state_dir, uint64_t bytes, struct gt_err *err);
int gt_weights_store_unmount(const char *state_dir, struct gt_err *err); /* fine when it is not */

struct gt_weights_store;
struct gt_weights_copy; /* one file in it */

/* Takes up what is there; fills that never ended go. -ENOENT: nothing is mounted there. */
GT_MUST_USE int gt_weights_store_open(const char *state_dir, struct gt_weights_store **ret,
				      struct gt_err *err);
/* For tests: any directory, of so many bytes. Takes the descriptor in any case. */
GT_MUST_USE int gt_weights_store_open_at(int dir_fd, uint64_t bytes, struct gt_weights_store **ret,
					 struct gt_err *err);
void gt_weights_store_close(struct gt_weights_store *s); /* NULL is fine; files stay */

/* NULL: it is not here, or not complete. */
struct gt_weights_copy *gt_weights_store_find(struct gt_weights_store *s, const char *name);
/* An empty file for it, pinned once. Makes room by removing complete copies that nobody has pinned,
 * the one used longest ago first, and only if that will do. -ENOSPC, slug store_full: it would not;
 * nothing has changed. *ret_fd: for writing, the caller's. */
GT_MUST_USE int gt_weights_store_add(struct gt_weights_store *s, const struct gt_weights_id *id,
				     struct gt_weights_copy **ret, int *ret_fd, struct gt_err *err);
/* It is complete: gets the owner, rights and time of its source, but nobody may write. */
GT_MUST_USE int gt_weights_store_seal(struct gt_weights_store *s, struct gt_weights_copy *c,
				      const struct gt_weights_id *id, struct gt_err *err);
/* One that was never sealed, or that is not wanted any more: removed, pins or not. */
void gt_weights_store_drop(struct gt_weights_store *s, struct gt_weights_copy *c);
void gt_weights_store_pin(struct gt_weights_store *s, struct gt_weights_copy *c);
void gt_weights_store_unpin(struct gt_weights_store *s, struct gt_weights_copy *c);
uint64_t gt_weights_copy_size(const struct gt_weights_copy *c); /* of the file */
/* O_PATH, for a mount; the caller's. */
GT_MUST_USE int gt_weights_copy_open(const struct gt_weights_store *s,
				     const struct gt_weights_copy *c, int *ret, struct gt_err *err);

struct gt_weights_room {
	uint64_t bytes, used; /* of memory: whole huge pages */
	bool huge;            /* pages of 2 MiB */
};
struct gt_weights_room gt_weights_store_room(const struct gt_weights_store *s);

#endif
