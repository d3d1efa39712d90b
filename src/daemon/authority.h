/* daemon/authority.h - the cluster's authority as files of control: ca.key (its user's alone) and
 * ca.crt. Made at control's first start, the same ever after. */
#ifndef DAEMON_AUTHORITY_H
#define DAEMON_AUTHORITY_H

#include <gantry/http/pki.h>

/* Opens the one in `dir`, or makes it there, durably. Refuses half of one whose certificate is
 * there: what it signed would be worth nothing with a new key. */
GT_MUST_USE int gt_authority_open(const char *dir, uint64_t now_ms, struct gt_pki_ca **ret,
				  struct gt_err *err);

#endif
