/* supervise.c - one replica from its order to its end:
 *
 *	starting -> ready -> draining -> stopped, or failed from each of them; between ready and
 *	ready it may be parked (park.c)
 *
 * A stop is TERM, grace, KILL. What ends without being told to has failed, and says why. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "images.h"

struct replica *gt_replica_find(struct agent *a, const char *id)
{
	struct replica *r;

	HASH_FIND_STR(a->replicas, id, r);
	return r;
}

struct replica *gt_replica_new(struct agent *a, const char *id, const char *function,
			       uint32_t revision, const char *spec_json)
{
	struct replica *r = gt_alloc(sizeof(*r));

	r->agent = a;
	gt_strcopy(r->id, sizeof(r->id), id);
	gt_strcopy(r->function, sizeof(r->function), function);
	r->revision = revision;
	r->spec_json = gt_strdup(spec_json ? spec_json : "");
	r->state = GT_REPLICA_PENDING;
	r->stop_signal = SIGTERM;
	r->created_ms = gt_wall_ms(&gt_clock_system);
	r->ordered_ns = gt_loop_clock_ns(a->loop);
	r->end.exit_code = -1;
	r->probe.fd = -EBADF;
	r->parking.http.fd = -EBADF;
	r->dirty = true;
	HASH_ADD_STR(a->replicas, id, r);
	return r;
}

void gt_replica_free(struct replica *r)
{
	gt_probe_stop(r);
	gt_park_drop(r);
	gt_image_cancel(r->pull);
	gt_image_wait_cancel(r->unpack);
	gt_timer_clear(r->agent->loop, &r->deadline);
	gt_timer_clear(r->agent->loop, &r->again.timer);
	gt_log_close(&r->log);
	HASH_DEL(r->agent->replicas, r);
	gt_replica_gpus_return(r);
	gt_replica_weights_end(r);
	gt_spec_free(r->spec);
	free(r->gpus);
	free(r->addresses);
	free(r->gpu_use);
	gt_end_fini(&r->end);
	free(r->spec_json);
	free(r);
}

static uint64_t us_since(const struct replica *r, uint64_t ns)
{
	return GT_MAX((gt_loop_clock_ns(r->agent->loop) - ns) / GT_NS_PER_US, 1u);
}

void gt_replica_move(struct replica *r, enum gt_replica_state to)
{
	gt_replica_state_move(&r->state, to);
	r->dirty = true;
	gt_report_soon(r->agent);
}

/* ---- the end ---- */

static void drop_container(struct replica *r)
{
	gt_probe_stop(r);
	gt_park_drop(r);
	r->park.bytes = 0;
	gt_timer_clear(r->agent->loop, &r->deadline);
	if (r->container)
		gt_container_release(gt_steal(&r->container));
}

static void ended(struct replica *r, enum gt_replica_state state)
{
	struct agent *a = r->agent;
	bool again = state == GT_REPLICA_FAILED && gt_again_may(r);

	drop_container(r);
	gt_replica_gang_over(r);
	gt_replica_gpus_return(r);
	gt_replica_weights_end(r);
	gt_log_drain(&r->log); /* its last words belong to the report */
	if (state == GT_REPLICA_FAILED && !r->end.log_tail)
		r->end.log_tail = gt_log_tail(&r->log);
	gt_log_close(&r->log);
	gt_replica_move(r, state);
	if (again)
		gt_again_wait(r);
	if (r->forgotten) {
		gt_record_remove(r);
		gt_replica_free(r);
	}
	gt_agent_replica_gone(a);
}

static void fail(struct replica *r, const char *cause, const char *text)
{
	gt_strcopy(r->end.cause, sizeof(r->end.cause), cause);
	gt_strcopy(r->end.text, sizeof(r->end.text), text);
	ended(r, r->stop_ordered && r->state == GT_REPLICA_DRAINING ? GT_REPLICA_STOPPED
								    : GT_REPLICA_FAILED);
}

void gt_replica_give_up(struct replica *r, const char *cause, const char *text)
{
	fail(r, cause, text);
}

static void fail_unread(struct replica *r, const struct gt_err *err)
{
	char text[sizeof(r->end.text)];

	snprintf(text, sizeof(text), "the node can not read the specification: %.500s", err->text);
	fail(r, "sandbox_failed", text);
}

