/* task.c - durable calls: names, checks, and the operation struct. */
#include <gantry/model/schedule.h>

#include <ctype.h>
#include <string.h>

static const char *const state_names[GT_TASK_N] = {
	[GT_TASK_QUEUED] = "queued",   [GT_TASK_WAITING] = "waiting",
	[GT_TASK_RUNNING] = "running", [GT_TASK_SUCCEEDED] = "succeeded",
	[GT_TASK_FAILED] = "failed",   [GT_TASK_CANCELLED] = "cancelled",
	[GT_TASK_EXPIRED] = "expired",
};

const char *gt_task_state_name(unsigned state)
{
	return state < GT_TASK_N ? state_names[state] : NULL;
}

bool gt_task_id_ok(const char *id)
{
	size_t len = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				"0123456789_-");

	return len > 0 && len <= GT_TASK_ID_MAX && id[len] == '\0';
}

bool gt_task_method_ok(const char *method)
{
	static const char *const known[] = { "POST", "GET", "PUT", "PATCH", "DELETE" };

	for (size_t i = 0; i < GT_LEN(known); i++)
		if (strcmp(method, known[i]) == 0)
			return true;
	return false;
}

bool gt_task_path_ok(const char *path)
{
	size_t len = strlen(path);

	if (path[0] != '/' || len > GT_TASK_PATH_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (path[i] <= ' ' || path[i] >= 0x7f || path[i] == '#' || path[i] == '"' ||
		    path[i] == '<' || path[i] == '>' || path[i] == '\\')
			return false;
	return true;
}

void gt_task_host(const char *url, char ret[GT_TASK_HOST_MAX + 1])
{
	const char *at = url ? strstr(url, "://") : NULL;
	size_t len = 0;

	for (at = at ? at + 3 : ""; *at && !strchr("/?#", *at) && len < GT_TASK_HOST_MAX; at++)
		ret[len++] = (char)tolower((unsigned char)*at);
	ret[len] = '\0';
}

void gt_task_fini(struct gt_task *t)
{
	free(t->path);
	free(t->content_type);
	free(t->key);
	free(t->callback);
	free(t->body.data);
	*t = (struct gt_task){ 0 };
}

void gt_task_result_fini(struct gt_task_result *r)
{
	free(r->detail);
	free(r->content_type);
	free(r->body.data);
	*r = (struct gt_task_result){ 0 };
}

struct gt_task_op *gt_task_op_new(enum gt_task_verb verb)
{
	struct gt_task_op *op = gt_alloc(sizeof(*op));

	op->verb = verb;
	op->next_ms = UINT64_MAX;
	return op;
}

void gt_task_op_free(struct gt_task_op *op)
{
	if (!op)
		return;
	for (size_t i = 0; i < op->n_tasks; i++)
		gt_task_fini(&op->tasks[i]);
	for (size_t i = 0; i < op->n_results; i++)
		gt_task_result_fini(&op->results[i]);
	for (size_t i = 0; i < op->n_attempts; i++)
		free(op->attempts[i].detail);
	for (size_t i = 0; i < op->n_schedules; i++)
		gt_schedule_fini(&op->schedules[i]);
	free(op->schedules);
	free(op->dues);
	free(op->if_match);
	free(op->tasks);
	free(op->results);
	free(op->wants);
	free(op->starts);
	free(op->attempts);
	free(op->sessions);
	free(op->held);
	free(op->changes);
	free(op->ended);
	free(op);
}

/* Arrays of an operation grow by doubling: their sizes are powers of two from 4 on. One that is
 * filled once more, from 0, is still there. */
static void *one_more(void *items, size_t n, size_t size)
{
	if (n == 0)
		return gt_grow(items, 4, size);
	return n >= 4 && (n & (n - 1)) == 0 ? gt_grow(items, 2 * n, size) : items;
}

struct gt_task *gt_task_op_add(struct gt_task_op *op)
{
	op->tasks = one_more(op->tasks, op->n_tasks, sizeof(*op->tasks));
	op->tasks[op->n_tasks] = (struct gt_task){ 0 };
	return &op->tasks[op->n_tasks++];
}

struct gt_schedule *gt_task_op_plan(struct gt_task_op *op)
{
	op->schedules = one_more(op->schedules, op->n_schedules, sizeof(*op->schedules));
	op->schedules[op->n_schedules] = (struct gt_schedule){ 0 };
	return &op->schedules[op->n_schedules++];
}

struct gt_task_result *gt_task_op_result(struct gt_task_op *op)
{
	op->results = one_more(op->results, op->n_results, sizeof(*op->results));
	op->results[op->n_results] = (struct gt_task_result){ 0 };
	return &op->results[op->n_results++];
}

void gt_task_op_change(struct gt_task_op *op, const char *function, int64_t queued)
{
	for (size_t i = op->n_changes; i-- > 0;) /* mostly the last one's */
		if (strcmp(op->changes[i].function, function) == 0) {
			op->changes[i].queued += queued;
			return;
		}
	op->changes = one_more(op->changes, op->n_changes, sizeof(*op->changes));
	op->changes[op->n_changes] = (struct gt_task_change){ .queued = queued };
	gt_strcopy(op->changes[op->n_changes++].function, GT_NAME_MAX + 1, function);
}

void gt_task_op_ended(struct gt_task_op *op, const char *id)
{
	op->ended = one_more(op->ended, op->n_ended, sizeof(*op->ended));
	gt_strcopy(op->ended[op->n_ended++], GT_TASK_ID_MAX + 1, id);
}
