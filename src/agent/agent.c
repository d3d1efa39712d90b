/* agent.c - the role: puts the node in order, then serves until a signal. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <gantry/base/log.h>
#include <gantry/os/os.h>

#include "agent_impl.h"
#include "images.h"
#include "peaks.h"

#define STOP_GRACE_MAX_MS 10000 /* when all of the node is stopped */
#define USAGE_EVERY_MS    5000

/* ---- signals ---- */

void gt_agent_replica_gone(struct agent *a)
{
	struct replica *r, *next;

	if (!a->stopping)
		return;
	HASH_ITER (hh, a->replicas, r, next) {
		if (!gt_replica_state_ended(r->state))
			return;
	}
	gt_loop_stop(a->loop);
}

static void stop_all(struct agent *a)
{
	bool again = a->stopping;
	struct replica *r, *next;

	a->stopping = true;
	HASH_ITER (hh, a->replicas, r, next) {
		if (!gt_replica_state_ended(r->state))
			gt_replica_stop(r, again || !r->spec ? 0
							     : GT_MIN(r->spec->limits.drain_ms,
								      (uint64_t)STOP_GRACE_MAX_MS));
	}
	gt_agent_replica_gone(a);
}

static void on_signal(int signo, void *arg)
{
	struct agent *a = arg;

	if (signo == GT_AGENT_DRAIN) {
		gt_images_drain(a->images);
		gt_estimates_drain(a);
	} else if (signo == SIGINT) {
		stop_all(a);
	} else {
		gt_loop_stop(a->loop);
	}
}

/* ---- setting up ---- */

/* The source of what leaves by the default route; asking for it sends nothing. */
static void own_address(const char *configured, char out[GT_ADDRESS_MAX + 1])
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) }, from;
	gt_auto(fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(from);

	out[0] = '\0';
	if (configured && *configured) {
		gt_strcopy(out, GT_ADDRESS_MAX + 1, configured);
		return;
	}
	inet_pton(AF_INET, "192.0.2.1", &to.sin_addr); /* documentation's: on no network */
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&from, &size) == 0)
		inet_ntop(AF_INET, &from.sin_addr, out, GT_ADDRESS_MAX + 1);
}

static void measure(struct agent *a)
{
	struct sysinfo info;
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		a->cpu_milli = (uint64_t)CPU_COUNT(&cpus) * 1000;
	if (sysinfo(&info) == 0)
		a->memory_bytes = (uint64_t)info.totalram * info.mem_unit;
}

/* Each replica takes some descriptors of this process. */
static void raise_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int open_state(struct agent *a, const char *state_dir, struct gt_err *err)
{
	gt_auto(free) char *dir = gt_asprintf("%s/agent", state_dir);
	gt_auto(free) char *replicas = gt_asprintf("%s/agent/replicas", state_dir);
	gt_auto(free) char *logs = gt_asprintf("%s/agent/logs", state_dir);
	int r = gt_os_mkdir_at(AT_FDCWD, dir, 0700, err);

	if (r == 0)
		r = gt_os_mkdir_at(AT_FDCWD, replicas, 0700, err);
	if (r == 0)
		r = gt_os_open_dir(AT_FDCWD, replicas, &a->replicas_fd, err);
	if (r == 0)
		r = gt_logs_new(a->loop, logs, &a->logs, err);
	if (r == 0)
		r = gt_lease_open(a, dir, err);
	if (r == 0)
		a->peaks = gt_peaks_open(dir);
	return r;
}

static int open_runtime(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	gt_auto(free) char *dir = gt_asprintf("%s/agent", config->state_dir);
	struct gt_runtime_config rc = {
		.dir = dir,
		.id_base = config->subid_base,
		.pool = config->pool,
		.pool_max = config->pool_max,
		.prepared_max = config->prepared,
		.allow_host_image = config->allow_host_image,
		.allow_host_paths = config->allow_host_paths,
		.allow_host_network = config->allow_host_network,
		.egress = &config->egress,
	};
	const struct images_config ic = {
		.uid = config->image_uid,
		.gid = config->image_gid,
		.registry_config = config->registry_config,
		.registry_ca = config->registry_ca,
		.registry_insecure = config->registry_insecure,
		.keep_ms = config->image_keep_ms,
		.extract = config->image_extract,
		.disk_percent = config->image_disk_percent,
	};
	int r = gt_runtime_new(a->loop, &rc, &a->rt, err);

	if (r == 0)
		r = gt_images_new(a, &ic, config->state_dir, &a->images, err);
	if (r == 0)
		r = gt_weights_new(a, config, err);
	if (r < 0)
		return r;
	/* Whom the last agent left running; what nobody knows goes. */
	r = gt_records_load(a, err);
	if (r < 0)
		return r;
	gt_runtime_sweep(a->rt);
	gt_lease_watch(a);
	return 0;
}

