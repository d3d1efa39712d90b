/* control/provider.h - hosts that are got when there is no room, and given back when they are
 * empty. A host is a row in the store before its provider is asked, and until it has taken it back.
 */
#ifndef GANTRY_CONTROL_PROVIDER_H
#define GANTRY_CONTROL_PROVIDER_H

#include <gantry/control/control.h>
#include <gantry/model/provider.h>

enum gt_host_state {
	GT_HOST_NEW,       /* its row is being written */
	GT_HOST_ASKED,     /* the provider is asked, or was by the control before this one */
	GT_HOST_STARTING,  /* the provider has named it; it has not joined */
	GT_HOST_UP,        /* it has joined */
	GT_HOST_RETIRING,  /* it was empty for long: is being cordoned; may be called back */
	GT_HOST_RELEASING, /* the provider is to take it back */
	GT_HOST_ORPHANED,  /* that is not configured any more: nobody can be asked to */
	GT_HOST_STATES
};
const char *gt_host_state_name(enum gt_host_state s); /* "new", "asked" ...; static */

struct gt_provider_view {
	const struct gt_provider *conf; /* its name alone where it is not configured any more */
	const struct gt_offer *offer;   /* what hosts of it really had, where that was less */
	bool configured;
	uint32_t hosts[GT_HOST_STATES];
	uint32_t failures;    /* in a row */
	uint64_t retry_in_ms; /* it is not asked for hosts before; 0 = it may be */
	const char *error;    /* of the last failure since a host of it came up; "" = none */
	uint64_t asked_total, up_total, released_total, failed_total; /* since control started */
};
struct gt_host_view {
	const struct gt_host_row *row;
	enum gt_host_state state;
	uint64_t empty_ms; /* since it has nothing to do; 0 = it has */
	const char *why;   /* it is released; "" = it is not */
};

/* Before the first input: one call a stored row. */
void gt_control_load_host(struct gt_control *c, const struct gt_host_row *row);
void gt_control_providers(struct gt_control *c,
			  void (*fn)(const struct gt_provider_view *v, void *arg), void *arg);
/* In no order. */
void gt_control_hosts(struct gt_control *c, const char *provider,
		      void (*fn)(const struct gt_host_view *v, void *arg), void *arg);

#endif
