/* store/hosts.h - hosts of providers in the database; the caller holds its lock. */
#ifndef GANTRY_SRC_STORE_HOSTS_H
#define GANTRY_SRC_STORE_HOSTS_H

#include <gantry/model/provider.h>

#include "db.h"

/* What op asks for, inside the caller's transaction. */
GT_MUST_USE int gt_host_run(const struct gt_host_op *op, struct gt_db *db, struct gt_err *err);
/* Every one, in the order of keys. */
GT_MUST_USE int gt_hosts_load(struct gt_db *db,
			      void (*fn)(const struct gt_host_row *row, void *arg), void *arg,
			      struct gt_err *err);

#endif