static void exit_text(const struct replica *r, const struct gt_exit *how, char *out, size_t size)
{
	const char *when = r->was_ready ? "" : " before it was ready";

	if (how->oom)
		snprintf(out, size, "the process exceeded its memory limit of %llu MiB%s",
			 (unsigned long long)(r->spec->resources.memory_bytes / GT_MIB), when);
	else if (how->signal)
		snprintf(out, size, "the process was killed by signal %d (%s)%s", how->signal,
			 strsignal(how->signal), when);
	else
		snprintf(out, size, "the process exited with code %d%s", how->code, when);
}

static void exited(struct replica *r, const struct gt_exit *how)
{
	char text[sizeof(r->end.text)];

	r->end.exit_code = how->code;
	r->end.signal = how->signal;
	if (r->state == GT_REPLICA_DRAINING) {
		ended(r, GT_REPLICA_STOPPED);
		return;
	}
	if (r->killed) {
		fail(r, r->killed, r->killed_text);
		return;
	}
	if (r->out_of_time) {
		snprintf(text, sizeof(text), "the process did not become ready within %llu ms",
			 (unsigned long long)r->spec->ready.timeout_ms);
		fail(r, "not_ready_in_time", text);
		return;
	}
	exit_text(r, how, text, sizeof(text));
	fail(r, how->oom ? "out_of_memory" : r->was_ready ? "exited" : "exited_early", text);
}

/* ---- what its container tells ---- */

static int on_sandbox(struct gt_container *c, const struct gt_container_where *where, void *arg,
		      struct gt_err *err)
{
	struct replica *r = arg;

	(void)c;
	r->phases.sandbox_us = us_since(r, r->ordered_ns);
	r->where = *where;
	int res = gt_record_write(r, err);

	return res == 0 && gt_replica_gang_holds(r) ? gt_replica_gang_held(r, err) : res;
}

static void on_deadline(void *arg)
{
	struct replica *r = arg;

	r->out_of_time = true;
	gt_probe_stop(r);
	gt_container_kill(r->container);
}

/* Of a gang only the first member listens; the others have done what they can do by running. */
static void wait_ready(struct replica *r)
{
	if (r->gang.rank > 0) {
		gt_replica_is_ready(r);
		return;
	}
	gt_timer_set(r->agent->loop, &r->deadline, r->spec->ready.timeout_ms, on_deadline, r);
	gt_probe_start(r);
}

static void on_started(struct gt_container *c, uint64_t root_us, uint64_t exec_us, void *arg)
{
	struct replica *r = arg;
	(void)c;
	r->phases.root_us = GT_MAX(root_us, 1u);
	r->phases.exec_us = GT_MAX(exec_us, 1u);
	r->exec_ns = gt_loop_clock_ns(r->agent->loop);
	gt_usage_rounds_begin(r->agent);
	gt_agent_gpus_started(r);
	if (r->state == GT_REPLICA_DRAINING) { /* stopped while it was starting */
		gt_container_signal(c, r->stop_signal);
		return;
	}
	r->dirty = true;
	wait_ready(r);
}

static void on_failed(struct gt_container *c, const struct gt_err *err, void *arg)
{
	(void)c;
	fail(arg, err->slug, err->text);
}

static void on_exit_(struct gt_container *c, const struct gt_exit *how, void *arg)
{
	(void)c;
	exited(arg, how);
}

static struct gt_container_events events_of(struct replica *r)
{
	return (struct gt_container_events){ on_sandbox, on_started, on_failed, on_exit_, r };
}

void gt_replica_is_ready(struct replica *r)
{
	if (r->parking.busy) { /* it is back */
		gt_timer_clear(r->agent->loop, &r->deadline);
		gt_park_done(r, PARK_OK);
		return;
	}
	gt_timer_clear(r->agent->loop, &r->deadline);
	r->phases.ready_us = us_since(r, r->exec_ns);
	r->was_ready = true;
	gt_park_choose(r);
	gt_replica_move(r, GT_REPLICA_READY);
	gt_record_ready(r);
	gt_park_pursue(r);
}

/* ---- the start ---- */

static int open_logs(struct replica *r, int fds[3], struct gt_err *err)
{
	int ends[LOG_STREAM_N], res = 0;

	r->log.function = r->function;
	r->log.replica = r->id;
	r->log.revision = r->revision;
	r->log.max_bytes = r->spec->limits.log_bytes;
	/* A second description of the FIFO, as ours must not block and the program's must. */
	for (int i = 0; i < LOG_STREAM_N; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
		ends[i] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (ends[i] < 0 && res == 0)
			res = gt_err_errno(err, errno, "open the log pipe");
	}
	if (res == 0)
		return gt_log_open(r->agent->logs, &r->log, ends, err);
	for (int i = 0; i < LOG_STREAM_N; i++)
		gt_close(ends[i]);
	return res;
}

