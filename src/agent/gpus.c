/* gpus.c - the node's GPUs and their driver, as the agent meets them: what changed is reported,
 * errors end the replicas that they hit, a replica that has more memory than it was given is told
 * of or ended, and simulated GPUs learn who has what of them. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>
#include <gantry/wire/json.h>
#include <gantry/wire/wire.h>

#include "agent_impl.h"
#include "peaks.h"

#define AWAIT_MS                                                                         \
	700 /* of a node's start: real drivers answer in less where they are kept loaded \
	     */
#define STATS_MS      5000 /* what GPUs measure is told so often, if it changed */
#define OVERUSE_LOOKS 3    /* in a row, one a second */
#define OVERUSE_PART  20   /* a twentieth more than it was given is nothing yet */
#define NO_BYTES      UINT64_MAX

/* ---- whose is a process ---- */

/* The control groups of a sandbox have its name, in every hierarchy. */
static bool is_in(const char *groups, const char *sandbox)
{
	size_t len = strlen(sandbox);

	for (const char *at = groups; len > 0 && (at = strstr(at, sandbox)); at += len)
		if (at > groups && at[-1] == '/' && (at[len] == '\n' || at[len] == '/' || !at[len]))
			return true;
	return false;
}

enum owner { OWNER_GONE, OWNER_FOREIGN, OWNER_REPLICA };

static enum owner owner_of(struct agent *a, int32_t pid, struct replica **ret)
{
	struct replica *r, *next;
	char path[48], groups[4096];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	if (gt_os_read_at(AT_FDCWD, path, groups, sizeof(groups), NULL) < 0)
		return OWNER_GONE;
	HASH_ITER (hh, a->replicas, r, next) {
		if (r->n_gpus == 0 || !r->container || !is_in(groups, r->where.sandbox))
			continue;
		*ret = r;
		return OWNER_REPLICA;
	}
	return gt_os_pid_ending(pid) ? OWNER_GONE : OWNER_FOREIGN; /* that gives back what it has */
}

static int grant_of(const struct replica *r, const char *uuid)
{
	for (size_t i = 0; i < r->n_gpus; i++)
		if (strcmp(r->gpus[i].uuid, uuid) == 0)
			return (int)i;
	return -1;
}

/* ---- telling ---- */

static void tell(struct agent *a, const char *type, const struct replica *r, const char *cause,
		 const char *text)
{
	struct gt_told_event e = { 0 };

	gt_strcopy(e.type, sizeof(e.type), type);
	gt_strcopy(e.cause, sizeof(e.cause), cause);
	gt_strcopy(e.text, sizeof(e.text), text);
	if (r) {
		gt_strcopy(e.function, sizeof(e.function), r->function);
		gt_strcopy(e.replica, sizeof(e.replica), r->id);
	}
	gt_report_event(a, &e);
}

/* In the function's own log, where its owner looks first. */
static void say(struct replica *r, const char *level, const char *uuid, const char *text)
{
	char line[512];

	snprintf(line, sizeof(line), "[gpu-health] [%s] %s: %s", level, uuid, text);
	gt_log_say(&r->log, line);
}

/* ---- errors ---- */

static void meet(struct replica *r, const struct gt_gpu_trouble *t, bool kill_it)
{
	char text[320];

	if (t->health == GT_GPU_LOST)
		return; /* its change of health was met already */
	if (t->tell)
		say(r,
		    t->health != GT_GPU_WELL ? "CRITICAL"
		    : kill_it                ? "ERROR"
					     : "WARN",
		    t->uuid, t->text);
	if (!kill_it)
		return;
	snprintf(text, sizeof(text), "GPU %s: %s", t->uuid, t->text);
	gt_replica_kill(r, "gpu_error", text);
}

/* A program's error hits the program that the kernel names, which may be nobody's here; where it
 * names none, or one that is gone, all that are on the GPU. What is on a GPU that is lost is lost
 * with it. What only has to move is control's to move. */
static void on_trouble(const struct gt_gpu_trouble *t, void *arg)
{
	struct agent *a = arg;
	struct replica *r, *next, *guilty = NULL;
	enum owner owner = t->pid > 0 ? owner_of(a, t->pid, &guilty) : OWNER_GONE;
	char text[400];
	bool counted = false;

	if (t->tell) {
		snprintf(text, sizeof(text), "GPU %s: %s", t->uuid, t->text);
		gt_warn("%s", text);
		tell(a, "gpu.xid", NULL, t->health == GT_GPU_LOST ? "gpu_lost" : "", text);
	}
	HASH_ITER (hh, a->replicas, r, next) {
		bool kill_it = t->restart && (owner == OWNER_GONE || guilty == r);

		if (grant_of(r, t->uuid) < 0 || gt_replica_state_ended(r->state))
			continue;
		if (kill_it && !counted)
			gt_gpus_failed(a->gpus, t->uuid, r->function);
		counted |= kill_it;
		meet(r, t, kill_it);
	}
}

