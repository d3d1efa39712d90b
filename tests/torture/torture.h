/* torture.h - a scene: something that a room opens, makes or reads, run again and again while one
 * of its calls or allocations after the other fails. Each time in a process and a directory of its
 * own. */
#ifndef TESTS_TORTURE_TORTURE_H
#define TESTS_TORTURE_TORTURE_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

struct world {
	char dir[64];    /* the scene's own, and the working directory */
	void *state;     /* the scene's */
	char wrong[300]; /* it was told that all is well, and it is not */
};

enum {
	KEEPS = 1,      /* what a failure left of files is the next run's to go on with */
	CONTAINERS = 2, /* needs root, and containers; looked for in the control groups */
	ROOT = 4,       /* needs root */
	WARM = 8,       /* has run once before: a library gets ready for good at its first use */
};

struct scene {
	const char *name;
	unsigned flags;
	/* Nothing fails in here, nor in the others but `run`. */
	void (*setup)(struct world *w);
	/* 0, or -errno with err; whatever it opened is closed again. */
	int (*run)(struct world *w, struct gt_err *err);
	void (*undo)(struct world *w);     /* files of a run that succeeded; may be NULL */
	void (*teardown)(struct world *w); /* of setup; may be NULL */
	void (*recover)(struct world *w);  /* what starts after a process that died; may be NULL */
};

/* Ends the process: the scene itself does not work. */
_Noreturn void broken(const char *fmt, ...) GT_PRINTF(1, 2);
#define MUST(what)                                                                  \
	do {                                                                        \
		if (!(what))                                                        \
			broken("%s:%d: %s (%d)", __FILE__, __LINE__, #what, errno); \
	} while (0)
int wrong(struct world *w, const char *fmt, ...) GT_PRINTF(2, 3); /* returns 0 */
void put_file(const char *path, const void *data, size_t len);
void remove_all(const char *dir);

#define SCENES(room)                               \
	extern const struct scene room##_scenes[]; \
	extern const size_t n_##room##_scenes
#define SCENES_OF(room) const size_t n_##room##_scenes = GT_LEN(room##_scenes)

#endif
