#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gantry/agent/agent.h>
#include <gantry/base/cleanup.h>
#include <gantry/http/digest.h>
#include <gantry/loop/loop.h>
#include <gantry/os/os.h>
#include <gantry/weights/store.h>

#include "files.h"
#include "kind.h"
#include "notify.h"
#include "spawn.h"
#include "state_dir.h"
#include "upgrade.h"

#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS   800 /* a crashed role is back within a second */
#define STEADY_MS      5000
#define STOP_SLACK_MS  10000                /* on top of the drain time, then KILL */
#define CHILDREN_MAX   GT_HELD_CHILDREN_MAX /* roles, and gateways that drain after a reload */
#define CHECK_MS       10000                /* for a new program to say that it would start */

struct supervisor;

struct child {
	struct supervisor *sup;
	enum gt_role_id id;
	pid_t pid; /* 0 = free place */
	int pidfd;
	int files_fd; /* a gateway hears of its files here; -1 = it does not */
	struct gt_watch *watch;
	unsigned instance; /* 1, or the next free number while replaced ones still drain */
	int heir;          /* a gateway's: for the one that will replace it, to talk to it */
};

struct role {
	struct supervisor *sup;
	enum gt_role_id id;
	struct child *child; /* the current one, or NULL */
	int ready_fd;        /* read end; the write end is inherited by the child */
	struct gt_watch *ready_watch;
	bool ready, ever_ready;
	bool respawn; /* a reload waits for the old one to end */
	int before;   /* to the gateway that this one replaces, until it is ready; or -1 */
	uint64_t started_ns, retry_ms;
	struct gt_timer retry;
};

enum stage {
	STAGE_STARTING,
	STAGE_RUNNING,
	STAGE_DRAINING,
	STAGE_UPLINK,
	STAGE_AGENT,
	STAGE_CONTROL,
	STAGE_DONE
};

struct supervisor {
	const struct gt_kind *kind;
	struct gt_loop *loop;
	struct gt_config config;
	gt_config_load_fn *load;
	void *load_arg;
	char token_sha256[GT_SHA256_HEX_SIZE];
	struct gt_listening listening;
	uid_t uid;
	gid_t gid;
	int fds[GT_FD_N]; /* listeners and the lock */
	struct role roles[GT_PROC_N];
	struct child children[CHILDREN_MAX];
	enum stage stage;
	bool stop_replicas;
	struct gt_timer deadline;
	struct {           /* of a new program, before this one becomes it */
		pid_t pid; /* 0 = none */
		int pidfd;
		struct gt_watch *watch;
		struct gt_timer late;
		bool waits; /* for a role that is just being started */
	} check;
	int status; /* of gt_supervise: 0, or the -errno in failure */
	struct gt_err failure;
};

static void role_start(struct role *role);
static void stop_next(struct supervisor *sup);
static void stop_begin(struct supervisor *sup);
static void upgrade(struct supervisor *sup);

static void fail(struct supervisor *sup, const struct gt_err *why)
{
	if (sup->status == 0) {
		sup->failure = *why;
		sup->status = -why->code;
	}
	stop_begin(sup);
}

static void signal_elders(const struct role *role)
{
	const struct supervisor *sup = role->sup;

	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (sup->children[i].pid && sup->children[i].id == role->id &&
		    &sup->children[i] != role->child)
			kill(sup->children[i].pid, SIGTERM);
}

static bool all_ready(const struct supervisor *sup)
{
	for (int i = 0; i < GT_PROC_N; i++)
		if (gt_kind_has(sup->kind, (enum gt_role_id)i) && !sup->roles[i].ready)
			return false;
	return true;
}

