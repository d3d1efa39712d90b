/* daemon/config.h - what the operator sets: an INI file, then flags. Unknown keys are errors. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <gantry/base/err.h>
#include <gantry/base/log.h>
#include <gantry/model/provider.h>
#include <gantry/net/net.h>
#include <gantry/uplink/uplink.h>

#define GT_CONFIG_TEXT   1024
#define GT_CONFIG_PACKED 49152 /* enough for all of it as text */
#define GT_CONFIG_FILE   "/etc/gantry/gantryd.conf"

struct gt_config {
	char state[GT_CONFIG_TEXT]; /* state directory; absolute after gt_state_open */
	char listen[GT_CONFIG_TEXT];
	char file[GT_CONFIG_TEXT]; /* the configuration file itself; "" = none */
	/* [daemon] */
	char user[64]; /* of control and gateway; "" = the fixed unprivileged ids */
	enum gt_level log_level;
	/* [gateway] */
	uint64_t max_connections;
	uint64_t threads; /* 0 = one for each processor, up to GT_GATEWAY_THREADS_AUTO */
	uint64_t drain_ms;
	char tls_listen[GT_CONFIG_TEXT]; /* "": TLS, if there is any, on `listen` */
	char tls_cert[GT_CONFIG_TEXT], tls_key[GT_CONFIG_TEXT]; /* both or none */
	char tls_client_ca[GT_CONFIG_TEXT];
	bool tls_client_optional;
	char tls_proxy_from[GT_CONFIG_TEXT];
	char proxy_from[GT_CONFIG_TEXT]; /* networks of load balancers that speak PROXY */
	char access_log[GT_CONFIG_TEXT]; /* "" = none, "-" = standard output */
	/* [control] */
	char store[GT_CONFIG_TEXT]; /* URL of PostgreSQL; "" = a file in the state directory */
	char advertise[256];        /* where other controls tell clients to go; "" = `listen` */
	uint64_t lease_ms;
	bool dcgm_metrics;   /* /metrics has what GPUs measure by NVIDIA's names too */
	bool record;         /* the autoscaler's inputs and decisions into a file */
	uint64_t record_mib; /* it ends there */
	uint64_t node_suspect_ms, node_lost_ms; /* since it was heard of */
	uint64_t node_certificate_ms;           /* life of a node's certificate */
	char shadow[64];                        /* of gt_scale_candidate_parse; "" = none */
	char webhook_allow[GT_CONFIG_TEXT]; /* networks, not public, that may be told of calls */
	/* [provider NAME], in the order of the file */
	struct gt_provider providers[GT_PROVIDERS_MAX];
	size_t n_providers;
	/* [agent] */
	char join[GT_UPLINK_URL_SIZE]; /* of the cluster's door; "" = where it joined */
	char join_token_file[GT_CONFIG_TEXT];
	char join_token[128];      /* of the command line or that file; no key */
	char node[64];             /* "" = host name, see gt_config_node_default */
	char gpus[GT_CONFIG_TEXT]; /* see gt_gpus_open */
	char gpu_driver_root[GT_CONFIG_TEXT], gpu_proc[GT_CONFIG_TEXT], gpu_sys[GT_CONFIG_TEXT];
	char cdi_dirs[GT_CONFIG_TEXT];         /* ':'-separated */
	char cdi_devices[GT_CONFIG_TEXT];      /* ','-separated, of gt_device_name_allowed */
	char gpu_kmsg[GT_CONFIG_TEXT];         /* "" = /dev/kmsg */
	char gpu_nccl[GT_CONFIG_TEXT];         /* name or path */
	char gpu_reset[GT_CONFIG_TEXT];        /* absolute path; "" = none */
	char labels[GT_CONFIG_TEXT];           /* "zone=a,rack=r1" */
	char address[GT_CONFIG_TEXT];          /* "" = found out */
	char allow_host_paths[GT_CONFIG_TEXT]; /* ':'-separated prefixes that volumes may use */
	bool allow_host_image, allow_host_network;
	char egress_subnet4[64], egress_subnet6[64];
	char egress_block[GT_CONFIG_TEXT], egress_allow[GT_CONFIG_TEXT]; /* networks */
	bool egress_private;    /* may replicas reach private networks */
	bool egress_forwarding; /* may the agent turn on forwarding of the interfaces that lead out
				 */
	char dns[256];
	char registry_config[GT_CONFIG_TEXT], registry_ca[GT_CONFIG_TEXT];
	char registry_insecure[GT_CONFIG_TEXT]; /* ','-separated */
	uint64_t image_keep_ms, image_disk;     /* percent */
	uint64_t image_extract;                 /* enum gt_image_extract */
	uint64_t pool, pool_max;                /* sandboxes made ahead of demand */
	uint64_t parking_memory;                /* bytes; UINT64_MAX = a quarter of the node's */
	uint64_t prepared;                      /* functions with one of their own */
	uint64_t weight_store;                  /* bytes of the node's memory; 0 = it has none */
	uint64_t weight_cache, weight_read_bps; /* of what is read ahead */
	uint64_t subid_base; /* first of the host ids that containers' users are mapped to */
};

/* Which listening socket speaks TLS: the gateway's only one does. */
static inline bool gt_config_only_tls(const struct gt_config *c)
{
	return c->tls_cert[0] && !c->tls_listen[0];
}

void gt_config_defaults(struct gt_config *c);
/* As it is used: what it leaves out follows from the rest. Slug bad_config. */
GT_MUST_USE int gt_config_provider(const struct gt_config *c, size_t i, struct gt_provider *ret,
				   struct gt_err *err);
/* What replicas with network egress may reach; points into *c. */
struct gt_net_config gt_config_egress(const struct gt_config *c);
/* Applies the file over *c; *c is unchanged on failure. err names file and line. */
GT_MUST_USE int gt_config_read(struct gt_config *c, const char *file, struct gt_err *err);
/* Where no name is configured: that of the host, made a name of ours. */
void gt_config_node_default(struct gt_config *c);
/* What the agent will not refuse: name, GPUs, labels, address, networks, ids. Slug bad_config. */
GT_MUST_USE int gt_config_check_node(const struct gt_config *c, struct gt_err *err);
GT_MUST_USE int gt_config_check_control(const struct gt_config *c, struct gt_err *err);
/* What a role needs to know is handed over as one environment variable of key=value lines. */
GT_MUST_USE int gt_config_pack(const struct gt_config *c, char *out, size_t size,
			       struct gt_err *err);
GT_MUST_USE int gt_config_unpack(struct gt_config *c, const char *text, struct gt_err *err);

#endif
