/* again.c - replicas that crash while control is away are started again in place: under the same
 * id, so that gateways, which know nothing new either, find them. Control decides when it is there:
 * whoever crashes waits until it is known to be away. */
#include <string.h>

#include <gantry/base/log.h>

#include "agent_impl.h"

#define AWAY_NS    (3 * GT_NS_PER_S) /* without an acknowledged report: there is one each second */
#define PAUSE_MS   1000              /* before the second time; then doubled */
#define PAUSES_MAX 6
#define WELL_NS    (60 * GT_NS_PER_S) /* ran for so long: its crash is a first one */

bool gt_again_may(const struct replica *r)
{
	return (r->was_ready || r->again.n > 0) && !r->stop_ordered && !r->forgotten &&
	       !r->killed && r->gang.size == 0 && !r->agent->stopping && r->spec &&
	       (r->state == GT_REPLICA_READY || r->state == GT_REPLICA_STARTING);
}

/* Control knows of the crash, and decides. Where nothing may run twice, it is enough that it may
 * know. */
static bool is_told(const struct replica *r)
{
	const struct agent *a = r->agent;

	if (a->lease.heard_ns >= r->again.ended_ns)
		return true;
	return r->spec->disconnect.stop_after_ms && a->report.sent_ns >= r->again.ended_ns;
}

static void start(struct replica *old)
{
	struct agent *a = old->agent;
	gt_auto(free) char *spec = gt_strdup(old->spec_json);
	gt_auto(free) struct gt_gpu_grant *gpus = gt_steal(&old->gpus);
	struct replica was = *old, *r;

	gt_warn("replica %s of %s crashed while control is away, and is started again in place: "
		"%.200s",
		old->id, old->function, old->end.text);
	gt_record_remove(old);
	gt_replica_free(old); /* its id is the next one's now */
	r = gt_replica_new(a, was.id, was.function, was.revision, spec);
	r->created_ms = was.created_ms;
	r->again.n = was.again.n + 1;
	gt_replica_gpus_set(r, gpus, was.n_gpus);
	gt_replica_start(r);
}

static void on_time(void *arg)
{
	struct replica *r = arg;
	struct agent *a = r->agent;
	uint64_t away_ns = a->lease.heard_ns + AWAY_NS;

	if (is_told(r) || a->stopping)
		return;
	if (gt_loop_clock_ns(a->loop) < away_ns)
		gt_timer_set_at(a->loop, &r->again.timer, away_ns, on_time, r);
	else
		start(r);
}

void gt_again_wait(struct replica *r)
{
	uint64_t now = gt_loop_clock_ns(r->agent->loop), pause_ns = 0;

	if (r->exec_ns && now - r->exec_ns >= WELL_NS)
		r->again.n = 0;
	if (r->again.n > 0)
		pause_ns = (PAUSE_MS << GT_MIN(r->again.n - 1, PAUSES_MAX)) * GT_NS_PER_MS;
	r->again.ended_ns = now;
	gt_timer_set_at(r->agent->loop, &r->again.timer,
			GT_MAX(now + pause_ns, r->agent->lease.heard_ns + AWAY_NS), on_time, r);
}
