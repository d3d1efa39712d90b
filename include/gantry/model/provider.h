/* model/provider.h - where further hosts come from when there is no room, and the hosts that were
 * got there. Plain data; what may be asked of a provider's hook, and of the store, is one struct
 * each. */
#ifndef GANTRY_MODEL_PROVIDER_H
#define GANTRY_MODEL_PROVIDER_H

#include <gantry/base/clock.h>
#include <gantry/base/err.h>
#include <gantry/model/label.h>
#include <gantry/model/limits.h>
#include <gantry/model/member.h>

#define GT_PROVIDERS_MAX      8
#define GT_PROVIDER_NAME_MAX  24
#define GT_PROVIDER_HOSTS_MAX 1000 /* of one */
#define GT_PROVIDER_TEXT      512
#define GT_HOST_ID_MAX        128
#define GT_HOST_TOKEN_SIZE    128 /* a join token's text and NUL */
_Static_assert(GT_PROVIDER_NAME_MAX + 1 + GT_ULID_LEN <= GT_NAME_MAX, "a host's key names a node");

/* What each of its hosts has. */
struct gt_offer {
	uint64_t cpu_milli, memory_bytes; /* 0 = not stated: never full */
	size_t n_gpus, n_labels;
	struct gt_offer_gpu {
		char model[GT_GPU_MODEL_MAX + 1];
		uint64_t memory_bytes;
	} gpus[GT_NODE_GPUS_MAX];
	struct gt_label labels[GT_LABELS_MAX]; /* sorted */
};

/* As the operator configured it. */
struct gt_provider {
	char name[GT_PROVIDER_NAME_MAX + 1];
	char exec[GT_PROVIDER_TEXT], url[GT_PROVIDER_TEXT]; /* one of them; "" = not this */
	char join[GT_PROVIDER_TEXT];                        /* what a host's agent dials */
	char gpus[GT_PROVIDER_TEXT], labels[GT_PROVIDER_TEXT];
	uint64_t cpus, memory_bytes;
	uint64_t min, max;   /* hosts */
	uint64_t idle_ms;    /* empty for so long: given back */
	uint64_t start_ms;   /* from asking to its first report */
	uint64_t timeout_ms; /* of one answer of the hook */
	uint64_t backoff_ms; /* after a first failure; doubles */
};
void gt_provider_defaults(struct gt_provider *p); /* all but the name */
/* Slug bad_config: the text names the key. */
GT_MUST_USE int gt_provider_check(const struct gt_provider *p, struct gt_err *err);
/* Slug bad_config. */
GT_MUST_USE int gt_provider_offer(const struct gt_provider *p, struct gt_offer *ret,
				  struct gt_err *err);

/* ---- hosts ---- */

/* What is kept of one, from before its provider is asked until that has taken it back. */
struct gt_host_row {
	char key[GT_NAME_MAX + 1]; /* "provider-ulid": also the name of its node */
	char provider[GT_PROVIDER_NAME_MAX + 1];
	char id[GT_HOST_ID_MAX + 1]; /* the provider's own name for it; "" = it has not said */
	char token[GT_ULID_LEN + 1]; /* id of its join token; "" = none was made */
	uint64_t asked_ms;           /* wall clock */
	bool releasing;
};
bool gt_host_id_ok(const char *id); /* 1 to GT_HOST_ID_MAX printable characters */
/* Is this a key that control could have made for the provider? */
bool gt_host_key_ok(const char *key, const char *provider);

enum gt_host_verb {
	GT_HOST_PUT, /* row, and token where its id is set: both or none; a token of one that is
			releasing is forgotten */
	GT_HOST_DROP /* row.key, and the token that row.token names */
};
struct gt_host_op;
typedef void gt_host_fn(struct gt_host_op *op, const struct gt_err *err, void *arg);
/* Made by control, given to the store, and back with `done`, which owns it again. */
struct gt_host_op {
	enum gt_host_verb verb;
	struct gt_host_row row;
	struct gt_join_token token;
	gt_host_fn *done;
	void *arg;
};

/* ---- the hook ---- */

enum gt_hook_verb {
	GT_HOOK_CREATE,  /* one host, known by its key: asked at most once */
	GT_HOOK_RELEASE, /* by key, and by id where that is known; also one that it does not know */
	GT_HOOK_LIST,
	GT_HOOK_VERBS
};
const char *gt_hook_verb_name(enum gt_hook_verb v);

struct gt_hook_ask {
	enum gt_hook_verb verb;
	const struct gt_provider *provider;
	const struct gt_offer *offer;
	const char *key, *id; /* NULL = none */
	const char *token;    /* of CREATE */
	uint64_t expires_ms;  /* of the token; wall clock */
};

struct gt_hook_host {
	char key[GT_NAME_MAX + 1], id[GT_HOST_ID_MAX + 1];
};
struct gt_hook_answer {
	char id[GT_HOST_ID_MAX + 1]; /* of CREATE */
	struct gt_hook_host *hosts;  /* of LIST */
	size_t n_hosts;
};
/* err NULL: done as asked, and answer is borrowed for the call. Never before the port returned. */
typedef void gt_hook_fn(const struct gt_err *err, const struct gt_hook_answer *answer, void *arg);

#endif