static void close_all(int fds[3])
{
	for (int i = 0; i < 3; i++)
		gt_close(fds[i]);
}

static int start(struct replica *r, struct gt_err *err)
{
	struct gt_container_events events = events_of(r);
	int fds[3] = { -EBADF, -EBADF, -EBADF }, res;
	char *env[GT_CONTAINER_ENV_MAX];
	int layers[GT_RUNTIME_LAYERS_MAX];
	struct gt_container_file files[GT_RUNTIME_FILES_MAX];
	size_t n_layers = 0, n_env = gt_replica_gpus_env(r, env), n_files = 0;
	gt_auto(inject) struct gt_inject *inject = NULL;

	if (r->gang.size > 0 && r->addresses)
		n_env += gt_replica_gang_env(r, r->addresses, env + n_env);

	res = gt_replica_image_layers(r, layers, &n_layers, GT_LEN(layers), err);
	if (res == 0)
		res = gt_replica_inject(r, &inject, err);
	if (res == 0)
		res = gt_record_make(r, fds, err);
	if (res == 0)
		res = open_logs(r, fds, err);
	if (res == 0) {
		n_files = gt_replica_weights_files(r, files);
		struct gt_container_args args = {
			.function = r->function,
			.replica = r->id,
			.revision = r->revision,
			.spec = r->spec,
			.layers = layers,
			.n_layers = n_layers,
			.layers_owned = n_layers > 0 && gt_image_mounts_owned(r->agent->images),
			.files = files,
			.n_files = n_files,
			.stdout_fd = fds[RECORD_STDOUT],
			.stderr_fd = fds[RECORD_STDERR],
			.status_fd = fds[RECORD_STATUS],
			.inject = inject,
			.env = (const char *const *)env,
			.n_env = n_env,
			.hold = gt_replica_gang_holds(r),
		};

		res = gt_container_start(r->agent->rt, &args, &events, &r->container, err);
	}
	close_all(fds);
	while (n_env > 0)
		free(env[--n_env]);
	while (n_files > 0)
		gt_close(files[--n_files].fd);
	gt_image_mounts_drop(r->agent->images, layers, n_layers);
	return res;
}

static void fail_start(struct replica *r, const struct gt_err *err)
{
	fail(r, gt_streq(err->slug, "system_error") ? "sandbox_failed" : err->slug, err->text);
}

static void go(struct replica *r)
{
	struct gt_err err = { 0 };

	r->ordered_ns = gt_loop_clock_ns(r->agent->loop);
	if (start(r, &err) < 0)
		fail_start(r, &err);
}

void gt_replica_weights_are_here(struct replica *r)
{
	r->phases.weights_us = us_since(r, r->ordered_ns);
	go(r);
}

void gt_replica_image_is_here(struct replica *r, const struct gt_err *failed)
{

	if (failed) {
		fail_start(r, failed);
		return;
	}
	gt_replica_move(r, GT_REPLICA_STARTING);
	if (gt_spec_ref(r->spec))
		r->phases.image_us = us_since(r, r->ordered_ns);
	r->ordered_ns = gt_loop_clock_ns(r->agent->loop);
	if (!gt_replica_weights_wait(r))
		go(r);
}

void gt_replica_start(struct replica *r)
{
	struct gt_err err = { 0 };
	int res;

	gt_report_soon(r->agent);
	if (gt_spec_read(r->spec_json, strlen(r->spec_json), &r->spec, &err) < 0) {
		fail_unread(r, &err);
		return;
	}
	gt_lease_watch(r->agent);
	if (gt_replica_gang_check(r, &err) < 0 || gt_replica_gpus_take(r, &err) < 0) {
		fail_start(r, &err);
		return;
	}
	gt_replica_weights_begin(r);
	res = gt_replica_image_get(r, &err);
	if (res == -EINPROGRESS)
		gt_replica_move(r, GT_REPLICA_PULLING);
	else
		gt_replica_image_is_here(r, res < 0 ? &err : NULL);
}

