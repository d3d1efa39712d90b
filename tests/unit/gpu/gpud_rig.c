#include "gpud_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

static void on_driver(const struct gt_gpu_driver *driver, void *arg)
{
	struct rig *r = arg;

	r->driver = *driver;
	r->n_drivers++;
}

static void on_gpus(const struct gt_gpu *gpus, size_t n, void *arg)
{
	struct rig *r = arg;

	memcpy(r->gpus, gpus, n * sizeof(*gpus));
	r->n_gpus = n;
}

static void on_sample(const struct gt_gpu_sample *sample, void *arg)
{
	struct rig *r = arg;

	r->n_samples++;
	for (size_t i = 0; i < r->n_gpus; i++)
		if (strcmp(r->gpus[i].uuid, sample->uuid) == 0)
			r->samples[i] = *sample;
}

static void on_incident(const struct gt_gpu_incident *incident, void *arg)
{
	struct rig *r = arg;

	r->incident = *incident;
	r->n_incidents++;
}

struct rig *rig_new(const char *gpus, const struct gt_gpu_helper_config *more)
{
	struct gt_gpu_helper_config config = { .sample_ms = 20 };
	struct rig *r = gt_alloc(sizeof(*r));
	struct gt_err err = { 0 };

	if (more)
		config = *more;
	config.program = "/proc/self/exe";
	config.gpus = gpus;
	config.node = "n1";
	config.events = (struct gt_gpu_helper_events){ on_driver, on_gpus, on_sample, on_incident,
						       r };
	assert_int_equal(gt_loop_new(&r->loop, &err), 0);
	if (gt_gpu_helper_new(r->loop, &config, &r->h, &err) < 0)
		fail_msg("%s", err.text);
	return r;
}

void rig_free(struct rig *r)
{
	gt_gpu_helper_free(r->h);
	gt_loop_free(r->loop);
	free(r);
}

void rig_step(struct rig *r)
{
	assert_int_equal(gt_loop_step(r->loop, -1, NULL), 0);
}

static void on_reply(const struct gt_gpu_reply *reply, const struct gt_err *err, void *arg)
{
	struct rig *r = arg;

	assert_false(r->answered);
	r->answered = true;
	r->reply = *reply;
	r->err = err ? *err : (struct gt_err){ 0 };
	assert_true(!err || (err->slug[0] && err->text[0]));
}

int rig_ask(struct rig *r, const struct gt_gpu_request *rq)
{
	struct gt_err err = { 0 };
	int res;

	r->answered = false;
	res = gt_gpu_helper_ask(r->h, rq, on_reply, r, NULL, &err);
	if (res < 0)
		return res;
	rig_until(r, r->answered);
	return -r->err.code;
}

int rig_of(struct rig *r, enum gt_gpu_op_kind kind, pid_t pid)
{
	return rig_ask(r, &(struct gt_gpu_request){ .kind = kind, .pid = pid, .lock_ms = 10 });
}

void rig_main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], GT_GPU_HELPER_ARG) == 0)
		gt_gpud_main();
}
