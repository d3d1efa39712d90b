/* event.c - the ordered log of what happened and why. Kept packed: most texts are short. */
#include "control_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The strings follow each other in `text`: type, function, replica, node, cause, text. */
struct gt_ctl_event {
	uint64_t id, wall_ms;
	char text[];
};

static const char *field_next(const char *at)
{
	return at + strlen(at) + 1;
}

static void event_unpack(const struct gt_ctl_event *packed, struct gt_event *e)
{
	const char *at = packed->text;

	*e = (struct gt_event){ .id = packed->id, .wall_ms = packed->wall_ms };
	gt_strcopy(e->type, sizeof(e->type), at);
	gt_strcopy(e->function, sizeof(e->function), at = field_next(at));
	gt_strcopy(e->replica, sizeof(e->replica), at = field_next(at));
	gt_strcopy(e->node, sizeof(e->node), at = field_next(at));
	gt_strcopy(e->cause, sizeof(e->cause), at = field_next(at));
	gt_strcopy(e->text, sizeof(e->text), field_next(at));
}

static char *field_add(char *at, const char *s)
{
	size_t size = strlen(s) + 1;

	memcpy(at, s, size);
	return at + size;
}

static struct gt_ctl_event *event_pack(const struct gt_event *e)
{
	size_t size = strlen(e->type) + strlen(e->function) + strlen(e->replica) + strlen(e->node) +
		      strlen(e->cause) + strlen(e->text) + 6;
	struct gt_ctl_event *packed = gt_alloc(sizeof(*packed) + size);

	packed->id = e->id;
	packed->wall_ms = e->wall_ms;
	char *at = field_add(packed->text, e->type);

	at = field_add(at, e->function);
	at = field_add(at, e->replica);
	at = field_add(at, e->node);
	at = field_add(at, e->cause);
	field_add(at, e->text);
	return packed;
}

void gt_ctl_event(struct gt_control *c, const char *type, const char *function, const char *replica,
		  const char *node, const char *cause, const char *fmt, ...)
{
	struct gt_event e = { .id = ++c->last_event, .wall_ms = gt_wall_ms(&c->ports.clock) };
	va_list args;

	gt_strcopy(e.type, sizeof(e.type), type);
	gt_strcopy(e.function, sizeof(e.function), function ? function : "");
	gt_strcopy(e.replica, sizeof(e.replica), replica ? replica : "");
	gt_strcopy(e.node, sizeof(e.node), node ? node : "");
	gt_strcopy(e.cause, sizeof(e.cause), cause ? cause : "");
	va_start(args, fmt);
	vsnprintf(e.text, sizeof(e.text), fmt, args);
	va_end(args);
	gt_ctl_ring_add(&c->events, event_pack(&e));
	if (c->ports.on_event)
		c->ports.on_event(c->ports.ctx, &e);
}

int gt_control_events(struct gt_control *c, uint64_t after, const char *function,
		      bool (*fn)(const struct gt_event *e, void *arg), void *arg,
		      struct gt_err *err)
{
	size_t skip;
	int r = gt_ctl_ring_after(&c->events, c->last_event, after, "events", &skip, err);

	if (r < 0)
		return r;
	for (size_t i = skip; i < c->events.n; i++) {
		struct gt_event e;

		event_unpack(gt_ctl_ring_at(&c->events, i), &e);
		if (function && strcmp(e.function, function) != 0)
			continue;
		if (!fn(&e, arg))
			break;
	}
	return 0;
}
