/* point.h - one scene, once, with one thing that fails. */
#ifndef TESTS_TORTURE_POINT_H
#define TESTS_TORTURE_POINT_H

#include "inject.h"
#include "torture.h"

enum verdict {
	DONE,    /* it came about all the same */
	REFUSED, /* and said why */
	ENDED,   /* small allocations: the process ended, saying why, and the next one found nothing
		    in its way */
	UNREACHED, /* this time there were fewer points */
	/* faults */
	CRASHED,
	LEAKED, /* memory */
	LEFT,   /* descriptors, files, mounts, groups, processes */
	WRONG,  /* it said that all is well; or said nothing; or works no more */
	HUNG,
	BROKEN, /* the scene itself */
	VERDICTS
};
extern const char *const verdict_names[VERDICTS];

struct outcome {
	enum verdict verdict;
	unsigned calls, allocs; /* that there were */
	unsigned *places;       /* one allocation of each place; the caller frees */
	size_t n_places;
	struct hit hit;
	char text[4000];
};

/* call_at, alloc_at: which one fails; both 0: none does, and places are filled in. */
void point_run(const struct scene *s, unsigned call_at, unsigned alloc_at, unsigned seed,
	       struct outcome *ret);

#endif