/* A GPU that is not there, or is lost, has no replicas. */
static void end_lost(struct agent *a)
{
	struct replica *r, *next;

	HASH_ITER (hh, a->replicas, r, next) {
		for (size_t i = 0; i < r->n_gpus; i++) {
			const struct gt_gpu *gpu = gt_gpus_find(a->gpus, r->gpus[i].uuid);
			char text[320];

			if (gpu && gpu->health != GT_GPU_LOST)
				continue;
			snprintf(text, sizeof(text), "GPU %s: %s", r->gpus[i].uuid,
				 gpu ? gpu->reason : "it is not there any more");
			if (!gt_replica_state_ended(r->state) && !r->killed)
				say(r, "CRITICAL", r->gpus[i].uuid,
				    gpu ? gpu->reason : "it is not there any more");
			gt_replica_kill(r, "gpu_lost", text);
			break;
		}
	}
}

static void on_change(void *arg)
{
	struct agent *a = arg;
	struct replica *r, *next;

	gt_park_choose_again(a);
	gt_report_full(a);
	if (a->gpus && gt_gpus_known(a->gpus)) {
		end_lost(a);
		HASH_ITER (hh, a->replicas, r, next)
			gt_park_pursue(r); /* what was ordered before */
	}
	gt_gpu_reset_look(a);
}

/* ---- looks ---- */

static void overuse(struct replica *r, size_t i)
{
	const struct gt_gpu_grant *grant = &r->gpus[i];
	struct gpu_use *use = &r->gpu_use[i];
	bool kill_it = r->spec && r->spec->resources.gpu.overuse == GT_GPU_OVERUSE_KILL;
	char text[320];

	if (use->bytes <= grant->memory_bytes + grant->memory_bytes / OVERUSE_PART) {
		use->over = 0;
		use->told = false;
		return;
	}
	if (++use->over < OVERUSE_LOOKS || use->told)
		return;
	use->told = true;
	snprintf(text, sizeof(text), "it has %llu MiB of GPU %s and was given %llu MiB",
		 (unsigned long long)(use->bytes / GT_MIB), grant->uuid,
		 (unsigned long long)(grant->memory_bytes / GT_MIB));
	say(r, kill_it ? "ERROR" : "WARN", grant->uuid, text);
	tell(r->agent, "gpu.overuse", r, "gpu_overuse", text);
	if (kill_it)
		gt_replica_kill(r, "gpu_overuse", text);
}

static bool follows_its_memory(const struct gt_spec *spec)
{
	for (size_t i = 0; i < spec->n_command; i++)
		if (strstr(spec->command[i], GT_GPU_FRACTION))
			return true;
	return false;
}

/* The next estimate of its model shall not be short of what it has now. What stays within the
 * memory that was estimated teaches nothing: engines fill what they are given. And one that is told
 * how much that is teaches once: it would have a bit more than that of every next one as well. */
static void learn(struct replica *r, size_t i)
{
	const struct gt_gpu *gpu = gt_gpus_find(r->agent->gpus, r->gpus[i].uuid);
	uint64_t bytes = r->gpu_use[i].bytes;
	gt_auto(spec) struct gt_spec *spec = NULL; /* r->spec has what its image said, too */
	const struct gt_gpu_terms *terms;
	char key[GT_SHA256_HEX_SIZE];

	if (bytes <= r->gpu_peak_bytes)
		return;
	r->gpu_peak_bytes = bytes;
	if (bytes <= r->gpus[i].memory_bytes || !gpu ||
	    gt_spec_read(r->spec_json, strlen(r->spec_json), &spec, NULL) < 0)
		return;
	terms = &spec->resources.gpu.estimate.terms;
	if (terms->weights == 0 || (terms->measured && follows_its_memory(spec)))
		return;
	gt_peaks_key(spec, terms->weights, key);
	gt_peaks_learn(r->agent->peaks, key, bytes, gpu->memory_bytes);
}

/* Adds each process's to its replica, or to nobody's. */
static uint64_t share_out(struct agent *a, const struct gt_gpu_sample *sample)
{
	uint64_t foreign = 0;

	for (uint32_t i = 0; i < sample->n_processes; i++) {
		const struct gt_gpu_process *p = &sample->processes[i];
		struct replica *r = NULL;
		enum owner owner = owner_of(a, p->pid, &r);
		int at = owner == OWNER_REPLICA ? grant_of(r, sample->uuid) : -1;

		if (p->bytes == NO_BYTES || owner == OWNER_GONE)
			continue;
		if (at >= 0)
			r->gpu_use[at].bytes += p->bytes;
		else if (owner == OWNER_FOREIGN)
			foreign += p->bytes;
	}
	return foreign;
}

/* What it has there decides whether it can be parked, and for that nobody waits for a round. */
static void first_seen(struct replica *r)
{
	if (r->state != GT_REPLICA_READY || r->usage.has & GT_USAGE_GPU_MEMORY ||
	    !gt_usage_look(r) || !(r->usage.has & GT_USAGE_GPU_MEMORY))
		return;
	r->dirty = true;
	gt_report_soon(r->agent);
}

