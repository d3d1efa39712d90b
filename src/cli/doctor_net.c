/* What functions with network egress need, tried in a network namespace that is thrown away. */
#include "doctor.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <gantry/net/net.h>

struct trial {
	int namespaces;
	int (*fn)(struct gt_err *err);
};

static int in_namespace(void *arg)
{
	const struct trial *t = arg;

	if (unshare(t->namespaces) < 0)
		return errno;
	return -t->fn(NULL);
}

static bool reads(const char *path, char wanted)
{
	char c = 0;
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, &c, 1) == 1 && c == wanted;
}

/* What the agent would turn on by itself, or the operator has. */
static bool forwards6(void)
{
	return reads("/proc/sys/net/ipv6/conf/all/forwarding", '1') ||
	       access("/proc/sys/net/ipv6/conf/default/force_forwarding", F_OK) == 0;
}

void gt_check_egress(struct gt_doctor *d, struct gt_finding *f)
{
	int flags = CLONE_NEWNET | (d->root ? 0 : CLONE_NEWUSER);
	struct trial link = { flags, gt_net_try_link }, filter = { flags, gt_net_try_filter };
	int rc = gt_in_child(in_namespace, &link);

	if (rc != 0) {
		gt_finding_set(f, GT_CHECK_WARN, "modprobe veth, or a kernel with VETH",
			       "functions can not have network egress: no virtual link: %s",
			       strerror(rc));
		return;
	}
	rc = gt_in_child(in_namespace, &filter);
	if (rc != 0)
		gt_finding_set(f, GT_CHECK_WARN,
			       "modprobe nf_tables, or a kernel with NF_TABLES, NFT_MASQ, "
			       "NFT_REJECT_INET, NFT_FIB_INET and NFT_CT",
			       "functions can not have network egress: no packet filter: %s",
			       strerror(rc));
	else if (!reads("/proc/sys/net/ipv6/conf/default/disable_ipv6", '0'))
		gt_finding_set(f, GT_CHECK_OK, NULL, "virtual links and nf_tables; no IPv6");
	else if (!forwards6())
		gt_finding_set(f, GT_CHECK_OK, NULL,
			       "virtual links and nf_tables; IPv6 needs "
			       "net.ipv6.conf.all.forwarding = 1");
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "virtual links and nf_tables");
}
