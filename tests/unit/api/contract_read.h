/* The operations of docs/openapi.yaml, read by its fixed layout. */
#ifndef TESTS_UNIT_API_CONTRACT_READ_H
#define TESTS_UNIT_API_CONTRACT_READ_H

#include <stdbool.h>
#include <stddef.h>

#define OPERATIONS_MAX 96

struct operation {
	char path[96], method[8], id[40];
	int statuses[16];
	size_t n_statuses;
	bool open; /* security: [] */
	bool any;  /* default: a status that is not the daemon's own */
};

size_t contract_read(struct operation out[OPERATIONS_MAX]);
const struct operation *contract_find(const struct operation *all, size_t n, const char *id);
bool contract_allows(const struct operation *op, int status);

#endif
