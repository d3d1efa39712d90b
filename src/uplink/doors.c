/* doors.c - which of several doors: that of the daemon that leads. A host that joined is told by
 * whichever it reaches: one that follows names the one that leads, and the one that leads names
 * all. Where nobody answers the next one is tried. */
#include "uplink_priv.h"

#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>

#include "door.h"
#include "identity.h"

#define REST_NS (5 * GT_NS_PER_S) /* who follows may not know yet that the one before is gone */

struct doors {
	struct uplink *u;
	struct gt_timer move; /* not within the call of who told */
	char next[GT_UPLINK_URL_SIZE];
	bool at_once;
	char silent[GT_UPLINK_URL_SIZE]; /* did not answer lately */
	uint64_t silent_ns;
};

static struct gt_uplink_joined *known(struct doors *d)
{
	return &d->u->identity->joined;
}

bool doors_several(const struct doors *d)
{
	return d && d->u->identity->joined.n_doors > 1;
}

static void on_move(void *arg)
{
	struct doors *d = arg;

	uplink_move(d->u, d->next, d->at_once);
}

static void move_to(struct doors *d, const char *url, bool at_once)
{
	if (gt_streq(d->u->url, url))
		return;
	gt_strcopy(d->next, sizeof(d->next), url);
	d->at_once = at_once;
	gt_timer_set(d->u->loop, &d->move, 0, on_move, d);
}

/* The present one is in the list, also where it is a name of all of them. */
static bool add(struct gt_uplink_joined *j, const char *url, size_t len)
{
	char text[GT_UPLINK_URL_SIZE];

	if (!len || len >= sizeof(text) || j->n_doors == GT_UPLINK_DOORS_MAX)
		return false;
	memcpy(text, url, len);
	text[len] = '\0';
	for (size_t i = 0; i < j->n_doors; i++)
		if (gt_streq(j->doors[i], text))
			return false;
	if (gt_uplink_check_url(text, &(struct gt_err){ 0 }) < 0)
		return false;
	gt_strcopy(j->doors[j->n_doors++], sizeof(j->doors[0]), text);
	return true;
}

static void keep(struct doors *d)
{
	struct gt_err err = { 0 };

	if (identity_move(d->u->identity, d->u->url, &err) < 0)
		gt_warn("%s", err.text);
}

/* What the leading one names is all that there are; before, those of the last start. */
static void list(struct doors *d, const char *all)
{
	struct gt_uplink_joined *j = known(d), was = *j;
	const char *next;

	j->n_doors = 0;
	for (const char *p = all; *p; p = next + (*next == ' ')) {
		next = p + strcspn(p, " ");
		add(j, p, (size_t)(next - p));
	}
	add(j, d->u->config.url, strlen(d->u->config.url));
	if (was.n_doors != j->n_doors || memcmp(was.doors, j->doors, sizeof(j->doors)) != 0)
		keep(d);
}

void doors_told(struct doors *d, const char *leads, const char *all)
{
	bool rests = gt_streq(leads ? leads : "", d->silent) &&
		     gt_loop_now_ns(d->u->loop) - d->silent_ns < REST_NS;

	if (all && *all)
		list(d, all);
	if (leads && !rests && gt_uplink_check_url(leads, &(struct gt_err){ 0 }) == 0)
		move_to(d, leads, true);
}

void doors_silent(struct doors *d)
{
	struct gt_uplink_joined *j = known(d);
	size_t at = 0;

	gt_strcopy(d->silent, sizeof(d->silent), d->u->url);
	d->silent_ns = gt_loop_now_ns(d->u->loop);
	add(j, d->u->url, strlen(d->u->url));
	while (at < j->n_doors && !gt_streq(j->doors[at], d->u->url))
		at++;
	if (j->n_doors > 1)
		move_to(d, j->doors[(at + 1) % j->n_doors], false);
}

void doors_answers(struct doors *d)
{
	if (!gt_streq(known(d)->url, d->u->url))
		keep(d);
}

struct doors *doors_new(struct uplink *u)
{
	struct doors *d = gt_alloc(sizeof(*d));

	d->u = u;
	return d;
}

void doors_free(struct doors *d)
{
	if (!d)
		return;
	gt_timer_clear(d->u->loop, &d->move);
	free(d);
}
