/* preflight.c - before members of a gang are let go, their GPUs on this node have to add up:
 * gantry-preflight says whether they do. What has passed is known for a while; what has failed is
 * tried anew, for it may have been mended. Where nothing could be checked, for want of NCCL, that
 * is said and the gang goes on. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utlist.h>

#include <gantry/gpu/preflight.h>
#include <gantry/os/os.h>
#include <gantry/wire/value.h>

#include "agent_impl.h"

#define KEEP_MS   (10 * 60 * 1000)
#define SAID_MAX  4096
#define EVENT     "gpu.preflight"
#define UNCHECKED "preflight_unchecked"

struct preflight {
	struct agent *agent;
	struct preflight *prev, *next;
	struct gt_gang_member gang;
	char replica[GT_REPLICA_ID_SIZE]; /* who came last; with network host the only one */
	char *uuids;                      /* sorted, ','-separated: the name of the set */
	struct gt_watch *watch;
	struct gt_timer deadline;
	int pidfd, output;
	unsigned ranks;
	size_t len;
	char said[SAID_MAX];
};

/* A set that has passed, or could not be checked. One GPU may be in several. */
struct preflight_known {
	struct preflight_known *prev, *next;
	char *uuids;
	uint64_t began_ns;
};

/* ---- of which GPUs ---- */

/* Whole ones, of NVIDIA or its test double: one that others use is busy, and NCCL takes no part
 * of one. */
static bool is_checked(struct agent *a, const struct gt_gpu_grant *grant)
{
	const struct gt_gpu *gpu = gt_gpus_find(a->gpus, grant->uuid);

	return gpu && gpu->backend != GT_GPU_SIM && gpu->gi < 0 && grant->milli == GT_GPU_WHOLE;
}

