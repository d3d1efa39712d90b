/* registry_priv.h - the parts of the registry client: who may ask (auth), how one asks (ask), and
 * what is asked for (registry, blob). */
#ifndef GANTRY_IMAGE_REGISTRY_PRIV_H
#define GANTRY_IMAGE_REGISTRY_PRIV_H

#include <pthread.h>

#include <gantry/base/buf.h>
#include <gantry/http/challenge.h>
#include <gantry/http/fetch.h>
#include <gantry/image/registry.h>
#include <gantry/wire/docker.h>

#define GT_REGISTRY_FETCHERS_IDLE 16
#define GT_REGISTRY_AUTHS_MAX     256
#define GT_REGISTRY_URL_MAX       1024

struct gt_registry_auth; /* an answer to a challenge, to be used again */

struct gt_registry_host { /* one that is spoken to now */
	char name[GT_REGISTRY_URL_MAX];
	unsigned running, waiting; /* requests */
	struct gt_registry_host *prev, *next;
};

struct gt_registry {
	struct gt_docker_config *docker; /* NULL = no credentials */
	char **insecure;                 /* NULL-terminated */
	char *ca_file, *helper_path;
	unsigned per_host, stall_s, tries, pause_ms, helper_ms;
	const struct gt_clock *clock;

	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t slot_free;
	struct gt_registry_host *hosts;
	struct gt_registry_auth *auths; /* used last first */
	size_t n_auths;
	struct gt_fetcher *idle[GT_REGISTRY_FETCHERS_IDLE];
	size_t n_idle;
};

/* ---- ask.c: requests about one repository --------------------------------------------------- */
struct gt_ask {
	struct gt_registry *r;
	const struct gt_ref *ref;
	const atomic_bool *cancel;
	char host[GT_REF_HOST_SIZE];                      /* where it answers */
	char path[GT_REF_PATH_SIZE + sizeof("library/")]; /* of the repository there */
	char base[GT_REF_HOST_SIZE + sizeof("https://")]; /* "https://host" */
	char scope[GT_REF_PATH_SIZE + sizeof("repository::pull") + sizeof("library/")];
};

/* What became of one request. */
struct gt_asked {
	int status;
	int64_t retry_after_s;
};

struct gt_tries {
	unsigned failed; /* so far, since there was progress */
	bool answered;   /* it is there, or was a moment ago: patience pays */
};

void gt_ask_init(struct gt_ask *ask, struct gt_registry *r, const struct gt_ref *ref,
		 const atomic_bool *cancel);
/* One request, with a challenge answered on the way; what->authorization and cancel are filled in
 * here. Returns what gt_fetch returns, or -EACCES with "image_denied". */
int gt_ask_once(const struct gt_ask *ask, struct gt_fetch *what, struct gt_asked *ret,
		struct gt_err *err);
/* After gt_ask_once did not give what was wanted: returns 0 when it is worth another try, after a
 * pause; else the final error, in err. `object` names what was asked for. */
int gt_ask_failed(const struct gt_ask *ask, struct gt_tries *tries, const char *object, int r,
		  const struct gt_asked *asked, struct gt_err *err);
/* A fetch within the limits of its host; `use` looks at the answer before the fetcher is given
 * back. */
int gt_ask_fetch(struct gt_registry *r, const struct gt_fetch *what,
		 int (*use)(struct gt_fetcher *f, void *arg, struct gt_err *err), void *arg,
		 struct gt_err *err);

/* ---- auth.c --------------------------------------------------------------------------------- */
/* The value of Authorization that is known to serve this repository; NULL = none. The caller frees
 * it. */
char *gt_auth_known(const struct gt_ask *ask);
/* Answers a challenge; *ret is the value to ask again with, the caller's. */
int gt_auth_answer(const struct gt_ask *ask, const char *challenge, char **ret, struct gt_err *err);
void gt_auths_free(struct gt_registry *r);

/* ---- creds.c -------------------------------------------------------------------------------- */
/* All members NULL when there are none for this host. */
int gt_creds_find(const struct gt_ask *ask, struct gt_docker_login *ret, struct gt_err *err);

/* ---- helper.c ------------------------------------------------------------------------------- */
/* Runs docker-credential-NAME get; what it wrote, whatever its exit status. */
int gt_helper_run(const struct gt_ask *ask, const char *name, const char *server,
		  struct gt_buf *out, bool *ret_succeeded, struct gt_err *err);

#endif
