/* model/spec.h - what a user declares of a function. Immutable after gt_spec_check. */
#ifndef GANTRY_MODEL_SPEC_H
#define GANTRY_MODEL_SPEC_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>
#include <gantry/model/gang.h>
#include <gantry/model/gpu.h>
#include <gantry/model/label.h>
#include <gantry/model/limits.h>
#include <gantry/model/replica.h>

enum gt_image_kind {
	GT_IMAGE_DIR,  /* "dir:/abs/path": a root file system on the node, writes go to a private
			  layer */
	GT_IMAGE_HOST, /* "host:": the host's own root, read-only under a private layer */
	GT_IMAGE_REGISTRY, /* "registry.example/app:1@sha256:...": layers from a registry */
	GT_IMAGE_BUNDLE, /* "bundle:sha256:...": an uploaded archive, over `base` if there is one */
	GT_IMAGE_N
};

enum gt_pull {                  /* when the registry is asked for an image at a start */
	       GT_PULL_MISSING, /* when the node does not have it */
	       GT_PULL_ALWAYS,  /* each time: it must still be there, and we still be let in */
	       GT_PULL_NEVER,
	       GT_PULL_N
};

enum gt_access { GT_ACCESS_TOKEN, GT_ACCESS_PUBLIC, GT_ACCESS_N };
enum gt_network {
	GT_NETWORK_NONE,   /* loopback only */
	GT_NETWORK_EGRESS, /* and a way out, through NAT */
	GT_NETWORK_HOST,   /* the node's own network */
	GT_NETWORK_N
};

/* What retry.on may name: bits of gt_spec.retry.on. Of durable calls only. */
enum gt_retry_on {
	GT_RETRY_CRASH,   /* the replica died, or answered no HTTP */
	GT_RETRY_TIMEOUT, /* limits.run or limits.first_byte */
	GT_RETRY_408,
	GT_RETRY_425,
	GT_RETRY_429,
	GT_RETRY_500,
	GT_RETRY_502,
	GT_RETRY_503,
	GT_RETRY_504,
	GT_RETRY_N
};
const char *gt_retry_on_name(unsigned on); /* "crash", "503" */

enum gt_isolation {
	GT_ISOLATION_SHARED,    /* a node may run other functions beside it */
	GT_ISOLATION_EXCLUSIVE, /* it may not */
	GT_ISOLATION_N
};
enum gt_scale_policy {
	GT_SCALE_GANTRY, /* holds what is likely to be needed, at delay_price */
	GT_SCALE_KPA,    /* as Knative's autoscaler does */
	GT_SCALE_POLICIES
};

/* Which of the two stays when a node returns with a replica that was given to another. */
enum gt_reconcile {
	GT_RECONCILE_BEST, /* as when replicas are too many for any other reason */
	GT_RECONCILE_ORIGINAL,
	GT_RECONCILE_REPLACEMENT,
	GT_RECONCILE_N
};

struct gt_env {
	char *name, *value;
};

struct gt_volume {
	char *host; /* absolute path on the node: a directory or a file */
	char *path; /* absolute path in the container */
	bool readonly;
};

struct gt_tmpfs {
	char *path;
	uint64_t size_bytes;
};

struct gt_io_limits { /* a second, on each block device; 0 = no limit */
	uint64_t read_bps, write_bps;
	uint32_t read_iops, write_iops;
};

