/* model/limits.h - every bound that a user can meet, with its default. One place. */
#ifndef GANTRY_MODEL_LIMITS_H
#define GANTRY_MODEL_LIMITS_H

#define GT_NAME_MAX          63 /* function, node and gateway names: [a-z0-9]([a-z0-9-]*[a-z0-9])? */
#define GT_FUNCTIONS_MAX     100000
#define GT_REPLICAS_MAX      1000 /* scale.max */
#define GT_COMMAND_MAX       256  /* words */
#define GT_SOCKET_PATH_MAX   107  /* what the kernel's address of a unix socket holds */
#define GT_TEXT_MAX          4096 /* one word, path, value that has no limit of its own */
#define GT_ENV_MAX           256
#define GT_ENV_VALUE_MAX     32768
#define GT_VOLUMES_MAX       32
#define GT_TMPFS_MAX         16
#define GT_NODE_BEAT_MS      1000ULL /* a node without anything to tell is heard of so often */
#define GT_DISCONNECT_MIN_MS 5000ULL /* some beats */
#define GT_DISCONNECT_MAX_MS (30ULL * 86400 * 1000)
#define GT_USER_NAME_MAX     63
#define GT_USER_ID_MAX       65535 /* users and groups inside a container */
#define GT_ID_RANGE          65536 /* so many ids of the host each sandbox has, from subid_base on */
#define GT_ID_RANGES         4000  /* of a node; the first one is shared */
#define GT_WEIGHTS_MAX       16    /* weights.paths */
#define GT_MODELS_MAX        16    /* serves.openai */
#define GT_MODEL_NAME_MAX    128
#define GT_HEADER_MAX        63 /* name of a header: affinity.header */
#define GT_DEVICES_MAX       16 /* resources.devices */
#define GT_GPUS_MAX          64 /* of one replica */
#define GT_NODE_GPUS_MAX     16
#define GT_GPU_UUID_MAX      79
#define GT_GPU_MODEL_MAX     63 /* bytes of a model's name */
#define GT_GPU_REASON_MAX    127
#define GT_GPU_PCI_MAX       15
#define GT_GPU_VERSION_MAX   79
#define GT_GPU_MODELS_MAX    8     /* resources.gpu.models */
#define GT_GPU_SHARE_MIN     10    /* thousandths */
#define GT_GANG_MAX          64    /* members of a gang */
#define GT_GANG_STARTS_MAX   100   /* gang.restarts */
#define GT_GANG_HOLD_MS      30000 /* what a failed epoch had stays reserved for the next */
#define GT_GANG_PORT         29500 /* MASTER_PORT: the first of those that control gives out */
#define GT_GANG_PORTS        1000
#define GT_ADDRESS_MAX       45           /* text of an IP address */
#define GT_LABELS_MAX        32           /* of a node */
#define GT_PLACE_LABELS_MAX  8            /* placement.labels */
#define GT_LABEL_MAX         63           /* bytes of a label's key, and of its value */
#define GT_SPEC_BYTES_MAX    (256 * 1024) /* body of PUT /v1/functions/{f} */
#define GT_JSON_DEPTH_MAX    32
#define GT_REVISIONS_KEPT    20
#define GT_EVENTS_KEPT       10000
#define GT_DECISIONS_KEPT    4096
#define GT_LIST_DEFAULT      100
#define GT_LIST_MAX          1000
#define GT_LOG_LINE_MAX      16384 /* longer lines are cut into pieces */
#define GT_LOG_TAIL_MAX      10000
#define GT_FAIL_LOG_LINES    10 /* last log lines carried in a start error */

#define GT_BUNDLE_PIECE_MAX (8 << 20) /* body of PUT /v1/bundles/{digest} */

#define GT_DEFAULT_SUBID_BASE       1879048192 /* 0x70000000: useradd and systemd end below it */
#define GT_DEFAULT_CPU_MILLI        0          /* 0 = no cpu limit */
#define GT_DEFAULT_MEMORY_BYTES     (512ULL << 20)
#define GT_DEFAULT_PIDS             1024
#define GT_DEFAULT_SCALE_MAX        10
#define GT_DEFAULT_CONCURRENCY      16
#define GT_DEFAULT_DELAY_PRICE      20         /* GPU-seconds that a second of waiting is worth */
#define GT_IDLE_LEARNED             UINT64_MAX /* scale.idle when it is left out */
#define GT_DEFAULT_IDLE_MS          60000      /* then: for what nothing is known of */
#define GT_DEFAULT_PARK_MS          30000      /* park.after */
#define GT_PARK_PRIORITY_MAX        1000
#define GT_DEFAULT_READY_TIMEOUT_MS 600000
#define GT_DEFAULT_GANG_RESTARTS    3
#define GT_DEFAULT_QUEUE            1000
#define GT_DEFAULT_WAIT_MS          300000
#define GT_DEFAULT_RUN_MS           0 /* whole answer; 0 = no limit */
#define GT_DEFAULT_FIRST_BYTE_MS    300000
#define GT_DEFAULT_MOVE_MS          60000 /* limits.idle: between bytes of a call; 0 = no limit */
#define GT_DEFAULT_DRAIN_MS         30000
#define GT_DEFAULT_BODY_BYTES       (64ULL << 20)
#define GT_DEFAULT_LOG_BYTES        (16ULL << 20) /* a replica's log on disk */
#define GT_DEFAULT_TMPFS_BYTES      (64ULL << 20)
#define GT_DEFAULT_DISK_BYTES       (256ULL << 20) /* writable layer over the image, in memory */

#define GT_RETRIES_MAX            100 /* retry.max */
#define GT_DEFAULT_RETRY_FIRST_MS 1000
#define GT_DEFAULT_RETRY_MOST_MS  60000
/* crash, timeout, 502, 503 and 504 */
#define GT_DEFAULT_RETRY_ON                                                                        \
	(1U << GT_RETRY_CRASH | 1U << GT_RETRY_TIMEOUT | 1U << GT_RETRY_502 | 1U << GT_RETRY_503 | \
	 1U << GT_RETRY_504)

/* Crash loop: first retry after 1 s, doubled each failure, at most 5 min; forgotten after 60 s
 * ready. */
#define GT_BACKOFF_FIRST_MS 1000
#define GT_BACKOFF_MAX_MS   300000
#define GT_BACKOFF_CLEAR_MS 60000

#endif
