/* cgroup_device.c - which device nodes the processes of a leaf may open and make: few. It holds for
 * every process in the group, whatever its rights, and for as long as the group lives: version 2
 * keeps the program with it. */
#include "cgroup_impl.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define RW  (GT_CGROUP_READ | GT_CGROUP_WRITE)
#define RWM (RW | GT_CGROUP_MKNOD)

/* Process 1 makes the first six itself. A node of them harms nobody wherever it is made. */
static const struct gt_cgroup_device defaults[] = {
	{ 'c', 1, 3, RWM },             /* null */
	{ 'c', 1, 5, RWM },             /* zero */
	{ 'c', 1, 7, RWM },             /* full */
	{ 'c', 1, 8, RWM },             /* random */
	{ 'c', 1, 9, RWM },             /* urandom */
	{ 'c', 5, 0, RWM },             /* tty: one's own */
	{ 'c', 5, 2, RW },              /* ptmx */
	{ 'c', 136, GT_CGROUP_ANY, RW } /* pts */
};

/* ---- version 2: a program ---- */

#define RULE_INSNS 7
#define HEAD_INSNS 7
#define INSNS_MAX  (HEAD_INSNS + RULE_INSNS * (GT_LEN(defaults) + GT_CGROUP_DEVICES_MAX) + 2)

_Static_assert(GT_CGROUP_MKNOD == (int)BPF_DEVCG_ACC_MKNOD &&
		       GT_CGROUP_READ == (int)BPF_DEVCG_ACC_READ &&
		       GT_CGROUP_WRITE == (int)BPF_DEVCG_ACC_WRITE,
	       "access as the kernel writes it");

struct program {
	struct bpf_insn insns[INSNS_MAX];
	size_t n;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off,
		 int32_t imm)
{
	p->insns[p->n++] = (struct bpf_insn){
		.code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm
	};
}

/* r2 = type, r3 = access, r4 = major, r5 = minor */
static void emit_head(struct program *p)
{
	const uint8_t load = BPF_LDX | BPF_MEM | BPF_W;

	emit(p, load, BPF_REG_2, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	emit(p, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	emit(p, load, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
	emit(p, load, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1);
}

/* Ends with r0 = 1 when the rule covers all that is asked; else the next rule. */
static void emit_rule(struct program *p, const struct gt_cgroup_device *d)
{
	const uint8_t unless = BPF_JMP32 | BPF_JNE | BPF_K;
	int16_t left = 4 + (d->major != GT_CGROUP_ANY) + (d->minor != GT_CGROUP_ANY);
	int type = d->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR;

	emit(p, unless, BPF_REG_2, 0, left--, type);
	if (d->major != GT_CGROUP_ANY)
		emit(p, unless, BPF_REG_4, 0, left--, (int32_t)d->major);
	if (d->minor != GT_CGROUP_ANY)
		emit(p, unless, BPF_REG_5, 0, left--, (int32_t)d->minor);
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
	emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_1, 0, 0, (int32_t)~d->access);
	emit(p, unless, BPF_REG_1, 0, 1, 0);
	emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int load(const struct gt_cgroup_device *extra, size_t n_extra, int *ret, struct gt_err *err)
{
	struct program p = { .n = 0 };
	static const char license[] = "GPL";
	union bpf_attr attr;
	long fd;

	if (n_extra > GT_CGROUP_DEVICES_MAX)
		return gt_err_errno(err, E2BIG, "%zu devices for a container", n_extra);
	emit_head(&p);
	for (size_t i = 0; i < GT_LEN(defaults); i++)
		emit_rule(&p, &defaults[i]);
	for (size_t i = 0; i < n_extra; i++)
		emit_rule(&p, &extra[i]);
	emit(&p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
	emit(&p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	memset(&attr, 0, sizeof(attr)); /* the kernel wants what it does not know to be 0 */
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)p.insns;
	attr.insn_cnt = (uint32_t)p.n;
	attr.license = (uintptr_t)license;
	fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		return gt_err_errno(err, errno, "load the device program");
	*ret = (int)fd;
	return 0;
}

/* The base's own takes the place of the one that an earlier process attached, and is overridden by
 * a leaf's. A leaf's is one of several (MULTI): whatever else attaches a program there, or to a
 * group above for all below, can only forbid more. */
static int attach(int dirfd, int prog, uint32_t flags, struct gt_err *err)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)dirfd;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = flags;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return gt_err_errno(err, errno, "attach the device program");
	return 0;
}

int gt_cgroup_device_base(int dirfd, struct gt_err *err)
{
	gt_auto(fd) int prog = -EBADF;
	int r = load(NULL, 0, &prog, err);

	return r < 0 ? r : attach(dirfd, prog, BPF_F_ALLOW_OVERRIDE, err);
}

/* ---- version 1: a list ---- */

static void number(char *out, size_t size, uint32_t n)
{
	snprintf(out, size, n == GT_CGROUP_ANY ? "*" : "%u", (unsigned)n);
}

static int allow_one(const struct gt_cgroups *g, const char *leaf, const struct gt_cgroup_device *d,
		     struct gt_err *err)
{
	char major[12], minor[12], text[40];

	number(major, sizeof(major), d->major);
	number(minor, sizeof(minor), d->minor);
	snprintf(text, sizeof(text), "%c %s:%s %s%s%s", d->type, major, minor,
		 d->access & GT_CGROUP_READ ? "r" : "", d->access & GT_CGROUP_WRITE ? "w" : "",
		 d->access & GT_CGROUP_MKNOD ? "m" : "");
	return gt_cgroup_write(g, GT_CGROUP_DEVICES, leaf, "devices.allow", text, err);
}

int gt_cgroup_device_deny(const struct gt_cgroups *g, const char *leaf, struct gt_err *err)
{
	int r;

	if (!gt_cgroup_has(g, GT_CGROUP_DEVICES) || gt_cgroup_is_unified(g, GT_CGROUP_DEVICES))
		return 0;
	r = gt_cgroup_write(g, GT_CGROUP_DEVICES, leaf, "devices.deny", "a", err);
	for (size_t i = 0; r == 0 && i < GT_LEN(defaults); i++)
		r = allow_one(g, leaf, &defaults[i], err);
	return r;
}

/* ---- either ---- */

int gt_cgroup_device_allow(const struct gt_cgroups *g, const char *leaf,
			   const struct gt_cgroup_device *devices, size_t n, struct gt_err *err)
{
	gt_auto(fd) int prog = -EBADF, dir = -EBADF;
	int r = 0;

	if (!gt_cgroup_has(g, GT_CGROUP_DEVICES))
		return gt_err_set(
			err, EOPNOTSUPP, "limit_unsupported",
			"this node has no control group of devices, so nothing would keep "
			"a container from the devices of others");
	if (gt_cgroup_is_unified(g, GT_CGROUP_DEVICES)) {
		r = load(devices, n, &prog, err);
		if (r == 0)
			r = gt_cgroup_dir(g, leaf, &dir, err);
		return r < 0 ? r : attach(dir, prog, BPF_F_ALLOW_MULTI, err);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		r = allow_one(g, leaf, &devices[i], err);
	return r;
}