#define GT_DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct gt_spec {
	char *image;      /* "dir:/srv/app", "host:", a canonical reference, "bundle:sha256:..." */
	char *image_path; /* of dir:, normalised; else NULL */
	char *base;       /* of a bundle: canonical reference of the image below it, or NULL */
	char **command;   /* NULL-terminated; none: the image's own */
	size_t n_command;
	char *socket;  /* instead of `port`: absolute path in the container of the unix socket; or
			  NULL */
	char *workdir; /* "/" gives way to what the image says */
	/* "7:8", "name", "name:8", "name:group", names as the image's files have them; NULL: the
	 * image's own, or "0:0". A number without a group, which only an image's configuration can
	 * hold, has the group of its entry, or 0. */
	char *user;
	struct gt_env *env;
	size_t n_env;
	struct gt_volume *volumes;
	size_t n_volumes;
	struct gt_tmpfs *tmpfs;
	size_t n_tmpfs;
	/* Small ones stand together: control keeps one of these for every function there is. */
	enum gt_pull pull;
	enum gt_isolation isolation;
	enum gt_network network;
	enum gt_scale_policy scale_policy; /* scale.policy */
	enum gt_access access; /* who may call /f/{function}/: holders of a token, or everyone */
	uint16_t port; /* TCP port the process listens on, inside its own network namespace; 0: the
			  image's, found out when it is deployed, or `socket` is there */
	bool idempotent;    /* a call may be sent again whatever its method */
	bool packed;        /* gt_spec_pack made it: nothing in it may be replaced */
	bool weights_store; /* weights.store: from the node's weight store, where it has one */
	enum gt_image_kind image_kind : 8;
	struct {
		char *header; /* calls with the same value go to the same replica; NULL: no such */
	} affinity;

	struct {
		char *path; /* NULL: ready when the port accepts; else when GET path answers 2xx */
		uint64_t timeout_ms;
	} ready;
	struct {
		uint32_t cpu_milli; /* 0 = no limit */
		uint32_t pids;
		uint64_t memory_bytes;
		uint64_t memory_high_bytes; /* slowed and reclaimed from above it; 0 = never */
		uint64_t disk_bytes;
		uint64_t shm_bytes; /* of /dev/shm; 0 = 64 MiB, a quarter of the memory with GPUs or
				       in a gang */
		struct gt_io_limits io;
		struct gt_gpu_want gpu;
		char **devices; /* by their names in the node's documents of CDI (device.h) */
		size_t n_devices;
	} resources;
	struct {
		struct gt_label *labels; /* a node must have all of them; sorted by key */
		size_t n_labels;
	} placement;
	struct gt_gang_want gang;
	struct {                        /* while its node has no connection to control */
		uint32_t lost_after_ms; /* it is given to another; 0 = with its node */
		uint32_t stop_after_ms; /* the node stops it; 0 = it goes on */
		enum gt_reconcile reconcile;
	} disconnect;
	struct {
		uint32_t min, max;
		uint32_t buffer;      /* replicas kept free of calls while there are calls */
		uint32_t delay_price; /* GPU-seconds that a second of waiting is worth */
		uint32_t target; /* concurrency.target: in-flight calls a replica should hold */
		uint32_t concurrency; /* concurrency.max: never more than this at once on a replica
				       */
		uint64_t idle_ms;     /* the exact window, or GT_IDLE_LEARNED */
	} scale;
	struct {
		uint32_t queue;   /* calls that may wait at once */
		uint64_t wait_ms; /* longest wait in the queue */
		uint64_t first_byte_ms;
		uint64_t idle_ms;  /* between bytes of a call; 0 = no limit */
		uint64_t run_ms;   /* 0 = no limit */
		uint64_t drain_ms; /* in-flight calls may finish; then TERM, the same again, KILL */
		uint64_t body_bytes;
		uint64_t log_bytes;
	} limits;
	struct {
		enum gt_park_method method;
		uint32_t priority; /* the lowest goes first when memory is short */
		uint64_t after_ms; /* without need */
		struct {
			char *sleep, *wake; /* targets that are posted to; NULL: it has none */
		} http;
	} park;
	struct {
		uint32_t max;               /* second and later tries of a durable call */
		uint32_t on;                /* 1 << enum gt_retry_on, each */
		uint32_t first_ms, most_ms; /* backoff: doubled from first to most, with jitter */
	} retry;
	struct {
		char **paths; /* in the container; the last parts may hold * ? [] */
		size_t n_paths;
	} weights;
	char **models; /* serves.openai */
	size_t n_models;
};

struct gt_spec *gt_spec_new(void);       /* all defaults; image and command still missing */
void gt_spec_free(struct gt_spec *spec); /* NULL is fine */
/* The same in one piece of memory, for who keeps many. The result may be read and freed only. */
struct gt_spec *gt_spec_pack(struct gt_spec *spec GT_TAKES);
/* Likewise, behind `head` bytes of zeros, which the caller fills: the whole piece is returned, and
 * freed by free(). */
void *gt_spec_pack_behind(struct gt_spec *spec GT_TAKES, size_t head, struct gt_spec **ret);
/* What no single field can tell: image form, port present, min <= max, target <= max,
 * memory_high <= memory, buffer <= max, share of one GPU alone, absolute and
 * distinct mount paths, duplicate env names, "${gpu...}" that is known, one directory of weights
 * where the GPU's memory is to be computed. Fills image_kind and
 * image_path. -EINVAL with err->path naming the member (slug "invalid_spec"). */
GT_MUST_USE int gt_spec_check(struct gt_spec *spec, struct gt_err *err);
/* The reference that a registry is asked for: of the image itself or of a bundle's base; NULL = the
 * node has all of it. */
const char *gt_spec_ref(const struct gt_spec *spec);
/* What "auto" stands for here. */
enum gt_gang_spread gt_spec_spread(const struct gt_spec *spec);
/* Where weights.paths[i] is on the node: *root is a volume's host path, or the directory of a dir:
 * image; *rest the pattern below it, without a leading slash, "" = the volume itself, a file. The
 * volume is returned, NULL = the image. Borrowed from the checked spec. */
const struct gt_volume *gt_spec_weights_at(const struct gt_spec *spec, size_t i, const char **root,
					   const char **rest);
bool gt_name_ok(const char *name); /* GT_NAME_MAX and its alphabet */

GT_CLEANUP_TYPE(spec, struct gt_spec *, gt_spec_free)

#endif
