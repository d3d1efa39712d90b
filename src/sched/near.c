/* near.c - which of the GPUs that are alike to all else: those that are near to each other, and of
 * such groups the one that is left with the fewest others. */
#include "sched_priv.h"
#include "words.h"

#define LINK   16 /* what a pair is worth: more than all that a bridge can be to a GPU */
#define BRIDGE 1

static unsigned nearness(const struct slot *a, const struct slot *b)
{
	return (a->link && a->link == b->link ? LINK : 0) +
	       (a->bridge && a->bridge == b->bridge ? BRIDGE : 0);
}

/* What a slot is worth to those in the mask. */
static unsigned worth(const struct node *n, uint32_t mask, size_t i)
{
	unsigned sum = 0;

	for (size_t k = 0; k < n->n_slots; k++)
		if (mask >> k & 1)
			sum += nearness(&n->slots[k], &n->slots[i]);
	return sum;
}

/* What is free beside them, and would like to be with them. */
static unsigned spoilt(const struct node *n, uint32_t mask)
{
	unsigned sum = 0;

	for (size_t i = 0; i < n->n_slots; i++)
		if (!(mask >> i & 1) && !n->slots[i].broken && n->slots[i].milli == 0)
			sum += worth(n, mask, i);
	return sum;
}

static bool has_code(const struct gt_sched *s, const struct node *n, size_t i, uint32_t code)
{
	return !n->slots[i].broken && gt_sched_slot_code(s, n, i) == code;
}

/* The others after the first one, each the nearest to those before. Returns what they are worth to
 * each other. */
static unsigned fill(const struct gt_sched *s, const struct node *n, const uint32_t *codes,
		     size_t n_codes, uint32_t *mask)
{
	unsigned sum = 0;

	for (size_t k = 1; k < n_codes; k++) {
		size_t best = n->n_slots;
		unsigned most = 0;

		for (size_t i = 0; i < n->n_slots; i++) {
			unsigned is;

			if (*mask >> i & 1 || !has_code(s, n, i, codes[k]))
				continue;
			is = n->near ? worth(n, *mask, i) : 0;
			if (best < n->n_slots && is <= most)
				continue;
			best = i;
			most = is;
		}
		if (best < n->n_slots)
			*mask |= 1u << best;
		sum += most;
	}
	return sum;
}

uint32_t gt_sched_near(const struct gt_sched *s, const struct node *n, const uint32_t *codes,
		       size_t n_codes)
{
	uint32_t found = 0;
	unsigned best = 0, least = 0;

	for (size_t i = 0; n_codes > 0 && i < n->n_slots; i++) {
		uint32_t mask = 1u << i;
		unsigned sum, leaves;

		if (!has_code(s, n, i, codes[0]))
			continue;
		sum = fill(s, n, codes, n_codes, &mask);
		leaves = n->near ? spoilt(n, mask) : 0;
		if (found && (sum < best || (sum == best && leaves >= least)))
			continue;
		found = mask;
		best = sum;
		least = leaves;
		if (!n->near)
			break;
	}
	return found;
}
