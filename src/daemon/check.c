#include "check.h"

#include <errno.h>
#include <grp.h>
#include <unistd.h>

#include <gantry/store/backup.h>

#include "kind.h"

int gt_check_state(const struct gt_config *c, struct gt_err *err)
{
	uid_t uid;
	gid_t gid;

	if (geteuid() != 0 || c->store[0] || chdir(c->state) < 0)
		return 0;
	if (gt_kind_ids(c, &uid, &gid, err) < 0)
		return -err->code;
	/* What is made beside the database, and what is in it, is control's. */
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return gt_err_errno(err, errno, "become user %u", (unsigned)uid);
	return gt_store_readable("control", err);
}
