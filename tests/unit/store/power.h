/* power.h - a disk whose power can be cut: notes what a store does to the files below one
 * directory, and makes directories as they may be found when the power was lost at any of these
 * moments.
 *
 * What was synced is there. Of what was written since, any 512 bytes may be there, or be what was
 * there before, or be garbage; a file is as long as what is there of it. Names come and go likewise
 * until their directory is synced, whatever became of the file. What was not written stays.
 *
 * The calls of the C library are taken over for the whole program (power_calls.c), and passed on as
 * they are while nobody notes. One at a time notes. */
#ifndef GANTRY_TESTS_UNIT_STORE_POWER_H
#define GANTRY_TESTS_UNIT_STORE_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct power;

enum power_luck {
	POWER_NONE,  /* nothing of what was not synced is there */
	POWER_ALL,   /* all of it is: the log ends at a frame's header, or a page */
	POWER_SHORT, /* as ALL, and the log that was written ends there, too */
	POWER_TORN,  /* as ALL, but for a part of the last write */
	POWER_ANY,   /* any part of anything */
	POWER_LUCKS
};

/* What a test says of a moment. */
struct power_mark {
	unsigned begun, acknowledged; /* operations */
	uint64_t epoch;               /* acknowledged, too */
};

/* What is in root, and in root/bodies, was synced long ago. root is a name, and stays. */
struct power *power_begin(const char *root);
void power_mark(struct power *p, const struct power_mark *mark);
void power_end(struct power *p); /* no more is noted */
void power_free(struct power *p);

size_t power_moments(const struct power *p);
/* Whether the moment differs from the one before for someone who finds nothing but what was synced.
 */
bool power_settles(const struct power *p, size_t at);
struct power_mark power_marked(const struct power *p, size_t at);
/* The directory `dir`, which must have a bodies/, as it may be after the first `at` moments. */
void power_image(const struct power *p, size_t at, enum power_luck luck, uint64_t seed,
		 const char *dir);

/* Syncs below dir do nothing, to be quick; NULL: all do. dir is a name, and stays. */
void power_careless(const char *dir);

/* power_calls.c to power.c: the lock is held from before a call to its note. */
enum power_what {
	POWER_CREATE,
	POWER_DELETE,
	POWER_WRITE,
	POWER_TRUNCATE,
	POWER_SYNC,
	POWER_SYNC_NAMES,
	POWER_MARK
};
bool power_lock(void); /* false, and not locked: nobody notes */
void power_unlock(void);
bool power_notes(int dir_fd, const char *path, char name[64]); /* a name that is noted? */
void power_note_name(enum power_what what, const char *name, int fd);
void power_note_data(enum power_what what, int fd, int64_t at, const void *data, size_t len);
bool power_is_careless(int fd);

#endif