static void check_all_ready(struct supervisor *sup)
{
	char text[256], status[280];

	if (!all_ready(sup) || sup->stage != STAGE_STARTING)
		return;
	sup->stage = STAGE_RUNNING;
	if (sup->listening.url[0]) {
		gt_state_announce(sup->config.state, sup->listening.url);
		snprintf(text, sizeof(text), "listening on %s", sup->listening.url);
	} else {
		snprintf(text, sizeof(text), "running as node %s", sup->config.node);
	}
	puts(text);
	if (sup->listening.tls_url[0])
		printf("listening on %s\n", sup->listening.tls_url);
	fflush(stdout);
	snprintf(status, sizeof(status), "READY=1\nSTATUS=%s", text);
	gt_notify(status);
}

static void on_ready(struct gt_watch *w, unsigned events, void *arg)
{
	struct role *role = arg;
	char text[16];

	(void)events;
	ssize_t n = read(role->ready_fd, text, sizeof(text));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		gt_debug("%s is ready after %llu ms", gt_role_names[role->id],
			 (unsigned long long)((gt_loop_now_ns(role->sup->loop) - role->started_ns) /
					      GT_NS_PER_MS));
		role->ready = role->ever_ready = true;
		role->before = gt_close(role->before);
		if (role->id == GT_PROC_UPLINK) /* those before it may go */
			signal_elders(role);
		check_all_ready(role->sup);
		if (role->sup->check.waits && role->sup->stage == STAGE_RUNNING &&
		    all_ready(role->sup))
			upgrade(role->sup);
	}
	gt_watch_close(w);
	role->ready_watch = NULL;
	role->ready_fd = gt_close(role->ready_fd);
}

