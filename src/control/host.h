/* host.h - providers and their hosts, as the files about them share them. */
#ifndef GANTRY_CONTROL_HOST_H
#define GANTRY_CONTROL_HOST_H

#include <gantry/control/provider.h>

#include "control_priv.h"

#define CTL_PROVIDERS_MAX  (2 * GT_PROVIDERS_MAX)
#define CTL_HOOK_CALLS_MAX 4                   /* at once, of one provider */
#define CTL_HOOK_LIST_NS   (300 * GT_NS_PER_S) /* between two looks for forgotten hosts */
#define CTL_HOST_LOOK_NS   GT_NS_PER_S         /* for empty ones */
#define CTL_HOST_AGAIN_NS  GT_NS_PER_S         /* after the store refused */
#define CTL_BACKOFF_MAX_NS (600 * GT_NS_PER_S) /* of a provider */
#define CTL_RELEASE_NS     (5 * GT_NS_PER_S)   /* after a first refusal; doubles */
#define CTL_RELEASE_MAX_NS (300 * GT_NS_PER_S)

struct gt_ctl_provider {
	struct gt_control *c;
	struct gt_provider conf;
	struct gt_offer offer;
	struct gt_ctl_node as_node; /* one of its hosts, for who asks what could ever fit */
	bool configured;
	unsigned calls; /* of the hook, now */
	bool listing, listed;
	uint64_t list_due_ns, list_asked_ns;
	uint32_t failures;
	uint64_t retry_ns; /* it is not asked for hosts before */
	char error[sizeof(((struct gt_err *)0)->text)];
	uint64_t asked_total, up_total, released_total, failed_total;
};

struct gt_ctl_host {
	struct gt_ctl_provider *p;
	struct gt_host_row row;
	enum gt_host_state state;
	bool writing, calling, removing; /* the store, the hook, the node's removal are at it */
	bool fresh;                      /* ASKED: the hook was not called yet */
	bool stored;                     /* RELEASING: the row says so */
	bool released;                   /* RELEASING: the provider has taken it back */
	bool seen;                       /* UP: what it has was compared with the offer */
	bool needed;                     /* RETIRING: it is called back */
	bool loaded;                     /* it is older than this control */
	char token[GT_HOST_TOKEN_SIZE];
	uint64_t expires_ms;                  /* of the token */
	uint64_t deadline_ns;                 /* of its joining */
	uint64_t named_ns;                    /* since its id is known */
	uint64_t empty_ns, lost_ns, retry_ns; /* since; since; of what was refused. 0 = not */
	unsigned tries;
	char why[120];
	UT_hash_handle hh; /* by row.key */
};

struct gt_ctl_hosts {
	struct gt_ctl_provider *providers; /* CTL_PROVIDERS_MAX; those without configuration last */
	size_t n_providers, n_configured;
	struct gt_ctl_host *all;
	uint64_t due_ns;
};

/* host.c */
struct gt_ctl_hosts *gt_ctl_hosts_new(struct gt_control *c, const struct gt_provider *providers,
				      size_t n);
void gt_ctl_hosts_free(struct gt_control *c);
/* Something has changed that they depend on: they are looked at when this input ends. */
void gt_ctl_hosts_touch(struct gt_control *c);
/* At the end of every input: what is due. */
void gt_ctl_hosts_run(struct gt_control *c);
uint64_t gt_ctl_hosts_due(const struct gt_control *c);
/* live: for whom; NULL = for the provider's min. False: not now, and the provider is at fault. */
bool gt_ctl_host_new(struct gt_control *c, struct gt_ctl_provider *p, struct gt_ctl_live *live);
/* One that nobody here knew, as its provider tells: it goes back. */
void gt_ctl_host_found(struct gt_control *c, struct gt_ctl_provider *p, const char *key,
		       const char *id);
void gt_ctl_host_release(struct gt_control *c, struct gt_ctl_host *h, const char *why);
void gt_ctl_host_put(struct gt_control *c, struct gt_ctl_host *h);
/* Has the store drop an orphan; when it has, say forgotten. False: none is called so. */
typedef void gt_ctl_host_fn(struct gt_host_op *op GT_TAKES, const struct gt_err *err, void *arg);
bool gt_ctl_host_forget(struct gt_control *c, const char *key, gt_ctl_host_fn *done, void *arg);
void gt_ctl_host_forgotten(struct gt_control *c, const char *key);
/* How many there are in these states (bits). */
uint32_t gt_ctl_hosts_count(const struct gt_control *c, const struct gt_ctl_provider *p,
			    unsigned states);
#define CTL_HOST_BIT(state) (1U << (state))
#define CTL_HOSTS_ALL       (CTL_HOST_BIT(GT_HOST_STATES) - 1)
#define CTL_HOSTS_THAT_STAY (CTL_HOST_BIT(GT_HOST_RETIRING) - 1)
void gt_ctl_provider_fault(struct gt_control *c, struct gt_ctl_provider *p, const char *text);

/* host_hook.c */
bool gt_ctl_hook_free(const struct gt_ctl_provider *p); /* may it be called now? */
void gt_ctl_hook_create(struct gt_control *c, struct gt_ctl_host *h);
void gt_ctl_hook_release(struct gt_control *c, struct gt_ctl_host *h);
void gt_ctl_hook_list(struct gt_control *c, struct gt_ctl_provider *p);

/* host_plan.c */
void gt_ctl_hosts_plan(struct gt_control *c);
/* When a plan may have another outcome though nothing changed. */
uint64_t gt_ctl_hosts_plan_due(const struct gt_control *c);
/* What its first hosts really had becomes the offer where it is less; false: something is missing.
 */
bool gt_ctl_offer_compare(struct gt_control *c, struct gt_ctl_host *h,
			  const struct gt_ctl_node *node);

#endif