static void on_sample(const struct gt_gpu_sample *sample, void *arg)
{
	struct agent *a = arg;
	struct replica *r, *next;
	uint64_t foreign;
	int at;

	HASH_ITER (hh, a->replicas, r, next) {
		at = grant_of(r, sample->uuid);
		if (at >= 0) {
			r->gpu_use[at].bytes = 0;
			r->gpu_use[at].known = true;
		}
	}
	foreign = share_out(a, sample);
	gt_gpus_foreign(a->gpus, sample->uuid, foreign);
	HASH_ITER (hh, a->replicas, r, next) {
		at = grant_of(r, sample->uuid);
		if (at < 0 || !r->container)
			continue;
		learn(r, (size_t)at);
		overuse(r, (size_t)at);
		first_seen(r);
	}
}

void gt_agent_gpus_usage(const struct replica *r, struct gt_usage *u)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < r->n_gpus; i++) {
		if (!r->gpu_use[i].known)
			return;
		sum += r->gpu_use[i].bytes;
	}
	if (r->n_gpus == 0)
		return;
	u->has |= GT_USAGE_GPU_MEMORY;
	u->gpu_memory_bytes = sum;
	u->gpu_memory_peak_bytes = GT_MAX(sum, r->usage.gpu_memory_peak_bytes);
}

/* ---- what they measure ---- */

size_t gt_agent_gpus_stats(struct agent *a, const struct gt_gpu_told **ret)
{
	const struct gt_gpu *gpus;
	size_t n = gt_gpus_list(a->gpus, &gpus), told = 0;

	for (size_t i = 0; i < n; i++) {
		const struct gt_gpu_stats *stats = gt_gpus_stats(a->gpus, gpus[i].uuid);

		if (!stats)
			continue;
		gt_strcopy(a->gpu_told[told].uuid, sizeof(a->gpu_told->uuid), gpus[i].uuid);
		a->gpu_told[told++].stats = *stats;
	}
	a->n_gpu_told = told;
	*ret = a->gpu_told;
	return told;
}

static bool stats_moved(struct agent *a)
{
	const struct gt_gpu *gpus;
	size_t n = gt_gpus_list(a->gpus, &gpus), seen = 0;

	for (size_t i = 0; i < n; i++) {
		const struct gt_gpu_stats *stats = gt_gpus_stats(a->gpus, gpus[i].uuid);

		if (!stats)
			continue;
		if (seen == a->n_gpu_told ||
		    memcmp(&a->gpu_told[seen].stats, stats, sizeof(*stats)) != 0)
			return true;
		seen++;
	}
	return seen != a->n_gpu_told;
}

static void on_stats(void *arg)
{
	struct agent *a = arg;

	gt_timer_set(a->loop, &a->gpu_round, STATS_MS, on_stats, a);
	if (!stats_moved(a))
		return;
	a->report.stats = true;
	gt_report_soon(a);
}

/* ---- an operator's word ---- */

void gt_agent_gpus_clear(struct gt_request *req, void *app)
{
	struct agent *a = app;
	const char *uuid = gt_request_param(req, "gpu");
	gt_auto(buf) struct gt_buf body = { 0 };
	const struct gt_gpu *gpu;
	struct gt_err err = { 0 };
	struct gt_json j;

	if (gt_gpus_clear(a->gpus, uuid, &err) < 0) {
		gt_agent_refuse(req, &err, a);
		return;
	}
	gt_info("gpus: an operator cleared %s", uuid);
	gpu = gt_gpus_find(a->gpus, uuid);
	gt_json_begin(&j, &body);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "uuid", uuid);
	gt_json_str(&j, "health", gt_gpu_health_name(gpu->health));
	if (gpu->reason[0])
		gt_json_str(&j, "reason", gpu->reason);
	gt_json_close(&j, '}');
	gt_request_reply(req, 200, "application/json", &body);
}

/* ---- opening ---- */

int gt_agent_gpus_open(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	const struct gt_gpus_config gc = {
		.gpus = config->gpus,
		.node = a->node,
		.helper = config->gpu_helper,
		.driver_root = config->gpu_driver_root,
		.kmsg = config->gpu_kmsg,
		.await_ms = AWAIT_MS,
		.events = { on_change, on_trouble, on_sample, a },
	};
	int r = gt_gpus_open(a->loop, &gc, &a->gpus, err);

	if (r == 0 && gt_gpus_helper(a->gpus))
		gt_timer_set(a->loop, &a->gpu_round, STATS_MS, on_stats, a);
	if (r == 0)
		gt_gpu_reset_open(a, config->gpu_reset);
	return r;
}

void gt_agent_gpus_close(struct agent *a)
{
	if (a->loop)
		gt_timer_clear(a->loop, &a->gpu_round);
	gt_gpu_reset_close(a);
	gt_gpus_close(a->gpus);
}

void gt_agent_gpus_started(struct replica *r)
{
	for (size_t i = 0; i < r->n_gpus; i++)
		gt_gpu_helper_claim(gt_gpus_helper(r->agent->gpus), r->where.pid, r->gpus[i].uuid,
				    r->gpus[i].memory_bytes);
}

void gt_agent_gpus_ended(struct replica *r)
{
	if (r->where.pid > 0)
		gt_gpu_helper_unclaim(gt_gpus_helper(r->agent->gpus), r->where.pid);
}
