/* fuzz_task.c - durable calls as they come from outside: a schedule (first byte 's'), a line of a
 * batch (even), and what gateways and control tell each other (odd). What is refused says why; what
 * is accepted keeps its promises, and an exchange that is written again is the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/wire/wire.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void refused(const struct gt_err *err)
{
	must(err->code > 0 && err->text[0] && gt_problem_kind(err->slug));
}

static void line(const char *text, size_t len)
{
	struct gt_task t = { 0 };
	struct gt_err err = { 0 };

	if (gt_task_line_read(text, len, &t, &err) < 0) {
		refused(&err);
		must(!t.path && !t.key && !t.content_type && !t.body.data);
		return;
	}
	must(t.path && gt_task_path_ok(t.path) && gt_task_method_ok(t.method));
	must(!t.id[0] || gt_task_id_ok(t.id));
	must(t.priority < GT_TASK_CLASSES && t.deadline_ms <= GT_TASK_DEADLINE_MAX_MS);
	for (const char *s = t.content_type; s && *s; s++)
		must((unsigned char)*s >= ' ' && *s != 0x7f);
	gt_task_fini(&t);
}

/* What is shown can be put again, and is the same. */
static void schedule(const char *text, size_t len)
{
	struct gt_schedule s = { 0 }, again = { 0 };
	gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 };
	struct gt_err err = { 0 };
	struct gt_json j;

	if (gt_schedule_read(text, len, &s, &err) < 0) {
		refused(&err);
		must(!s.cron && !s.call.path);
		return;
	}
	must(!s.cron == (s.every_ms > 0) && s.every_ms % 1000 == 0 && s.call.path);
	must(s.call.body.len <= GT_SCHEDULE_BODY_MAX && s.catch_up < GT_CATCH_UPS);
	gt_json_begin(&j, &once);
	gt_schedule_write(&s, &j, NULL);
	must(gt_schedule_read(once.data, once.len, &again, &err) == 0);
	gt_json_begin(&j, &twice);
	gt_schedule_write(&again, &j, NULL);
	must(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	gt_schedule_fini(&s);
	gt_schedule_fini(&again);
}

static void exchange(const char *text, size_t len)
{
	gt_auto(task_op) struct gt_task_op *op = NULL, *again = NULL;
	gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 };
	uint64_t epoch = 0, same = 0;
	struct gt_err err = { 0 };

	if (gt_exchange_read(text, len, &op, &epoch, &err) < 0) {
		refused(&err);
		must(!op);
		return;
	}
	gt_exchange_write(op, epoch, &once);
	must(gt_exchange_read(once.data, once.len, &again, &same, &err) == 0 && epoch == same);
	gt_exchange_write(again, epoch, &twice);
	must(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
}

static void leases(const char *text, size_t len)
{
	gt_auto(task_op) struct gt_task_op *op = NULL, *again = NULL;
	gt_auto(buf) struct gt_buf once = { 0 };
	struct gt_err err = { 0 };

	if (gt_leases_read(text, len, &op, &err) < 0) {
		refused(&err);
		return;
	}
	gt_leases_write(op, &once);
	must(gt_leases_read(once.data, once.len, &again, &err) == 0);
	must(again->n_tasks == op->n_tasks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data + 1;

	if (len == 0)
		return 0;
	if (data[0] == 's') {
		schedule(text, len - 1);
	} else if (data[0] % 2 == 0) {
		line(text, len - 1);
	} else {
		exchange(text, len - 1);
		leases(text, len - 1);
	}
	return 0;
}