static int open_doors(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	struct gt_http_config http = {
		.listen_fd = config->agent_fd,
		.routes = gt_agent_routes,
		.n_routes = gt_agent_routes_n,
		.hooks = { .refuse = gt_agent_refuse },
		.app = a,
	};
	int r = 0;

	if (config->agent_fd >= 0)
		r = gt_http_server_new(a->loop, &http, &a->server, err);
	if (r == 0 && config->dial_fd >= 0)
		r = gt_dial_new(a, config->dial_fd, &a->dial, err);
	if (r == 0)
		r = gt_desired_start(a, err);
	return r;
}

static int set_up(struct agent *a, const struct gt_agent_config *config, struct gt_err *err)
{
	sigset_t mask;
	int r;

	/* The environment of functions is in this memory: no dump of it on a disk. */
	prctl(PR_SET_DUMPABLE, 0);
	gt_strcopy(a->node, sizeof(a->node), config->node);
	measure(a);
	a->parking_bytes = config->parking_bytes == UINT64_MAX ? a->memory_bytes / 4
							       : config->parking_bytes;
	own_address(config->address, a->address);
	a->ledger = gt_gpu_ledger_new();
	a->reader_uid = config->image_uid;
	a->reader_gid = config->image_gid;
	a->driver = (struct gt_driver_roots){ config->gpu_driver_root, config->gpu_proc,
					      config->gpu_sys };
	a->cdi_dirs = config->cdi_dirs ? config->cdi_dirs : "";
	a->cdi_devices = config->cdi_devices;
	a->nccl = config->gpu_nccl;
	r = gt_labels_parse(config->labels, &a->labels, &a->n_labels, err);
	if (r < 0)
		return r;
	a->usage.every_ms = config->usage_ms ? config->usage_ms : USAGE_EVERY_MS;
	raise_files();
	a->link_path = config->link_path ? gt_strdup(config->link_path)
					 : gt_asprintf("%s/run/link.sock", config->state_dir);
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, GT_AGENT_DRAIN);
	/* What this process mounts, and what is mounted outside later, stays apart. */
	r = gt_os_mounts_private(err);
	if (r == 0)
		r = gt_loop_new(&a->loop, err);
	if (r == 0)
		r = gt_loop_signals(a->loop, &mask, on_signal, a, err);
	if (r == 0)
		r = gt_agent_gpus_open(a, config, err);
	if (r == 0)
		r = open_state(a, config->state_dir, err);
	if (r == 0)
		r = open_runtime(a, config, err);
	if (r == 0)
		r = open_doors(a, config, err);
	return r;
}

static void tear_down(struct agent *a)
{
	struct replica *r, *next;

	gt_desired_stop(a);
	gt_usage_rounds_stop(a);
	gt_dial_free(a->dial);
	gt_estimates_drain(a);
	gt_preflights_drain(a);
	gt_http_server_free(a->server);
	HASH_ITER (hh, a->replicas, r, next) {
		if (gt_replica_state_ended(r->state))
			gt_replica_forget(r);
		else
			gt_replica_leave(r);
	}
	gt_images_free(a->images);
	gt_weights_free(a->weights);
	if (a->stopping)
		gt_runtime_retire(a->rt);
	gt_runtime_free(a->rt);
	gt_logs_free(a->logs);
	gt_peaks_free(a->peaks);
	gt_close(a->replicas_fd);
	if (a->loop)
		gt_lease_close(a);
	gt_agent_gpus_close(a);
	gt_loop_free(a->loop);
	gt_gpu_ledger_free(a->ledger);
	free(a->labels);
	free(a->link_path);
}

int gt_agent_run(const struct gt_agent_config *config, struct gt_err *err)
{
	struct agent a = { .replicas_fd = -EBADF, .lease.fd = -EBADF };
	int r = set_up(&a, config, err);

	if (r == 0 && config->ready_fd >= 0 && write(config->ready_fd, "READY\n", 6) != 6)
		r = gt_err_errno(err, errno, "tell the supervisor");
	if (r == 0)
		r = gt_loop_run(a.loop, err);
	tear_down(&a);
	return r;
}