static int adopt(struct replica *r, struct gt_exit *how, struct gt_err *err)
{
	struct gt_container_events events = events_of(r);
	int fds[3] = { -EBADF, -EBADF, -EBADF }, res;

	res = gt_record_open(r, fds, err);
	if (res == 0)
		res = open_logs(r, fds, err);
	if (res == 0)
		res = gt_container_adopt(r->agent->rt, &r->where, fds[RECORD_STATUS], &events,
					 &r->container, how, err);
	close_all(fds);
	return res;
}

void gt_replica_adopt(struct replica *r)
{
	struct gt_exit how = { .code = -1 };
	char unknown[GT_SPEC_UNKNOWN_SIZE]; /* it runs, made by who knew */
	struct gt_err err = { 0 };
	int res;

	gt_replica_move(r, GT_REPLICA_STARTING);
	if (gt_spec_read_kept(r->spec_json, strlen(r->spec_json), unknown, &r->spec, &err) < 0) {
		fail_unread(r, &err); /* the sweep removes the process */
		return;
	}
	gt_replica_image_adopt(r);
	gt_replica_weights_adopt(r);
	/* Where the node lost a GPU meanwhile, the sweep removes the process. Control may have
	 * started anew with us, and not know of the replica; so the log has it. */
	if (gt_replica_gpus_keep(r, &err) < 0) {
		gt_warn("replica %s: %s", r->id, err.text);
		fail_start(r, &err);
		return;
	}
	res = adopt(r, &how, &err);
	if (res == -ESRCH) {
		exited(r, &how);
		return;
	}
	if (res < 0) {
		fail(r, "sandbox_failed", err.text);
		return;
	}
	gt_usage_rounds_begin(r->agent);
	gt_replica_gang_adopt(r);
	gt_agent_gpus_started(r);
	if (r->was_ready) {
		gt_park_choose(r);
		gt_park_adopt(r);
	} else {
		r->exec_ns = gt_loop_clock_ns(r->agent->loop);
		wait_ready(r);
	}
}

/* ---- the stop ---- */

static void on_grace_over(void *arg)
{
	gt_container_kill(((struct replica *)arg)->container);
}

void gt_replica_stop(struct replica *r, uint64_t grace_ms)
{
	if (gt_replica_state_ended(r->state)) {
		r->dirty = true; /* control asks because it has not heard */
		gt_report_soon(r->agent);
		return;
	}
	r->stop_ordered = true;
	if (!r->container) {
		gt_image_cancel(gt_steal(&r->pull));
		gt_image_wait_cancel(gt_steal(&r->unpack));
		gt_replica_gpus_return(r);
		gt_replica_weights_end(r);
		gt_replica_move(
			r, GT_REPLICA_STOPPED); /* ordered to stop before there was a process */
		if (r->forgotten)
			gt_replica_free(r);
		return;
	}
	gt_probe_stop(r);
	if (r->state != GT_REPLICA_DRAINING) {
		grace_ms = gt_park_stop(r) ? 0 : grace_ms;
		gt_replica_move(r, GT_REPLICA_DRAINING);
		if (grace_ms > 0)
			gt_container_signal(r->container, r->stop_signal);
	}
	/* A later order may shorten the grace. */
	gt_timer_clear(r->agent->loop, &r->deadline);
	if (grace_ms == 0 || r->held) /* nothing of the image runs */
		gt_container_kill(r->container);
	else
		gt_timer_set(r->agent->loop, &r->deadline, grace_ms, on_grace_over, r);
}

void gt_replica_kill(struct replica *r, const char *cause, const char *text)
{
	if (gt_replica_state_ended(r->state) || r->killed)
		return;
	if (!r->container) {
		gt_image_cancel(gt_steal(&r->pull));
		gt_image_wait_cancel(gt_steal(&r->unpack));
		fail(r, cause, text);
		return;
	}
	r->killed = cause;
	gt_strcopy(r->killed_text, sizeof(r->killed_text), text);
	gt_probe_stop(r);
	gt_container_kill(r->container);
}

void gt_replica_forget(struct replica *r)
{
	r->forgotten = true;
	if (!gt_replica_state_ended(r->state)) {
		gt_replica_stop(r, r->spec ? r->spec->limits.drain_ms : 0);
		return;
	}
	gt_record_remove(r);
	gt_replica_free(r);
}

void gt_replica_leave(struct replica *r)
{
	if (r->container)
		gt_container_leave(gt_steal(&r->container));
	gt_log_drain(&r->log);
	gt_replica_free(r);
}
