/* log_query.h - which lines somebody asks for, and finding them in the files. */
#ifndef GANTRY_AGENT_LOG_QUERY_H
#define GANTRY_AGENT_LOG_QUERY_H

#include <gantry/model/task.h>

#include "logs.h"

struct log_query {
	char function[GT_NAME_MAX + 1];
	char replica[GT_REPLICA_ID_SIZE];  /* "" = all */
	int64_t revision;                  /* -1 = all */
	int stream;                        /* enum log_stream, -1 = both */
	size_t tail;                       /* this many of the newest */
	uint64_t after, since_ms;          /* only larger numbers, only later ones */
	uint64_t until_ms;                 /* none surely written later; 0 = any */
	char contains[GT_TASK_ID_MAX + 1]; /* "" = any */
	bool follow;
};

bool gt_log_query_wants(const struct log_query *q, const struct log_line *line);
/* Calls fn for the lines on disk, oldest first. */
void gt_log_query_run(struct logs *l, const struct log_query *q,
		      void (*fn)(const struct log_line *line, void *arg), void *arg);

#endif
