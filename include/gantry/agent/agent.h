/* agent/agent.h - the role that runs a node's replicas: takes orders over the link, keeps the
 * processes, probes them, stores their output, lets the gateway in, reports what is. Root only. */
#ifndef GANTRY_AGENT_AGENT_H
#define GANTRY_AGENT_AGENT_H

#include <signal.h>

#include <gantry/base/err.h>
#include <gantry/net/net.h>

/* Are layers unpacked into directories: where the kernel can not mount them from files, or always?
 */
enum gt_image_extract { GT_EXTRACT_NO, GT_EXTRACT_YES, GT_EXTRACT_ALWAYS, GT_EXTRACT_N };

struct gt_agent_config {
	const char *state_dir;  /* DIR; everything of the agent is in DIR/agent, which it makes */
	const char *node;       /* its name */
	const char *gpus;       /* see gpu/gpu.h; NULL = none */
	const char *gpu_helper; /* the program that becomes gpud; NULL = none does */
	const char *gpu_kmsg;   /* the kernel's log, with errors of GPUs; NULL = "/dev/kmsg" */
	const char *gpu_reset;  /* the program that resets a GPU; NULL or "" = none does */
	const char *gpu_nccl; /* for gantry-preflight; NULL or "" = the linker finds libnccl.so.2 */
	const char *gpu_driver_root;    /* where NVIDIA's driver is; NULL or "" = "/" */
	const char *gpu_proc, *gpu_sys; /* NULL or "" = /proc and /sys; others for tests */
	const char *cdi_dirs;           /* ':'-separated; NULL or "" = none */
	const char *cdi_devices; /* that functions may have, ','-separated; NULL or "" = none */
	const char *labels;      /* "zone=a,rack=r1"; NULL = none */
	const char *address;     /* at which other nodes reach it; NULL or "" = of its way out */
	const char
		*link_path; /* control's socket; NULL = "run/link.sock" below the state directory */
	int agent_fd;       /* listening stream socket (logs), stays the caller's; < 0 = none */
	int dial_fd;        /* listening SOCK_SEQPACKET socket (model/dial.h); < 0 = none */
	int ready_fd;       /* gets "READY\n" once the node is in order; < 0 = none */
	unsigned pool;      /* sandboxes staged ahead, always */
	unsigned pool_max;  /* how many recent starts may raise that to */
	uint64_t parking_bytes; /* of the node's memory, for parked replicas; UINT64_MAX = a quarter
				 */
	unsigned prepared;   /* functions that may have a sandbox prepared for their next start */
	uint32_t subid_base; /* 0 = 100000; GT_ID_RANGES ranges of host ids are replicas' from it on
			      */
	bool allow_host_image, allow_host_network;
	struct gt_net_config egress;   /* without a name */
	const char *allow_host_paths;  /* ':'-separated prefixes for dir: images and volumes */
	uint32_t image_uid, image_gid; /* of the process that gets images; not root */
	const char *registry_config;   /* docker config.json, or NULL = /etc/gantry/registry.json */
	const char *registry_ca;       /* more CA certificates, or NULL */
	const char *registry_insecure; /* ','-separated hosts that are spoken to by plain HTTP */
	uint64_t image_keep_ms;        /* images that nobody uses for so long go; 0 = never */
	enum gt_image_extract image_extract;
	unsigned image_disk_percent; /* and when the disk is fuller than this; 0 = never */
	uint64_t weight_cache_bytes; /* most that is read ahead into the page cache; 0 = nothing;
				      * never more than half of the memory */
	uint64_t weight_read_bps;    /* of the disk, a second; 0 = no limit */
	uint64_t usage_ms; /* how often it looks what replicas use; 0 = 5000, others for tests */
};

/* The daemon begins to end: clients that wait for a registry are told so, and no other may begin.
 */
#define GT_AGENT_DRAIN SIGUSR1

/* Runs until SIGTERM (replicas go on and are adopted by the next start) or SIGINT (replicas are
 * stopped first; a second SIGINT kills them). Returns 0 then. */
GT_MUST_USE int gt_agent_run(const struct gt_agent_config *config, struct gt_err *err);

/* For a daemon that does not run: kills and removes every replica of the state directory. */
GT_MUST_USE int gt_agent_cleanup(const char *state_dir, struct gt_err *err);

#endif