static void child_describe(int status, char *out, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(out, size, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
}

static void role_retry(void *arg)
{
	role_start(arg);
}

/* The current process of a role ended by itself. */
static void role_lost(struct role *role, int status)
{
	struct supervisor *sup = role->sup;
	uint64_t lived_ms = (gt_loop_now_ns(sup->loop) - role->started_ns) / GT_NS_PER_MS;
	struct gt_err err = { 0 };
	char how[128];

	role->child = NULL;
	role->ready = false;
	if (sup->stage > STAGE_RUNNING) {
		stop_next(sup);
		return;
	}
	if (role->respawn) {
		role->respawn = false;
		role_start(role);
		return;
	}
	child_describe(status, how, sizeof(how));
	if (!role->ever_ready) {
		gt_err_set(&err, ECHILD, "role_failed", "the %s could not start (it %s)",
			   gt_role_names[role->id], how);
		fail(sup, &err);
		return;
	}
	role->retry_ms = lived_ms > STEADY_MS || role->retry_ms == 0
				 ? RETRY_FIRST_MS
				 : GT_MIN(role->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
	gt_warn("the %s %s; starting it again in %llu ms", gt_role_names[role->id], how,
		(unsigned long long)role->retry_ms);
	gt_timer_set(sup->loop, &role->retry, role->retry_ms, role_retry, role);
}

static void on_child_end(struct gt_watch *w, unsigned events, void *arg)
{
	struct child *child = arg;
	struct supervisor *sup = child->sup;
	struct role *role = &sup->roles[child->id];
	int status = 0;

	(void)events;
	if (waitpid(child->pid, &status, WNOHANG) != child->pid)
		return;
	gt_watch_close(w);
	gt_close(child->pidfd);
	gt_close(child->heir);
	gt_close(child->files_fd);
	bool current = role->child == child;
	*child = (struct child){ 0 };
	if (current)
		role_lost(role, status);
	else if (sup->stage > STAGE_RUNNING)
		stop_next(sup);
}

static struct child *free_child(struct supervisor *sup)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (sup->children[i].pid == 0)
			return &sup->children[i];
	return NULL;
}

static unsigned free_instance(const struct supervisor *sup, enum gt_role_id id)
{
	unsigned n = 1;

	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (sup->children[i].pid && sup->children[i].id == id &&
		    sup->children[i].instance >= n)
			n = sup->children[i].instance + 1;
	return n;
}

/* The new gateway's channel for files, with the first of them in it. */
static int files_begin(const struct gt_config *config, int *ours, int *theirs, struct gt_err *err)
{
	int fds[GT_GATEWAY_FILES], pair[2];
	int r = gt_config_files_open(config, fds, err);

	if (r == 0)
		r = gt_os_socketpair(pair, err);
	if (r < 0) {
		gt_config_files_close(fds);
		return r;
	}
	*ours = pair[0];
	*theirs = pair[1];
	r = gt_gateway_send_files(*ours, fds, err);
	gt_config_files_close(fds);
	return r;
}

/* Here, and not by the agent: a mount of its own would be gone with it, and what replicas have of
 * it would be memory that nobody counts. */
static void store_begin(const struct gt_config *config)
{
	struct gt_err err = { 0 };

	if (gt_weights_store_mount(config->state, config->weight_store, &err) < 0)
		gt_warn("there is no weight store: %s", err.text);
}

static void store_end(const struct gt_config *config)
{
	struct gt_err err = { 0 };

	if (gt_weights_store_unmount(config->state, &err) < 0)
		gt_warn("weight store: %s", err.text);
}

static int role_spawn(struct role *role, struct gt_err *err)
{
	struct supervisor *sup = role->sup;
	struct child *child = free_child(sup);
	int ready[2], pair[2] = { -EBADF, -EBADF };
	gt_auto(fd) int files = -1;
	gt_auto(fd) int their_files = -1;
	struct gt_spawn spawn = { .id = role->id,
				  .instance = free_instance(sup, role->id),
				  .config = &sup->config,
				  .token_sha256 = sup->token_sha256,
				  .join_token = role->id == GT_PROC_UPLINK ? sup->config.join_token
									   : NULL,
				  .uid = gt_kind_uid(&sup->config, sup->uid, role->id),
				  .gid = sup->gid };

	if (!child)
		return gt_err_set(err, EAGAIN, "internal", "too many processes still end");
	if (role->id == GT_PROC_GATEWAY && files_begin(&sup->config, &files, &their_files, err) < 0)
		return -err->code;
	if (role->id == GT_PROC_AGENT)
		store_begin(&sup->config);
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return gt_err_errno(err, errno, "pipe");
	if (role->id == GT_PROC_GATEWAY &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		gt_err_errno(err, errno, "socket pair");
		gt_close(ready[0]);
		gt_close(ready[1]);
		return -err->code;
	}
	for (int i = 0; i < GT_FD_N; i++)
		spawn.fds[i] = sup->kind->fds[role->id] & 1U << i ? sup->fds[i] : -EBADF;
	spawn.fds[GT_FD_READY] = ready[1];
	spawn.fds[GT_FD_BEFORE] = role->before;
	spawn.fds[GT_FD_AFTER] = pair[1];
	spawn.fds[GT_FD_FILES] = their_files;
	int r = gt_spawn_role(&spawn, &child->pid, &child->pidfd, err);
	gt_close(ready[1]);
	gt_close(pair[1]);
	if (r < 0) {
		gt_close(ready[0]);
		gt_close(pair[0]);
		return r;
	}
	child->heir = pair[0];
	child->sup = sup;
	child->id = role->id;
	child->files_fd = gt_steal_fd(&files);
	child->instance = spawn.instance;
	role->child = child;
	role->started_ns = gt_loop_clock_ns(sup->loop);
	if (role->ready_watch)
		gt_watch_close(role->ready_watch);
	gt_close(role->ready_fd);
	role->ready_fd = ready[0];
	role->ready = false;
	if (gt_loop_watch(sup->loop, ready[0], GT_EV_READ, on_ready, role, &role->ready_watch,
			  err) < 0)
		return -err->code;
	return gt_loop_watch(sup->loop, child->pidfd, GT_EV_READ, on_child_end, child,
			     &child->watch, err);
}

static void role_start(struct role *role)
{
	struct gt_err err = { 0 };

	if (role_spawn(role, &err) == 0)
		return;
	gt_error("%s: %s", gt_role_names[role->id], err.text);
	if (!role->ever_ready)
		fail(role->sup, &err);
	else
		gt_timer_set(role->sup->loop, &role->retry, RETRY_MAX_MS, role_retry, role);
}

/* ---- stopping ---- */

static bool alive(const struct supervisor *sup, enum gt_role_id id)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (sup->children[i].pid && sup->children[i].id == id)
			return true;
	return false;
}

