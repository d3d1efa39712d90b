#include "lead.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/log.h>
#include <gantry/store/lease.h>

#include "relay.h"

#define LOOK_MS 500 /* between two looks at the lease, by our own clock */
#define BACKLOG 128

/* What a control serves. Others of the same machine reach them by abstract sockets, since they may
 * not search the way to its state directory. */
enum { LINK, API, SERVED };
static const char *const words[SERVED] = { "link", "api" };
static const char *const own[SERVED] = { "run/link.sock", "run/api.sock" };

struct served {
	struct gt_lead *lead;
	int which, door_fd;
	struct gt_relay *follow; /* from our own socket to who leads */
	struct gt_relay *door;   /* from who follows to our own socket */
};

struct gt_lead {
	struct gt_lead_config config;
	struct gt_lease *lease;
	struct gt_wake *wake;
	struct gt_timer look;
	struct gt_lease_view view;
	char place[64]; /* "@gantry-..." */
	struct served served[SERVED];
	bool leads;
};

/* ---- connections ---------------------------------------------------------------------------- */

static bool where_leads(void *arg, char path[GT_RELAY_PATH], struct gt_err *why)
{
	const struct served *s = arg;
	const struct gt_lease_view *v = &s->lead->view;

	if (v->state != GT_LEASE_FOLLOWS) {
		gt_err_set(why, EAGAIN, "unavailable", "nobody leads right now%s%s",
			   v->why.code ? ": " : "", v->why.code ? v->why.text : "");
		return false;
	}
	gt_err_set(why, EAGAIN, "unavailable", "node %s leads; ask %s", v->holder, v->door);
	snprintf(path, GT_RELAY_PATH, "%.80s-%s", v->place, words[s->which]);
	return v->place[0] == '@';
}

static bool where_own(void *arg, char path[GT_RELAY_PATH], struct gt_err *why)
{
	const struct served *s = arg;

	gt_err_set(why, EAGAIN, "unavailable", "node %s does not lead", s->lead->config.node);
	gt_strcopy(path, GT_RELAY_PATH, own[s->which]);
	return s->lead->leads;
}

static int door_listen(struct served *s, struct gt_err *err)
{
	gt_auto(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s-%s", s->lead->place,
			 words[s->which]);

	sa.sun_path[0] = '\0';
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return gt_err_errno(err, errno, "a socket for other controls");
	s->door_fd = gt_steal_fd(&fd);
	return 0;
}

static int serve(struct served *s, struct gt_err *err)
{
	const struct gt_lead_config *c = &s->lead->config;
	struct gt_relay_config door = {
		.loop = c->loop, .own_users = true, .where = where_own, .arg = s
	};
	struct gt_relay_config follow = { .loop = c->loop,
					  .listen_fd = s->which == LINK ? c->link_fd : c->api_fd,
					  .where = where_leads,
					  .arg = s };
	int r = door_listen(s, err);

	door.listen_fd = s->door_fd;
	if (r == 0)
		r = gt_relay_new(&door, &s->door, err);
	return r < 0 ? r : gt_relay_new(&follow, &s->follow, err);
}

static void follow_end(struct gt_lead *l)
{
	for (int i = 0; i < SERVED; i++) {
		gt_relay_free(l->served[i].follow);
		l->served[i].follow = NULL;
	}
}

/* ---- the lease ------------------------------------------------------------------------------ */

static void state_take(struct gt_lead *l)
{
	const struct gt_lead_config *c = &l->config;

	switch (l->view.state) {
	case GT_LEASE_STARTS:
		break;
	case GT_LEASE_LEADS:
		if (l->leads)
			break;
		gt_info("this control leads, epoch %llu", (unsigned long long)l->view.epoch);
		follow_end(l);
		l->leads = true;
		c->begin(c->arg, l->view.epoch);
		break;
	case GT_LEASE_OVER:
		c->over(c->arg, &l->view.why);
		break;
	default:
		c->ready(c->arg);
	}
}

static void look(void *arg)
{
	struct gt_lead *l = arg;
	enum gt_lease_state was = l->view.state;

	gt_lease_view(l->lease, &l->view);
	if (l->view.state == GT_LEASE_FOLLOWS && was != GT_LEASE_FOLLOWS)
		gt_info("node %s leads, epoch %llu", l->view.holder,
			(unsigned long long)l->view.epoch);
	gt_timer_set(l->config.loop, &l->look, LOOK_MS, look, l);
	if (l->view.state != was)
		state_take(l);
}

static void ring(void *arg)
{
	gt_wake_ring(arg);
}

static int lead_start(struct gt_lead *l, struct gt_err *err)
{
	struct gt_lease_config lease = { .url = l->config.url,
					 .holder = l->config.node,
					 .place = l->place,
					 .door = l->config.door,
					 .lease_ms = l->config.lease_ms,
					 .notify = ring };
	char id[GT_ULID_LEN + 1];

	gt_ulid(&gt_clock_system, &gt_rand_system, id);
	snprintf(l->place, sizeof(l->place), "@gantry-%s", id);
	for (int i = 0; i < SERVED; i++) {
		l->served[i].lead = l;
		l->served[i].which = i;
		if (serve(&l->served[i], err) < 0)
			return -err->code;
	}
	if (gt_wake_new(l->config.loop, look, l, &l->wake, err) < 0)
		return -err->code;
	lease.notify_arg = l->wake;
	if (gt_lease_new(&lease, &l->lease, err) < 0)
		return -err->code;
	gt_timer_set(l->config.loop, &l->look, LOOK_MS, look, l);
	return 0;
}

int gt_lead_new(const struct gt_lead_config *config, struct gt_lead **ret, struct gt_err *err)
{
	struct gt_lead *l = gt_alloc(sizeof(*l));

	l->config = *config;
	for (int i = 0; i < SERVED; i++)
		l->served[i].door_fd = -EBADF;
	if (lead_start(l, err) < 0) {
		gt_lead_free(l);
		return -err->code;
	}
	*ret = l;
	return 0;
}

void gt_lead_free(struct gt_lead *l)
{
	if (!l)
		return;
	gt_timer_clear(l->config.loop, &l->look);
	gt_lease_free(l->lease);
	gt_wake_free(l->wake);
	follow_end(l);
	for (int i = 0; i < SERVED; i++) {
		gt_relay_free(l->served[i].door);
		gt_close(l->served[i].door_fd);
	}
	free(l);
}
