/* uplink.c - the role: who the node is first, then its connections, until a signal. */
#include "uplink_priv.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/http/digest.h>

#include "door.h"
#include "identity.h"
#include "join.h"
#include "renew.h"

struct role {
	struct uplink u; /* first: what the other files know */
	struct join *join;
};

uint64_t backoff_ms(uint64_t *state, uint64_t first, uint64_t most)
{
	uint64_t random;

	gt_rand_system.fill(gt_rand_system.arg, &random, sizeof(random));
	*state = *state ? GT_MIN(*state * 2, most) : first;
	return *state / 2 + random % (*state / 2 + 1);
}

void uplink_fail(struct uplink *u, const struct gt_err *why)
{
	u->fatal = *why;
	gt_loop_stop(u->loop);
}

void uplink_door_answers(struct uplink *u)
{
	if (u->away)
		gt_info("the cluster at %s answers again", u->url);
	u->away = false;
}

void uplink_door_silent(struct uplink *u, const struct gt_err *why)
{
	if (!u->away)
		gt_warn("the cluster at %s is not reached, and is tried again: %s", u->url,
			why->text);
	u->away = true;
}

int gt_uplink_check_url(const char *url, struct gt_err *err)
{
	struct door_name name;

	return door_parse(url, &name, err);
}

/* ---- the end ---- */

void uplink_drained(struct uplink *u)
{
	if (u->draining && pipes_busy(u->pipes) == 0 &&
	    (!u->forwards || links_busy(u->forwards) == 0))
		gt_loop_stop(u->loop);
}

static void on_late(void *arg)
{
	gt_loop_stop(((struct uplink *)arg)->loop);
}

/* The agent keeps its connections: control hears of it as long as calls run. What a gateway passed
 * on before goes on, too, and what comes is for the next uplink. */
static void on_signal(int signo, void *arg)
{
	struct uplink *u = arg;

	(void)signo;
	if (!u->pipes || u->draining) {
		gt_loop_stop(u->loop);
		return;
	}
	u->draining = true;
	pipes_drain(u->pipes);
	if (u->forwards)
		links_listen(u->forwards, false);
	gt_timer_set(u->loop, &u->late, u->config.drain_ms, on_late, u);
	uplink_drained(u);
}

/* ---- the beginning ---- */

static void tell_ready(struct uplink *u)
{
	if (u->config.ready_fd >= 0 && write(u->config.ready_fd, "READY\n", 6) != 6)
		gt_warn("tell the supervisor: %m");
}

void uplink_connect(struct uplink *u)
{
	struct gt_err err = { 0 };
	bool joined = !u->config.lead_path;

	u->dialer = dialer_new(u);
	u->pipes = pipes_new(u);
	if (joined)
		u->renewal = renewal_new(u);
	if (links_new(u, u->config.link_fd, false, &u->links, &err) < 0 ||
	    (!joined && links_new(u, u->config.forward_fd, true, &u->forwards, &err) < 0)) {
		uplink_fail(u, &err);
		return;
	}
	if (joined)
		tell_ready(u);
	else
		links_listen(u->links, false); /* until it is known who leads */
}

void uplink_move(struct uplink *u, const char *url, bool at_once)
{
	struct door *before = u->door;
	struct gt_err why = { 0 };

	if (gt_streq(u->url, url ? url : ""))
		return;
	u->door = NULL;
	if (url && door_new(u->loop, url, &u->door, &why) < 0)
		gt_warn("%s", why.text);
	gt_strcopy(u->url, sizeof(u->url), url ? url : "");
	if (url)
		gt_info("the cluster is at %s now", url);
	pipes_move(u->pipes, at_once);
	links_close(u->links);
	if (u->forwards)
		links_leave(u->forwards);
	gt_err_set(&why, EAGAIN, "unavailable", "another daemon leads now");
	conns_fail(u, before, &why);
	door_free(before);
}

static void on_joined(struct uplink *u)
{
	struct role *r = (struct role *)u;
	struct gt_err err = { 0 };

	join_free(r->join);
	r->join = NULL;
	if (identity_load(u->config.dir, &u->identity, &err) < 0) {
		uplink_fail(u, &err);
		return;
	}
	gt_info("joined the cluster at %s as %s", u->config.url, u->config.node);
	u->doors = doors_new(u);
	uplink_connect(u);
}

static bool is_new_token(const struct identity *i, const char *token)
{
	char digest[GT_SHA256_HEX_SIZE];

	gt_sha256_hex(token, strlen(token), digest);
	return !gt_streq(digest, i->joined.token_sha256);
}

/* The token of a later start is the one that it joined with, or means: join once more. */
static int find_identity(struct uplink *u, struct gt_err *err)
{
	const struct gt_uplink_config *c = &u->config;
	int r = identity_load(c->dir, &u->identity, err);

	if (r == 0 && c->token[0] && is_new_token(u->identity, c->token)) {
		identity_free(u->identity);
		u->identity = NULL;
		r = identity_drop(c->dir, err);
		return r < 0 ? r : -ENOENT;
	}
	if (r < 0)
		return r;
	if (!gt_streq(c->node, u->identity->joined.node))
		return gt_err_set(
			err, EINVAL, "bad_config",
			"node: this state directory has joined as \"%s\"; to be \"%s\" it "
			"needs another token",
			u->identity->joined.node, c->node);
	if (!c->url[0])
		u->config.url = u->identity->joined.url;
	else if (!gt_streq(c->url, u->identity->joined.url))
		r = identity_move(u->identity, c->url, err);
	return r;
}

static void raise_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int set_up(struct role *r, struct gt_err *err)
{
	struct uplink *u = &r->u;
	sigset_t mask;
	bool joined;
	int rc;

	raise_files();
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	if (gt_loop_new(&u->loop, err) < 0 ||
	    gt_loop_signals(u->loop, &mask, on_signal, u, err) < 0)
		return -err->code;
	if (u->config.lead_path) {
		tell_ready(u); /* that nobody leads yet is no reason not to start */
		return leader_new(u, &u->leader, err);
	}
	rc = find_identity(u, err);
	joined = rc == 0;
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (!joined && (!u->config.token[0] || !u->config.url[0]))
		return gt_err_set(err, EINVAL, "bad_config",
				  "this node has not joined a cluster: give --join URL and --token "
				  "TOKEN (of `gantry node token`)");
	gt_strcopy(u->url, sizeof(u->url), u->config.url);
	if (door_new(u->loop, u->url, &u->door, err) < 0)
		return -err->code;
	if (!joined)
		return join_new(u, on_joined, &r->join, err);
	u->doors = doors_new(u);
	uplink_connect(u);
	return 0;
}

static void tear_down(struct role *r)
{
	struct uplink *u = &r->u;

	join_free(r->join);
	leader_free(u->leader);
	doors_free(u->doors);
	renewal_free(u->renewal);
	links_free(u->links);
	links_free(u->forwards);
	pipes_free(u->pipes);
	dialer_free(u->dialer);
	door_free(u->door);
	identity_free(u->identity);
	gt_loop_free(u->loop);
}

int gt_uplink_run(const struct gt_uplink_config *config, struct gt_err *err)
{
	struct role r = { .u = { .config = *config } };
	int rc = set_up(&r, err);

	if (rc == 0)
		rc = gt_loop_run(r.u.loop, err);
	if (rc == 0 && r.u.fatal.code) {
		*err = r.u.fatal;
		rc = -err->code;
	}
	tear_down(&r);
	return rc;
}