static void signal_role(struct supervisor *sup, enum gt_role_id id, int signo)
{
	gt_timer_clear(sup->loop, &sup->roles[id].retry);
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (sup->children[i].pid && sup->children[i].id == id)
			kill(sup->children[i].pid, signo);
}

static void stop_late(void *arg)
{
	struct supervisor *sup = arg;

	gt_warn("some roles did not end in time; killing them");
	for (int i = 0; i < GT_PROC_N; i++)
		signal_role(sup, (enum gt_role_id)i, SIGKILL);
}

/* An agent that died, or was about to make room for a new one, has not stopped its replicas. */
static void sweep(const struct supervisor *sup)
{
	struct gt_err err;

	if (sup->stop_replicas && gt_agent_cleanup(sup->config.state, &err) < 0)
		gt_warn("%s", err.text);
}

/* Moves the stop one step on when the processes of the present stage are gone: first what has calls
 * (they finish while the others still work; calls of a gateway before those that come to replicas
 * here from another host), then the agent, then control. */
static void stop_next(struct supervisor *sup)
{
	if (sup->stage == STAGE_DRAINING && !alive(sup, sup->kind->front)) {
		sup->stage = STAGE_UPLINK;
		signal_role(sup, GT_PROC_UPLINK, SIGTERM);
	}
	if (sup->stage == STAGE_UPLINK && !alive(sup, GT_PROC_UPLINK)) {
		sup->stage = STAGE_AGENT;
		signal_role(sup, GT_PROC_AGENT, sup->stop_replicas ? SIGINT : SIGTERM);
	}
	if (sup->stage == STAGE_AGENT && !alive(sup, GT_PROC_AGENT)) {
		sweep(sup);
		sup->stage = STAGE_CONTROL;
		signal_role(sup, GT_PROC_CONTROL, SIGTERM);
	}
	if (sup->stage == STAGE_CONTROL && !alive(sup, GT_PROC_CONTROL)) {
		sup->stage = STAGE_DONE;
		if (sup->stop_replicas)
			store_end(&sup->config);
		gt_loop_stop(sup->loop);
	}
}

static void stop_begin(struct supervisor *sup)
{
	gt_notify("STOPPING=1\nSTATUS=draining");
	sup->stage = STAGE_DRAINING;
	signal_role(sup, sup->kind->front, SIGTERM);
	/* The gateway waits for its clients, and some of those for a registry that never answers.
	 */
	if (sup->roles[GT_PROC_AGENT].ready)
		signal_role(sup, GT_PROC_AGENT, GT_AGENT_DRAIN);
	gt_timer_set(sup->loop, &sup->deadline, sup->config.drain_ms + STOP_SLACK_MS, stop_late,
		     sup);
	stop_next(sup);
}

static void stop(struct supervisor *sup, bool replicas_too)
{
	sup->stop_replicas |= replicas_too;
	if (sup->stage > STAGE_RUNNING) { /* asked again: no more patience with calls in flight */
		signal_role(sup, sup->kind->front, SIGKILL);
		signal_role(sup, GT_PROC_UPLINK, SIGKILL);
		return;
	}
	gt_info("stopping: calls in flight may finish within %llu s, replicas %s",
		(unsigned long long)sup->config.drain_ms / 1000,
		replicas_too ? "are stopped" : "keep running");
	stop_begin(sup);
}

/* ---- reload ---- */

static void role_replace(struct role *role)
{
	struct child *old = role->child;

	if (!old) /* between two lives: the next one reads the new configuration anyway */
		return;
	/* The old one hears when the new one is ready. */
	if (role->id == role->sup->kind->front || role->id == GT_PROC_UPLINK) {
		role->child = NULL;
		gt_close(role->before);
		role->before = gt_steal_fd(&old->heir);
		role_start(role);
	} else {
		role->respawn = true;
		kill(old->pid, SIGTERM);
	}
}

