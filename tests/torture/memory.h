/* memory.h - allocations of this process count, and the plan's nth fails. */
#ifndef TESTS_TORTURE_MEMORY_H
#define TESTS_TORTURE_MEMORY_H

#include "inject.h"

void memory_get_ready(void); /* what must not be counted */
void memory_follow(struct plan *plan, const char *role);

#endif
