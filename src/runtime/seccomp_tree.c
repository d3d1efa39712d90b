/* seccomp_tree.c - a filter program as a decision tree. The kernel copies, checks, translates and,
 * for its cache, runs a filter once for each system call there is, at every start: what counts is
 * how long it is and how deep.
 *
 * The program that libseccomp wrote is evaluated with the architecture and the call's number known
 * and the arguments not. What is left of it for one number is a verdict or a small tree of tests of
 * the arguments; for all numbers between two constants of the program it is the same. Ranges of
 * numbers with equal rests are merged and found by a binary search. */
#include "seccomp_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>

#define NODES_MAX  4096
#define DEPTH_MAX  256
#define NUMBERS    512 /* the numbers that the kernel tries are below it */
#define JUMP_MAX   255 /* a conditional jump reaches no further */
#define SHARE_MAX  200
#define WORDS      (sizeof(struct seccomp_data) / 4)
#define WORD_NR    (offsetof(struct seccomp_data, nr) / 4)
#define WORD_ARCH  (offsetof(struct seccomp_data, arch) / 4)
#define NATIVE     AUDIT_ARCH_X86_64
#define OTHER_ARCH AUDIT_ARCH_I386

/* A verdict, or a test of 32 bits of what the kernel passes. */
struct node {
	bool verdict;
	uint32_t k; /* the verdict, or what is compared with */
	uint32_t word, mask;
	uint16_t op; /* BPF_JEQ, ... */
	int yes, no;
};

struct range {
	uint32_t first;
	int node;
};

struct policy {
	const struct sock_filter *insns;
	size_t n_insns;
	uint32_t arch, nr;
	struct node nodes[NODES_MAX];
	int n_nodes;
	struct range *ranges;
	size_t n_ranges;
};

/* ---- evaluation ---- */

struct value {
	uint32_t word, mask; /* where it is from */
	uint32_t known;      /* its value when the word is one that is known */
};

static bool is_known(const struct value *v)
{
	return v->word == WORD_NR || v->word == WORD_ARCH;
}

/* Equal nodes are one: then equal rests have one number. */
static int intern(struct policy *p, const struct node *n)
{
	if (!n->verdict && n->yes == n->no)
		return n->yes;
	for (int i = 0; i < p->n_nodes; i++) {
		const struct node *m = &p->nodes[i];

		if (m->verdict == n->verdict && m->k == n->k && m->word == n->word &&
		    m->mask == n->mask && m->op == n->op && m->yes == n->yes && m->no == n->no)
			return i;
	}
	if (p->n_nodes == NODES_MAX)
		return -EOPNOTSUPP;
	p->nodes[p->n_nodes] = *n;
	return p->n_nodes++;
}

/* Where a jump on a known value goes: 1, 0, or that it is none whose outcome is the same between
 * two constants. Of architectures only "ours or not" is asked. */
static int outcome(const struct policy *p, const struct value *v, uint16_t op, uint32_t k)
{
	if (v->mask != UINT32_MAX || (v->word == WORD_ARCH && (op != BPF_JEQ || k != NATIVE)) ||
	    (v->word == WORD_NR && p->arch != NATIVE))
		return -EOPNOTSUPP;
	switch (op) {
	case BPF_JEQ:
		return v->known == k;
	case BPF_JGT:
		return v->known > k;
	case BPF_JGE:
		return v->known >= k;
	default:
		return -EOPNOTSUPP;
	}
}

static int evaluate(struct policy *p, size_t pc, struct value a, unsigned depth);

static int branch(struct policy *p, size_t pc, const struct value *a, unsigned depth)
{
	const struct sock_filter *i = &p->insns[pc];
	struct node n = { .k = i->k, .word = a->word, .mask = a->mask, .op = BPF_OP(i->code) };

	n.yes = evaluate(p, pc + 1 + i->jt, *a, depth + 1);
	n.no = n.yes < 0 ? n.yes : evaluate(p, pc + 1 + i->jf, *a, depth + 1);
	return n.no < 0 ? n.no : intern(p, &n);
}