/* Opens the files anew, for gateways that drain, too. */
static int files_renew(struct supervisor *sup, const struct gt_config *config, struct gt_err *err)
{
	int fds[GT_GATEWAY_FILES];
	struct gt_err lost;
	int r = gt_config_files_open(config, fds, err);

	if (r < 0)
		return r;
	r = gt_gateway_check_files(fds, err);
	if (r < 0) /* the log is opened anew all the same */
		fds[GT_GATEWAY_TLS_CERT] = gt_close(fds[GT_GATEWAY_TLS_CERT]);
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		const struct child *c = &sup->children[i];

		if (c->pid && c->id == GT_PROC_GATEWAY && c->files_fd >= 0 &&
		    gt_gateway_send_files(c->files_fd, fds, &lost) < 0)
			gt_warn("reload: a gateway keeps its files: %s", lost.text);
	}
	gt_config_files_close(fds);
	return r;
}

/* Only control knows whom it lets in. */
static int find_token(const struct gt_kind *kind, char *sha256_hex, size_t size, struct gt_err *err)
{
	sha256_hex[0] = '\0';
	return gt_kind_has(kind, GT_PROC_CONTROL) ? gt_state_token(sha256_hex, size, err) : 0;
}

/* Where other daemons with the same store find this one. */
static void advertise(const struct supervisor *sup, struct gt_config *c)
{
	if (!c->advertise[0])
		gt_strcopy(c->advertise, sizeof(c->advertise), sup->listening.url);
}

static void reload(struct supervisor *sup)
{
	struct gt_config next;
	struct gt_err err = { 0 };
	char token[GT_SHA256_HEX_SIZE], was[GT_CONFIG_PACKED], now[GT_CONFIG_PACKED];

	gt_config_defaults(&next);
	if (sup->load(&next, sup->load_arg, &err) < 0 ||
	    gt_kind_settle(sup->kind, &next, &err) < 0 ||
	    find_token(sup->kind, token, sizeof(token), &err) < 0) {
		gt_error("reload: %s; the old configuration stays in force", err.text);
		return;
	}
	memcpy(next.state, sup->config.state, sizeof(next.state));
	if (!gt_streq(next.listen, sup->config.listen) ||
	    !gt_streq(next.tls_listen, sup->config.tls_listen) ||
	    gt_config_only_tls(&next) != gt_config_only_tls(&sup->config)) {
		gt_error("reload: other listening addresses, and TLS on or off, need a restart; "
			 "the old configuration stays in force");
		return;
	}
	if (!next.store[0] != !sup->config.store[0]) {
		gt_error("reload: to share a store, or no more, needs a restart; the old "
			 "configuration stays in force");
		return;
	}
	advertise(sup, &next);
	if (gt_config_pack(&sup->config, was, sizeof(was), &err) < 0 ||
	    gt_config_pack(&next, now, sizeof(now), &err) < 0 ||
	    files_renew(sup, &next, &err) < 0) {
		gt_error("reload: %s; the old configuration stays in force", err.text);
		return;
	}
	if (gt_streq(was, now) && gt_streq(token, sup->token_sha256)) {
		gt_info("reload: the configuration is the same; its files were opened again");
		return;
	}
	sup->config = next;
	memcpy(sup->token_sha256, token, sizeof(token));
	gt_info("reload: replacing the roles");
	for (int i = 0; i < GT_PROC_N; i++)
		role_replace(&sup->roles[i]);
}

/* ---- another program ---- */

static void hold(const struct supervisor *sup, struct gt_held *held)
{
	*held = (struct gt_held){ .n_children = 0 };
	gt_strcopy(held->state, sizeof(held->state), sup->config.state);
	gt_strcopy(held->url, sizeof(held->url), sup->listening.url);
	memcpy(held->fds, sup->fds, sizeof(held->fds));
	held->fds[GT_FD_DOOR] = -EBADF; /* made anew: nobody waits there that can not ask again */
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		const struct child *c = &sup->children[i];

		if (c->pid == 0)
			continue;
		held->children[held->n_children].id = c->id;
		held->children[held->n_children].pid = c->pid;
		held->children[held->n_children].instance = c->instance;
		held->children[held->n_children].heir = c->heir;
		held->children[held->n_children++].current = sup->roles[c->id].child == c;
	}
}