bool gt_preflight_wanted(const struct replica *r)
{
	if (r->gang.size == 0 || !r->spec->gang.preflight || r->n_gpus == 0)
		return false;
	for (size_t i = 0; i < r->n_gpus; i++)
		if (!is_checked(r->agent, &r->gpus[i]))
			return false;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char *uuids_of(struct replica *const *members, uint32_t n, unsigned *ret_n)
{
	const char *names[GT_NODE_GPUS_MAX];
	gt_auto(buf) struct gt_buf out = { 0 };
	unsigned total = 0;

	for (uint32_t i = 0; i < n; i++)
		for (size_t k = 0; k < members[i]->n_gpus && total < GT_LEN(names); k++)
			names[total++] = members[i]->gpus[k].uuid;
	qsort(names, total, sizeof(names[0]), by_name);
	gt_buf_init(&out, 0);
	for (unsigned i = 0; i < total; i++)
		gt_buf_addf(&out, "%s%s", i ? "," : "", names[i]);
	*ret_n = total;
	return gt_buf_steal(&out);
}

/* ---- what is known ---- */

static void forget(struct agent *a, struct preflight_known *k)
{
	DL_DELETE(a->preflights_known, k);
	free(k->uuids);
	free(k);
}

static bool is_known(struct agent *a, const char *uuids)
{
	uint64_t now = gt_loop_clock_ns(a->loop);
	struct preflight_known *k, *next;
	bool found = false;

	DL_FOREACH_SAFE (a->preflights_known, k, next) {
		if (now - k->began_ns >= KEEP_MS * GT_NS_PER_MS)
			forget(a, k);
		else
			found |= strcmp(k->uuids, uuids) == 0;
	}
	return found;
}

static void know(struct agent *a, const char *uuids)
{
	struct preflight_known *k = gt_alloc(sizeof(*k));

	k->uuids = gt_strdup(uuids);
	k->began_ns = gt_loop_clock_ns(a->loop);
	DL_APPEND(a->preflights_known, k);
}

/* ---- telling ---- */

/* In the function's log, and as an event. */
static void tell(struct replica *r, const char *cause, const char *text)
{
	struct gt_told_event e = { .type = EVENT };
	char line[512];

	snprintf(line, sizeof(line), "[preflight] %s", text);
	gt_log_say(&r->log, line);
	gt_strcopy(e.function, sizeof(e.function), r->function);
	gt_strcopy(e.replica, sizeof(e.replica), r->id);
	gt_strcopy(e.cause, sizeof(e.cause), cause);
	gt_strcopy(e.text, sizeof(e.text), text);
	gt_report_event(r->agent, &e);
}

static void tell_unchecked(struct replica *r, const char *why)
{
	char text[300];

	snprintf(text, sizeof(text),
		 "the gang's GPUs were not checked, and it starts: %.180s; set [agent] gpu_nccl",
		 why);
	tell(r, UNCHECKED, text);
}

/* ---- the verdict ---- */

static void preflight_free(struct preflight *p)
{
	gt_timer_clear(p->agent->loop, &p->deadline);
	gt_watch_close(p->watch);
	gt_close(p->output);
	if (p->pidfd >= 0) {
		gt_os_pidfd_signal(p->pidfd, SIGKILL, NULL);
		waitid(P_PIDFD, (id_t)p->pidfd, &(siginfo_t){ 0 }, WEXITED);
		gt_close(p->pidfd);
	}
	DL_DELETE(p->agent->preflights, p);
	free(p->uuids);
	free(p);
}

/* The members go on, or end for what `text` says, if any. */
static void finish(struct preflight *p, const char *text)
{
	const struct gt_gang_member gang = p->gang;
	struct agent *a = p->agent;
	char replica[GT_REPLICA_ID_SIZE];

	gt_strcopy(replica, sizeof(replica), p->replica);
	preflight_free(p);
	gt_replica_gang_checked(a, &gang, replica, text);
}

static void fail(struct preflight *p, const char *cause, const char *detail)
{
	struct replica *r = gt_replica_find(p->agent, p->replica);
	char text[320];

	snprintf(text, sizeof(text), "%.20s: %.180s; ranks are GPUs %s", cause, detail, p->uuids);
	if (r)
		tell(r, "preflight_failed", text);
	finish(p, text);
}

static void pass(struct preflight *p, const struct gt_value *v)
{
	struct replica *r = gt_replica_find(p->agent, p->replica);
	char text[128];

	snprintf(text, sizeof(text), "the gang's %llu GPUs here add up, within %llu ms",
		 (unsigned long long)gt_value_u64(v, "ranks", 0),
		 (unsigned long long)gt_value_u64(v, "elapsed_ms", 0));
	know(p->agent, p->uuids);
	if (r)
		tell(r, "", text);
	finish(p, NULL);
}

static void judge(struct preflight *p)
{
	gt_auto(value) struct gt_value *v = NULL;
	struct replica *r = gt_replica_find(p->agent, p->replica);
	const char *verdict, *cause;

	if (gt_value_parse(p->said, p->len, &v, NULL) < 0) {
		fail(p, "failed", "gantry-preflight ended without a verdict");
		return;
	}
	verdict = gt_value_str(v, "verdict", "");
	cause = gt_value_str(v, "cause", "failed");
	if (strcmp(verdict, "pass") == 0) {
		pass(p, v);
	} else if (strcmp(cause, "no_library") == 0) {
		know(p->agent, p->uuids);
		if (r)
			tell_unchecked(r, gt_value_str(v, "detail", ""));
		finish(p, NULL);
	} else {
		fail(p, cause, gt_value_str(v, "detail", ""));
	}
}

static void on_output(struct gt_watch *w, unsigned events, void *arg)
{
	struct preflight *p = arg;
	ssize_t n = read(p->output, p->said + p->len, sizeof(p->said) - p->len);

	(void)w;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		p->len += (size_t)n;
	if (n <= 0 || p->len == sizeof(p->said))
		judge(p);
}

static void on_late(void *arg)
{
	struct preflight *p = arg;
	char text[80];

	snprintf(text, sizeof(text), "gantry-preflight gave no verdict within %llu s",
		 (unsigned long long)gt_preflight_ms(p->ranks) / 1000);
	fail(p, "hung", text);
}

/* ---- the start ---- */

static int start(struct preflight *p, bool fake, struct gt_err *err)
{
	struct agent *a = p->agent;
	const struct gt_preflight_order order = {
		.nccl = a->nccl,
		.driver_root = a->driver.driver,
		.fake = fake,
		.uuids = p->uuids,
		.ranks = p->ranks,
	};
	int r = gt_preflight_start(&order, &p->pidfd, &p->output, err);

	if (r == 0)
		r = gt_loop_watch(a->loop, p->output, GT_EV_READ, on_output, p, &p->watch, err);
	if (r == 0)
		gt_timer_set(a->loop, &p->deadline, gt_preflight_ms(p->ranks), on_late, p);
	return r;
}

bool gt_preflight_begin(struct replica *last, struct replica *const *members, uint32_t n)
{
	struct agent *a = last->agent;
	struct preflight *p = gt_alloc(sizeof(*p));
	struct gt_err err = { 0 };

	*p = (struct preflight){
		.agent = a, .gang = last->gang, .pidfd = -EBADF, .output = -EBADF
	};
	gt_strcopy(p->replica, sizeof(p->replica), last->id);
	p->uuids = uuids_of(members, n, &p->ranks);
	DL_APPEND(a->preflights, p);
	if (is_known(a, p->uuids)) {
		preflight_free(p);
		gt_log_say(&last->log,
			   "[preflight] the gang's GPUs here were checked within 10 minutes");
		return false;
	}
	if (start(p, gt_gpus_find(a->gpus, last->gpus[0].uuid)->backend == GT_GPU_FAKE, &err) < 0) {
		preflight_free(p);
		tell_unchecked(last, err.text);
		return false;
	}
	return true;
}

void gt_preflights_drain(struct agent *a)
{
	struct preflight *p, *next;
	struct preflight_known *k, *after;

	DL_FOREACH_SAFE (a->preflights, p, next)
		preflight_free(p);
	DL_FOREACH_SAFE (a->preflights_known, k, after)
		forget(a, k);
}