/* What is left of the program from here on: a node, or -EOPNOTSUPP. Jumps only go forward. */
static int evaluate(struct policy *p, size_t pc, struct value a, unsigned depth)
{
	int r;

	while (pc < p->n_insns && depth < DEPTH_MAX) {
		const struct sock_filter *i = &p->insns[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = (struct value){ i->k / 4, UINT32_MAX, 0 };
			if (i->k % 4 != 0 || a.word >= WORDS)
				return -EOPNOTSUPP;
			a.known = a.word == WORD_ARCH ? p->arch : p->nr;
			pc++;
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a.mask &= i->k;
			pc++;
			break;
		case BPF_JMP | BPF_JA:
			pc += 1 + (size_t)i->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
		case BPF_JMP | BPF_JGT | BPF_K:
		case BPF_JMP | BPF_JGE | BPF_K:
		case BPF_JMP | BPF_JSET | BPF_K:
			if (!is_known(&a))
				return branch(p, pc, &a, depth);
			r = outcome(p, &a, BPF_OP(i->code), i->k);
			if (r < 0)
				return r;
			pc += 1 + (size_t)(r ? i->jt : i->jf);
			break;
		case BPF_RET | BPF_K:
			return intern(p, &(struct node){ .verdict = true, .k = i->k });
		default:
			return -EOPNOTSUPP;
		}
	}
	return -EOPNOTSUPP;
}