static void become_next(struct supervisor *sup)
{
	struct gt_held held;
	struct gt_err err;

	if (sup->stage != STAGE_RUNNING)
		return;
	if (!all_ready(sup)) {
		gt_info("upgrade: a role is just being started; the new program follows it");
		sup->check.waits = true;
		return;
	}
	hold(sup, &held);
	gt_info("upgrade: executing the new program");
	if (gt_upgrade_exec(&held, &err) < 0)
		gt_error("upgrade: %s; this program goes on", err.text);
}

static void on_checked(struct gt_watch *w, unsigned events, void *arg)
{
	struct supervisor *sup = arg;
	char how[128];
	int status;

	(void)events;
	if (waitpid(sup->check.pid, &status, WNOHANG) != sup->check.pid)
		return;
	gt_watch_close(w);
	gt_timer_clear(sup->loop, &sup->check.late);
	gt_close(sup->check.pidfd);
	sup->check.pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		become_next(sup);
		return;
	}
	child_describe(status, how, sizeof(how));
	gt_error("upgrade: the new program would not start (its check %s); this one goes on", how);
}

static void on_check_late(void *arg)
{
	struct supervisor *sup = arg;

	kill(sup->check.pid, SIGKILL);
}

static void upgrade(struct supervisor *sup)
{
	struct gt_err err;

	if (sup->check.pid)
		return;
	sup->check.waits = false;
	if (gt_upgrade_check(&sup->check.pid, &sup->check.pidfd, &err) < 0 ||
	    gt_loop_watch(sup->loop, sup->check.pidfd, GT_EV_READ, on_checked, sup,
			  &sup->check.watch, &err) < 0) {
		gt_error("upgrade: %s", err.text);
		return;
	}
	gt_timer_set(sup->loop, &sup->check.late, CHECK_MS, on_check_late, sup);
}

static int take_over(struct supervisor *sup, const struct gt_held *held, struct gt_err *err)
{
	for (size_t i = 0; i < held->n_children; i++) {
		struct child *c = &sup->children[i];
		struct role *role = &sup->roles[held->children[i].id];

		*c = (struct child){ .sup = sup,
				     .id = held->children[i].id,
				     .pid = held->children[i].pid,
				     .files_fd = -1,
				     .instance = held->children[i].instance,
				     .heir = held->children[i].heir };
		if (gt_os_pidfd_open(c->pid, &c->pidfd, err) < 0 ||
		    gt_loop_watch(sup->loop, c->pidfd, GT_EV_READ, on_child_end, c, &c->watch,
				  err) < 0)
			return -err->code;
		if (held->children[i].current) {
			role->child = c;
			role->ready = role->ever_ready = true;
			role->started_ns = gt_loop_clock_ns(sup->loop);
		}
	}
	sup->stage = STAGE_RUNNING;
	gt_info("this is gantryd %s; replacing the roles", GT_VERSION);
	for (int i = 0; i < GT_PROC_N; i++) {
		if (sup->roles[i].child)
			role_replace(&sup->roles[i]);
		else if (gt_kind_has(sup->kind, (enum gt_role_id)i))
			role_start(&sup->roles[i]);
	}
	return 0;
}

static void on_signal(int signo, void *arg)
{
	struct supervisor *sup = arg;

	if (signo == SIGTERM || signo == SIGINT)
		stop(sup, signo == SIGINT);
	else if (sup->stage != STAGE_RUNNING)
		return;
	else if (signo == SIGHUP)
		reload(sup);
	else
		upgrade(sup);
}

/* ---- set-up ---- */

