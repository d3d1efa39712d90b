/* forward.c - forwarding, one interface at a time: ip_forward would open all of them. */
#include "forward.h"

#include <fcntl.h>
#include <stdio.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

static bool is_on(const char *path)
{
	char text[16];

	return gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) == 0 && gt_streq(text, "1");
}

bool gt_forward_has6(void)
{
	char text[16];

	return gt_os_read_at(AT_FDCWD, "/proc/sys/net/ipv6/conf/default/disable_ipv6", text,
			     sizeof(text), NULL) == 0 &&
	       gt_streq(text, "0");
}

static int turn_on(const char *name, bool v6, bool may, struct gt_err *err)
{
	const char *family = v6 ? "ipv6" : "ipv4", *key = v6 ? "force_forwarding" : "forwarding";
	char path[128], text[16];

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, name, key);
	if (is_on(path))
		return 0;
	if (gt_os_read_at(AT_FDCWD, path, text, sizeof(text), NULL) < 0)
		return gt_err_set(err, EOPNOTSUPP, "sandbox_failed",
				  "this kernel forwards IPv6 for the whole host or not at all: set "
				  "net.ipv6.conf.all.forwarding = 1");
	if (!may)
		return gt_err_set(
			err, EPERM, "sandbox_failed",
			"the interface %s does not forward: set net.%s.conf.%s.%s = 1, or "
			"[agent] egress_forwarding = yes",
			name, family, name, key);
	if (gt_os_write_at(AT_FDCWD, path, "1", err) < 0)
		return gt_err_wrap(err, "turn on forwarding of %s", name);
	gt_info("turned on forwarding: net.%s.conf.%s.%s = 1", family, name, key);
	return 0;
}

int gt_forward_on(const struct gt_uplinks *uplinks, bool v6, bool may, struct gt_err *err)
{
	int r = 0;

	if (v6 && is_on("/proc/sys/net/ipv6/conf/all/forwarding"))
		return 0;
	for (size_t i = 0; r == 0 && i < uplinks->n; i++)
		r = turn_on(uplinks->names[i], v6, may, err);
	return r;
}
