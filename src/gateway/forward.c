/* forward.c - calls and requests that are passed on to the gateway that leads. The uplink says "ok"
 * on a connection when its other end is there: before that nothing is sent, so that a call which
 * finds nobody can be tried again, whatever it asks for. Idle ones are kept for the next call. */
#include "calls.h"
#include "leader.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

static const char ok[] = "ok\n";

void gt_forward_park(struct gt_up *up)
{
	gt_pool_put(&up->gw->forwards, up);
}

void gt_forward_retire(struct gt_gateway *gw)
{
	gt_pool_close(&gw->forwards);
}

void gt_forward_forget(struct gt_up *up)
{
	if (up->asker)
		up->asker->asked = NULL;
	up->asker = NULL;
	if (up->idle_since_ns)
		gt_pool_leave(&up->gw->forwards, up);
}

/* ---- a new one ---- */

struct gt_up *gt_forward_open(struct gt_gateway *gw, uint64_t epoch, const char *door, int *error)
{
	char text[24 + GT_DOOR_SIZE];
	int len = snprintf(text, sizeof(text), "%llu %s\n", (unsigned long long)epoch, door);
	const struct iovec iov = { text, (size_t)len };
	int fd = gw->port->connect(gw->cfg.forward_path, SOCK_STREAM);
	struct gt_up *up = fd < 0 ? NULL : gt_up_open(gw, fd, NULL);

	*error = fd < 0 ? -fd : ENOMEM;
	if (up && up->sock.ops->write(&up->sock, &iov, 1) != len) { /* it was empty */
		gt_up_close(up);
		up = NULL;
		*error = ECONNRESET;
	}
	return up;
}

void gt_forward_tell(struct gt_gateway *gw)
{
	int error;
	struct gt_up *up = gt_forward_open(gw, gw->leader.epoch, gw->leader.door, &error);

	if (up)
		gt_up_close(up);
}

void gt_forward_connect(struct gt_call *call)
{
	struct gt_gateway *gw = call->gw;
	struct gt_up *up = gt_pool_take(&gw->forwards, gt_call_idempotent(call), gt_gw_now(gw));
	int error;

	call->slot_ns = gt_gw_now(gw);
	if (up) {
		gt_relay_attach(call, up);
		return;
	}
	up = gt_forward_open(gw, gw->leader.epoch, gw->leader.door, &error);
	if (!up) {
		gt_relay_no_broker(call, error);
		return;
	}
	up->forward = gw->leader.epoch;
	up->asker = call;
	call->asked = up;
	call->state = GT_CALL_DIALING;
	gt_call_arm(call);
}

void gt_forward_cancel(struct gt_call *call)
{
	struct gt_up *up = call->asked;

	gt_up_close(up);
}

static void there(struct gt_up *up)
{
	struct gt_call *call = up->asker;

	gt_forward_forget(up);
	gt_relay_attach(call, up);
}

static void nobody(struct gt_up *up, int error)
{
	struct gt_call *call = up->asker;

	gt_up_close(up);
	gt_relay_no_broker(call, error);
}

/* The leader says nothing before it is asked: these bytes come alone. */
void gt_forward_heard(struct gt_up *up)
{
	char text[sizeof(ok)];
	ssize_t n;

	if (!up->asker) { /* idle: it was closed, or speaks without being asked */
		if (!up->sock.ops->silent(&up->sock))
			gt_up_close(up);
		return;
	}
	n = gt_sock_read(&up->sock, text, sizeof(text));
	if (n == -EAGAIN)
		return;
	if (n == sizeof(ok) - 1 && !memcmp(text, ok, sizeof(ok) - 1))
		there(up);
	else
		nobody(up, n < 0 ? (int)-n : EHOSTUNREACH);
}

/* ---- an answer ---- */

bool gt_forward_in_vain(struct gt_call *call)
{
	struct gt_up *up = call->up;

	if (call->way != GT_WAY_LEADER)
		return false;
	if (call->resp.status != 503 || !call->upq.keep ||
	    !gt_h1_find_text(&call->resp, "Gantry-Leader")) {
		gt_outq_forget(&call->upq);
		return false;
	}
	call->up = NULL;
	up->call = NULL;
	gt_up_close(up);
	call->upq.sent = 0;
	call->refused = false;
	gt_h1_reset(&call->resp);
	gt_relay_no_broker(call, EAGAIN);
	return true;
}

/* ---- a request ---- */

void gt_forward_begin(struct gt_call *call)
{
	struct gt_refusal why = GT_REFUSAL("internal", "the head could not be passed on");

	call->way = GT_WAY_LEADER;
	call->body_max = UINT64_MAX;
	if (gt_head_up(call) < 0) {
		gt_call_refuse(call, &why);
		return;
	}
	gt_call_want_body(call);
	gt_relay_connect(call);
}
