/* replica.c - the states of a replica and the moves between them, as one table. */
#include <gantry/model/replica.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TO(state) (1U << GT_REPLICA_##state)

/* Forward only, but for the round through parking. Reports are coalesced, so that a move may skip
 * what happened between two of them; a stop may be ordered in every state. */
#define TO_END (TO(STOPPED) | TO(FAILED))
static const struct {
	const char *name;
	unsigned to;
} rows[] = {
	[GT_REPLICA_PENDING] = { "pending", TO(PULLING) | TO(STARTING) | TO(READY) | TO(PARKED) |
						    TO(DRAINING) | TO_END },
	[GT_REPLICA_PULLING] = { "pulling", TO(STARTING) | TO(READY) | TO(DRAINING) | TO_END },
	/* An agent that has just started finds one as it was left. */
	[GT_REPLICA_STARTING] = { "starting", TO(READY) | TO(PARKED) | TO(DRAINING) | TO_END },
	/* Parking may turn out impossible; a report may skip what came and went in between. */
	[GT_REPLICA_READY] = { "ready", TO(PARKING) | TO(DRAINING) | TO_END },
	[GT_REPLICA_PARKING] = { "parking",
				 TO(READY) | TO(PARKED) | TO(UNPARKING) | TO(DRAINING) | TO_END },
	[GT_REPLICA_PARKED] = { "parked", TO(READY) | TO(UNPARKING) | TO(DRAINING) | TO_END },
	[GT_REPLICA_UNPARKING] = { "unparking", TO(READY) | TO(DRAINING) | TO_END },
	[GT_REPLICA_DRAINING] = { "draining", TO_END },
	[GT_REPLICA_STOPPED] = { "stopped", 0 },
	[GT_REPLICA_FAILED] = { "failed", 0 },
};
_Static_assert(GT_LEN(rows) == GT_REPLICA_N, "every state has a row");

const char *gt_replica_state_name(enum gt_replica_state s)
{
	return (unsigned)s < GT_REPLICA_N ? rows[s].name : "unknown";
}

int gt_replica_state_parse(const char *name, enum gt_replica_state *ret)
{
	for (size_t i = 0; name && i < GT_REPLICA_N; i++) {
		if (strcmp(name, rows[i].name) != 0)
			continue;
		*ret = (enum gt_replica_state)i;
		return 0;
	}
	return -EINVAL;
}

bool gt_replica_state_may(enum gt_replica_state from, enum gt_replica_state to)
{
	if ((unsigned)from >= GT_REPLICA_N || (unsigned)to >= GT_REPLICA_N)
		return false;
	return from == to || (rows[from].to & (1U << to));
}

void gt_replica_state_move(enum gt_replica_state *state, enum gt_replica_state to)
{
	if (!gt_replica_state_may(*state, to)) {
		fprintf(stderr, "bug: a replica may not move from %s to %s\n",
			gt_replica_state_name(*state), gt_replica_state_name(to));
		abort();
	}
	*state = to;
}

const char *gt_park_method_name(enum gt_park_method m)
{
	static const char *const names[] = {
		[GT_PARK_STOP] = "stop", [GT_PARK_AUTO] = "auto", [GT_PARK_FREEZE] = "freeze",
		[GT_PARK_HTTP] = "http", [GT_PARK_CUDA] = "cuda",
	};

	_Static_assert(GT_LEN(names) == GT_PARK_N, "every method has a name");
	return (unsigned)m < GT_PARK_N ? names[m] : "unknown";
}
