/* event.c - an entry of the event log as JSON; empty members are left out. */
#include <gantry/base/clock.h>
#include <gantry/wire/wire.h>

static void write_text(struct gt_json *j, const char *name, const char *value)
{
	if (value[0])
		gt_json_str(j, name, value);
}

void gt_event_write(const struct gt_event *e, struct gt_buf *out)
{
	char ts[GT_TIME_TEXT];
	struct gt_json j;

	gt_time_text(e->wall_ms, ts);
	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_u64(&j, "id", e->id);
	gt_json_str(&j, "ts", ts);
	gt_json_str(&j, "type", e->type);
	write_text(&j, "function", e->function);
	write_text(&j, "replica", e->replica);
	write_text(&j, "node", e->node);
	write_text(&j, "text", e->text);
	write_text(&j, "cause", e->cause);
	gt_json_close(&j, '}');
}
