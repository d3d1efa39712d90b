/* model/webhook.h - the keys that sign what receivers of webhooks are told. One is the newest;
 * those before it sign beside it until their time is over, so that receivers can change theirs in
 * between. Plain data; what may be asked of the store about them is one operation struct. */
#ifndef GANTRY_MODEL_WEBHOOK_H
#define GANTRY_MODEL_WEBHOOK_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>
#include <gantry/model/limits.h>

#define GT_WEBHOOK_KEYS_MAX       4  /* that sign at once */
#define GT_WEBHOOK_KEY_SIZE       65 /* hex digits and NUL */
#define GT_WEBHOOK_NAME_SIZE      40
#define GT_WEBHOOK_OVERLAP_MS     (24ULL * 3600 * 1000) /* when none is stated */
#define GT_WEBHOOK_OVERLAP_MAX_MS (30ULL * 24 * 3600 * 1000)
#define GT_WEBHOOK_NEWEST         "webhook" /* name of the newest; each older one's begins so */

struct gt_webhook_key {
	char name[GT_WEBHOOK_NAME_SIZE]; /* in the store */
	char text[GT_WEBHOOK_KEY_SIZE];
	uint64_t created_ms; /* wall clock; 0: by a version that did not note it */
	uint64_t ends_ms;    /* 0: it is the newest */
};

struct gt_webhook_keys {
	struct gt_webhook_key at[GT_WEBHOOK_KEYS_MAX]; /* the newest first */
	size_t n;
};

enum gt_webhook_verb {
	/* key.text, key.created_ms and old (a name for the newest one of before) in; that one ends
	 * after overlap_ms. -EBUSY (conflict): GT_WEBHOOK_KEYS_MAX sign already */
	GT_WEBHOOK_ROTATE,
	GT_WEBHOOK_DROP, /* key.name in, none but the newest's. -ENOENT (not_found) */
	GT_WEBHOOK_VERBS
};

struct gt_webhook_op;
typedef void gt_webhook_fn(struct gt_webhook_op *op, const struct gt_err *err, void *arg);

/* Made by who asks, given to the store, and back with `done`, which owns it again. */
struct gt_webhook_op {
	enum gt_webhook_verb verb;
	uint64_t now_ms, overlap_ms;
	struct gt_webhook_key key;
	char old[GT_WEBHOOK_NAME_SIZE];
	struct gt_webhook_keys keys; /* out: all that are left */
	/* The port's own end, and who asked. */
	gt_webhook_fn *done;
	void *arg;
	gt_webhook_fn *asker;
	void *asker_arg;
};

struct gt_webhook_op *gt_webhook_op_new(enum gt_webhook_verb verb);
void gt_webhook_op_free(struct gt_webhook_op *op); /* leaves no key in memory; NULL is fine */
/* Those that sign at this time, the newest first; borrowed of `keys`. Returns how many. */
size_t gt_webhook_keys_good(const struct gt_webhook_keys *keys, uint64_t now_ms,
			    const char *ret[GT_WEBHOOK_KEYS_MAX]);

#endif
