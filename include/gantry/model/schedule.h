/* model/schedule.h - calls that are made by the clock. Plain data: what the store keeps of a
 * schedule, and how its calls are named.
 *
 * Each due time of a schedule has one call, whose id is made of both: whoever makes it a second
 * time, after a crash or a change of leader, finds that it is there. */
#ifndef GANTRY_MODEL_SCHEDULE_H
#define GANTRY_MODEL_SCHEDULE_H

#include <gantry/model/task.h>

#define GT_SCHEDULE_ETAG_SIZE    33
#define GT_SCHEDULE_NAME_MAX     40 /* so that name and time make an id of a call */
#define GT_SCHEDULE_CRON_MAX     255
#define GT_SCHEDULE_ZONE_MAX     63
#define GT_SCHEDULE_BODY_MAX     GT_TASK_INLINE_MAX
#define GT_SCHEDULE_EVERY_MAX_MS (366ULL * 24 * 3600 * 1000)
#define GT_SCHEDULE_ALL_MAX      100 /* calls that `catch_up` `all` makes at once: the last ones */
#define GT_SCHEDULE_LATE_MS      60000 /* one that is due for longer was missed */
#define GT_SCHEDULE_TIMES        5     /* next ones that are shown */

enum gt_catch_up { /* of due times that were missed while nobody made calls */
		   GT_CATCH_UP_NONE,
		   GT_CATCH_UP_ONE, /* the last */
		   GT_CATCH_UP_ALL,
		   GT_CATCH_UPS
};
const char *gt_catch_up_name(unsigned c); /* "none"; NULL past the end */

enum gt_schedule_put { GT_SCHEDULE_CREATED, GT_SCHEDULE_CHANGED, GT_SCHEDULE_UNCHANGED };

struct gt_schedule {
	char name[GT_SCHEDULE_NAME_MAX + 1];
	char etag[GT_SCHEDULE_ETAG_SIZE]; /* digest of what the user said */
	char *cron;                       /* NULL: every_ms */
	char zone[GT_SCHEDULE_ZONE_MAX + 1];
	uint64_t every_ms; /* whole seconds */
	enum gt_catch_up catch_up;
	bool cold; /* no replica is started ahead of it */
	/* Of each call: function, method, path, content_type, body, priority, callback, print; and
	 * deadline_ms from when it is made, 0 = the default. */
	struct gt_task call;
	/* The store's. */
	bool paused;
	uint64_t created_ms, updated_ms;
	uint64_t since_ms;   /* the time was said: periods count from here */
	uint64_t resumed_ms; /* nothing that was due before is made up for */
	uint64_t next_ms;    /* due; 0 = no time is left */
	uint64_t fired_ms;   /* the last due time with a call; 0 = none yet */
	uint64_t passed_ms;  /* the last without one, and why */
	char reason[40];
	enum gt_schedule_put outcome; /* of a put */
};

/* Up to GT_SCHEDULE_NAME_MAX bytes of what names of functions are made of. */
bool gt_schedule_name_ok(const char *name);
/* "nightly-20261126T020000Z" */
void gt_schedule_call_id(const char *name, uint64_t due_ms, char ret[GT_TASK_ID_MAX + 1]);
void gt_schedule_fini(struct gt_schedule *s);

#endif
