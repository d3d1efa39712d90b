/* schedule.c - schedules: names and their calls' ids. */
#include <gantry/model/schedule.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <gantry/model/spec.h>

#define SECONDS_MOST 253402300799LL /* of the year 9999 */

const char *gt_catch_up_name(unsigned c)
{
	static const char *const names[GT_CATCH_UPS] = {
		[GT_CATCH_UP_NONE] = "none", [GT_CATCH_UP_ONE] = "one", [GT_CATCH_UP_ALL] = "all"
	};

	return c < GT_CATCH_UPS ? names[c] : NULL;
}

bool gt_schedule_name_ok(const char *name)
{
	return strlen(name) <= GT_SCHEDULE_NAME_MAX && gt_name_ok(name);
}

void gt_schedule_call_id(const char *name, uint64_t due_ms, char ret[GT_TASK_ID_MAX + 1])
{
	time_t s = (time_t)GT_MIN(due_ms / 1000, (uint64_t)SECONDS_MOST);
	char time[24];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(time, sizeof(time), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(ret, GT_TASK_ID_MAX + 1, "%.*s-%s", GT_SCHEDULE_NAME_MAX, name, time);
}

void gt_schedule_fini(struct gt_schedule *s)
{
	free(s->cron);
	gt_task_fini(&s->call);
	*s = (struct gt_schedule){ 0 };
}