static int evaluate_for(struct policy *p, uint32_t arch, uint32_t nr)
{
	p->arch = arch;
	p->nr = nr;
	/* A program that tests before it loads is none of libseccomp's: word 0 of nothing known. */
	return evaluate(p, 0, (struct value){ WORD_NR, 0, 0 }, 0);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* One range a constant at first, then neighbours are merged. */
static int find_ranges(struct policy *p)
{
	gt_auto(free) uint32_t *starts = gt_alloc_array(2 * p->n_insns + 1, sizeof(*starts));
	size_t n = 0;

	starts[n++] = 0;
	for (size_t i = 0; i < p->n_insns; i++) {
		if (BPF_CLASS(p->insns[i].code) != BPF_JMP)
			continue;
		starts[n++] = p->insns[i].k;
		if (p->insns[i].k != UINT32_MAX)
			starts[n++] = p->insns[i].k + 1;
	}
	qsort(starts, n, sizeof(*starts), by_number);
	p->ranges = gt_alloc_array(n, sizeof(*p->ranges));
	for (size_t i = 0; i < n; i++) {
		int node = evaluate_for(p, NATIVE, starts[i]);

		if (node < 0)
			return node;
		if (p->n_ranges == 0 || p->ranges[p->n_ranges - 1].node != node)
			p->ranges[p->n_ranges++] = (struct range){ starts[i], node };
	}
	return 0;
}

/* ---- writing, from the end to the beginning: then each jump knows how far its target is ---- */

struct code {
	const struct policy *policy;
	struct sock_filter insns[BPF_MAXINSNS]; /* the last one first */
	int n;
	bool full;
};

static int put(struct code *c, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
	if (c->n == BPF_MAXINSNS) {
		c->full = true;
		return 0;
	}
	c->insns[c->n] = (struct sock_filter){ code, jt, jf, k };
	return c->n++;
}

/* The verdict, or an equal one that is near. */
static int put_verdict(struct code *c, uint32_t verdict)
{
	for (int i = c->n - 1; i >= 0 && i >= c->n - SHARE_MAX; i--) {
		if (c->insns[i].code == (BPF_RET | BPF_K) && c->insns[i].k == verdict)
			return i;
	}
	return put(c, BPF_RET | BPF_K, verdict, 0, 0);
}

/* A target that a conditional jump written next, or after one more of these, can reach. */
static int in_reach(struct code *c, int target)
{
	if (c->n - target - 1 < JUMP_MAX)
		return target;
	return put(c, BPF_JMP | BPF_JA, (uint32_t)(c->n - target - 1), 0, 0);
}

static int put_test(struct code *c, uint16_t op, uint32_t k, int yes, int no)
{
	yes = in_reach(c, yes);
	no = in_reach(c, no);
	return put(c, BPF_JMP | op | BPF_K, k, (uint8_t)(c->n - yes - 1), (uint8_t)(c->n - no - 1));
}

/* word, mask: what the accumulator holds when the node is come to. */
static int put_node(struct code *c, int id, uint32_t word, uint32_t mask)
{
	const struct node *n = &c->policy->nodes[id];
	int yes, no, at;

	if (n->verdict)
		return put_verdict(c, n->k);
	no = put_node(c, n->no, n->word, n->mask);
	yes = put_node(c, n->yes, n->word, n->mask);
	at = put_test(c, n->op, n->k, yes, no);
	if (n->word == word && n->mask == mask)
		return at;
	if (n->mask != UINT32_MAX)
		at = put(c, BPF_ALU | BPF_AND | BPF_K, n->mask, 0, 0);
	return put(c, BPF_LD | BPF_W | BPF_ABS, n->word * 4, 0, 0);
}

/* How many of the numbers that the kernel tries are before this one. */
static uint32_t place(const struct range *r)
{
	return GT_MIN(r->first, (uint32_t)NUMBERS);
}

static size_t middle(const struct range *ranges, size_t n)
{
	uint32_t begin = place(&ranges[0]);
	uint32_t end = GT_MAX(place(&ranges[n - 1]) + 1, begin);
	size_t best = 1;

	for (size_t i = 2; i < n; i++) {
		uint32_t half = begin + (end - begin) / 2, at = place(&ranges[i]);
		uint32_t was = place(&ranges[best]);

		if (labs((long)at - (long)half) < labs((long)was - (long)half))
			best = i;
	}
	return best;
}

static int put_ranges(struct code *c, const struct range *ranges, size_t n)
{
	size_t half;
	int yes, no;

	if (n == 1)
		return put_node(c, ranges[0].node, WORD_NR, UINT32_MAX);
	/* One number among others. */
	if (n == 3 && ranges[0].node == ranges[2].node && ranges[1].first + 1 == ranges[2].first) {
		no = put_ranges(c, ranges, 1);
		yes = put_ranges(c, ranges + 1, 1);
		return put_test(c, BPF_JEQ, ranges[1].first, yes, no);
	}
	half = middle(ranges, n);
	yes = put_ranges(c, ranges + half, n - half);
	no = put_ranges(c, ranges, half);
	return put_test(c, BPF_JGE, ranges[half].first, yes, no);
}

static void put_program(struct code *c, uint32_t other_arch)
{
	int numbers, other;

	put_ranges(c, c->policy->ranges, c->policy->n_ranges);
	numbers = put(c, BPF_LD | BPF_W | BPF_ABS, WORD_NR * 4, 0, 0);
	other = put_verdict(c, other_arch);
	put_test(c, BPF_JEQ, NATIVE, numbers, other);
	put(c, BPF_LD | BPF_W | BPF_ABS, WORD_ARCH * 4, 0, 0);
}

static int compact(struct policy *p, struct code *c, struct gt_buf *out)
{
	int other = evaluate_for(p, OTHER_ARCH, 0), r;

	if (other < 0 || !p->nodes[other].verdict)
		return -EOPNOTSUPP;
	r = find_ranges(p);
	if (r < 0)
		return r;
	c->policy = p;
	put_program(c, p->nodes[other].k);
	if (c->full)
		return -EOPNOTSUPP;
	while (c->n > 0)
		gt_buf_add(out, &c->insns[--c->n], sizeof(c->insns[0]));
	return out->failed ? -ENOBUFS : 0;
}

int gt_seccomp_compact(const struct gt_buf *policy, struct gt_buf *out, struct gt_err *err)
{
	gt_auto(free) struct policy *p = gt_alloc(sizeof(*p));
	gt_auto(free) struct code *c = gt_alloc(sizeof(*c));
	int r;

	p->insns = (const struct sock_filter *)(const void *)policy->data;
	p->n_insns = policy->len / sizeof(struct sock_filter);
	r = compact(p, c, out);
	free(p->ranges);
	return r < 0 ? gt_err_errno(err, -r, "compact the seccomp program") : 0;
}
