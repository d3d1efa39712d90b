/* timing.c - what a schedule says, as times; zones, read once. */
#include "schedule.h"

#include <stdlib.h>
#include <string.h>

struct gt_ctl_zone {
	char name[GT_SCHEDULE_ZONE_MAX + 1];
	struct gt_zone *is;
	UT_hash_handle hh;
};

/* NULL is UTC. There are some hundred of them, so they stay. */
static int zone_get(struct gt_control *c, const char *name, const struct gt_zone **ret,
		    struct gt_err *err)
{
	struct gt_ctl_zone *z = NULL;
	struct gt_zone *is = NULL;
	int r;

	*ret = NULL;
	if (gt_streq(name, "UTC"))
		return 0;
	HASH_FIND_STR(c->zones, name, z);
	if (!z) {
		r = c->ports.zone ? c->ports.zone(c->ports.ctx, name, &is, err)
				  : gt_err_set(err, ENOENT, "invalid_schedule",
					       "there is no time zone but UTC here");
		if (r < 0)
			return r;
		z = gt_alloc(sizeof(*z));
		z->is = is;
		gt_strcopy(z->name, sizeof(z->name), name);
		HASH_ADD_STR(c->zones, name, z);
	}
	*ret = z->is;
	return 0;
}

void gt_ctl_zones_free(struct gt_control *c)
{
	struct gt_ctl_zone *z, *next;

	HASH_ITER (hh, c->zones, z, next) {
		HASH_DEL(c->zones, z);
		gt_zone_free(z->is);
		free(z);
	}
}

int gt_ctl_timing(struct gt_control *c, const struct gt_schedule *s, struct gt_timing *ret,
		  struct gt_err *err)
{
	uint64_t since_ms = s->since_ms ? s->since_ms : gt_wall_ms(&c->ports.clock);

	*ret = (struct gt_timing){ .every_s = s->every_ms / 1000,
				   .since_s = (int64_t)(since_ms / 1000) };
	if (!s->cron)
		return ret->every_s ? 0
				    : gt_err_set(err, EINVAL, "invalid_schedule", "it has no time");
	if (gt_cron_parse(s->cron, &ret->cron, err) < 0)
		return gt_err_path(err, "cron");
	if (zone_get(c, s->zone, &ret->zone, err) < 0)
		return gt_err_path(err, "zone");
	return 0;
}

size_t gt_control_schedule_times(struct gt_control *c, const struct gt_schedule *s,
				 uint64_t ret_ms[GT_SCHEDULE_TIMES])
{
	int64_t at = (int64_t)(gt_wall_ms(&c->ports.clock) / 1000);
	struct gt_timing t;
	size_t n = 0;

	if (gt_ctl_timing(c, s, &t, NULL) < 0)
		return 0;
	while (n < GT_SCHEDULE_TIMES && (at = gt_timing_next(&t, at)) != INT64_MAX)
		ret_ms[n++] = (uint64_t)at * 1000;
	return n;
}
