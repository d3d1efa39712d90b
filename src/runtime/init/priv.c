/* priv.c - giving up rights. The user namespace is entered last: all other namespaces of the
 * container belong to the host's, so even the container's root has no right over them. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init.h"

#define KEPT GT_INIT_CAPS

static void capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)KEPT, .permitted = (uint32_t)KEPT },
		{ .effective = KEPT >> 32, .permitted = KEPT >> 32 },
	};

	for (int cap = 0; cap < 64; cap++) {
		if (KEPT >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL)
				break; /* past the last one of this kernel */
			init_fail(GT_INIT_STEP_PRIVILEGE, errno, 0);
		}
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &head, data) < 0)
		init_fail(GT_INIT_STEP_PRIVILEGE, errno, 1);
}

void init_drop(const struct init_spec *spec, int userns)
{
	struct sock_fprog filter = {
		.len = (unsigned short)spec->head->n_filter,
		.filter = (struct sock_filter *)spec->filter,
	};

	if (setns(userns, CLONE_NEWUSER) < 0)
		init_fail(GT_INIT_STEP_USERNS, errno, 0);
	close(userns);
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		init_fail(GT_INIT_STEP_USERNS, errno, 1);
	capabilities();
	/* A kernel without keys has none to hide. */
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	/* Nobody inside may look into process 1 or take its descriptors. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		init_fail(GT_INIT_STEP_PRIVILEGE, errno, 2);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
		init_fail(GT_INIT_STEP_SECCOMP, errno, 0);
}

/* Ambient capabilities would survive the execution of a program without rights; none is ever
 * raised. For others than root, user 0 is a number like any other. */
int init_lock_rights(bool root)
{
	unsigned long bits = SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	if (!root)
		bits |= SECBIT_NOROOT | SECBIT_NOROOT_LOCKED;
	return prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 ? errno : 0;
}
