/* daemon/authority.h - the cluster's authority for certificates, which lies in the store: all
 * controls of a cluster have the same. */
#ifndef DAEMON_AUTHORITY_H
#define DAEMON_AUTHORITY_H

#include <gantry/http/pki.h>
#include <gantry/store/store.h>

/* Opens it; the first control of a cluster makes it. */
GT_MUST_USE int gt_authority_open(struct gt_store *store, uint64_t now_ms, struct gt_pki_ca **ret,
				  struct gt_err *err);

#endif