/* The directory, its lock and the listeners: made, or taken over. */
static int open_all(struct supervisor *sup, const struct gt_held *held, struct gt_err *err)
{
	if (!held) {
		if (gt_state_open(sup->config.state, sizeof(sup->config.state), sup->gid,
				  &sup->fds[GT_FD_LOCK], err) < 0 ||
		    gt_kind_dirs(sup->kind, &sup->config, sup->uid, sup->gid, err) < 0)
			return -err->code;
		return gt_kind_listen(sup->kind, &sup->config, sup->uid, sup->gid, &sup->listening,
				      err);
	}
	memcpy(sup->fds, held->fds, sizeof(sup->fds));
	memcpy(sup->listening.url, held->url, sizeof(held->url));
	memcpy(sup->config.state, held->state, sizeof(held->state));
	if (chdir(held->state) < 0)
		return gt_err_errno(err, errno, "state directory %s", held->state);
	return gt_kind_listen(sup->kind, &sup->config, sup->uid, sup->gid, &sup->listening, err);
}

static int set_up(struct supervisor *sup, const struct gt_held *held, struct gt_err *err)
{
	sigset_t mask;

	if (geteuid() != 0)
		return gt_err_set(
			err, EPERM, "not_root",
			"gantryd %s starts containers and needs root; try: sudo gantryd %s ... "
			"(all roles but the agent give root up at once)",
			sup->kind->command, sup->kind->command);
	if (sup->load(&sup->config, sup->load_arg, err) < 0)
		return -err->code;
	sup->kind = gt_kind_of(sup->kind, &sup->config);
	gt_log_init("supervisor", sup->config.log_level);
	umask(022);
	if (gt_kind_ids(&sup->config, &sup->uid, &sup->gid, err) < 0 ||
	    open_all(sup, held, err) < 0 || gt_kind_settle(sup->kind, &sup->config, err) < 0 ||
	    find_token(sup->kind, sup->token_sha256, sizeof(sup->token_sha256), err) < 0 ||
	    gt_loop_new(&sup->loop, err) < 0)
		return -err->code;
	advertise(sup, &sup->config);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGUSR2);
	signal(SIGPIPE, SIG_IGN);
	return gt_loop_signals(sup->loop, &mask, on_signal, sup, err);
}

static int start(struct supervisor *sup, const struct gt_held *held, struct gt_err *err)
{
	for (int i = 0; i < GT_PROC_N; i++)
		sup->roles[i] = (struct role){
			.sup = sup, .id = (enum gt_role_id)i, .ready_fd = -EBADF, .before = -EBADF
		};
	if (held)
		return take_over(sup, held, err);
	for (int i = 0; i < GT_PROC_N && sup->stage == STAGE_STARTING; i++)
		if (gt_kind_has(sup->kind, (enum gt_role_id)i))
			role_start(&sup->roles[i]);
	return 0;
}

int gt_supervise(const struct gt_kind *kind, gt_config_load_fn *load, void *arg, char **argv,
		 struct gt_err *err)
{
	struct supervisor sup = { .kind = kind, .load = load, .load_arg = arg };
	struct gt_held held;

	gt_config_defaults(&sup.config);
	sup.listening.fds = sup.fds;
	for (int i = 0; i < GT_FD_N; i++)
		sup.fds[i] = -EBADF;
	int r = gt_upgrade_resume(&held, err);
	bool resumed = r == 0;
	if (r == -ENOENT)
		r = 0;
	if (r == 0)
		r = gt_upgrade_begin(argv, err);
	if (r == 0)
		r = set_up(&sup, resumed ? &held : NULL, err);
	if (r == 0)
		r = start(&sup, resumed ? &held : NULL, err);
	if (r == 0) {
		r = gt_loop_run(sup.loop, err);
		gt_state_withdraw(sup.config.state);
	}
	if (r == 0 && sup.status < 0) {
		*err = sup.failure;
		r = sup.status;
	}
	for (int i = 0; i < GT_FD_N; i++)
		gt_close(sup.fds[i]);
	gt_loop_free(sup.loop);
	return r;
}
