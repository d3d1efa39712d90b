/* idrange.c - which ids of the host are whose, and the user namespaces that map them.
 *
 * A namespace is made when its range is first needed, and kept while somebody has the range. Some
 * of those that nobody has stay for the next ones: making one takes longer than all that is done
 * with it. */
#include "idrange.h"

#include <errno.h>

#include <gantry/os/os.h>

#define SPARE_MAX 16

int gt_idranges_open(struct idranges *ids, uint32_t base, struct gt_err *err)
{
	*ids = (struct idranges){ .base = base };
	for (size_t i = 0; i < GT_LEN(ids->v); i++)
		ids->v[i].userns = -EBADF;
	ids->v[0].users = 1; /* ours: volumes are tried with it */
	return gt_os_userns_new(base, GT_ID_RANGE, &ids->v[0].userns, err);
}

void gt_idranges_close(struct idranges *ids)
{
	for (size_t i = 0; i < GT_LEN(ids->v); i++)
		gt_close(ids->v[i].userns);
}

static bool is_spare(const struct idrange *r)
{
	return r->users == 0 && r->userns >= 0;
}

static void drop_spare(struct idranges *ids, struct idrange *r)
{
	r->userns = gt_close(r->userns);
	ids->n_spare--;
}

static void add_user(struct idranges *ids, struct idrange *r)
{
	ids->n_spare -= is_spare(r);
	r->users++;
}

static void drop_user(struct idranges *ids, struct idrange *r)
{
	r->users--;
	if (!is_spare(r))
		return;
	if (++ids->n_spare > SPARE_MAX)
		drop_spare(ids, r);
}

static struct idrange *lowest(struct idranges *ids, bool spare)
{
	for (size_t i = 1; i < GT_LEN(ids->v); i++) {
		if (ids->v[i].users == 0 && is_spare(&ids->v[i]) == spare)
			return &ids->v[i];
	}
	return NULL;
}

int gt_idrange_take(struct idranges *ids, uint32_t *ret, struct gt_err *err)
{
	struct idrange *r = ids->n_spare > 0 ? lowest(ids, true) : NULL;

	if (!r)
		r = lowest(ids, false);
	if (!r)
		return gt_err_set(err, EUSERS, "sandbox_failed",
				  "all %d ranges of user ids of this node are taken",
				  GT_ID_RANGES - 1);
	add_user(ids, r);
	*ret = ids->base + (uint32_t)(r - ids->v) * GT_ID_RANGE;
	return 0;
}

/* Those of ours that share an id with the range: one, two or none. */
static void each_of(struct idranges *ids, uint32_t base,
		    void (*fn)(struct idranges *ids, struct idrange *r))
{
	const int64_t count = GT_ID_RANGE, end = (int64_t)base + count - ids->base;

	if (end <= 0)
		return;
	for (int64_t i = end / count - 1; i <= (end - 1) / count; i++) {
		if (i >= 0 && i < GT_ID_RANGES)
			fn(ids, &ids->v[i]);
	}
}

void gt_idrange_hold(struct idranges *ids, uint32_t base)
{
	each_of(ids, base, add_user);
}

void gt_idrange_put(struct idranges *ids, uint32_t base)
{
	each_of(ids, base, drop_user);
}

int gt_idrange_userns(struct idranges *ids, uint32_t base, int *ret, struct gt_err *err)
{
	struct idrange *r = &ids->v[(base - ids->base) / GT_ID_RANGE];
	int res = 0;

	if (r->userns < 0)
		res = gt_os_userns_new(base, GT_ID_RANGE, &r->userns, err);
	if (res == 0)
		*ret = r->userns;
	return res;
}

bool gt_idranges_shrink(struct idranges *ids)
{
	for (size_t i = GT_LEN(ids->v); ids->n_spare > 0 && i-- > 0;) {
		if (is_spare(&ids->v[i])) {
			drop_spare(ids, &ids->v[i]);
			break;
		}
	}
	return ids->n_spare > 0;
}
