/* wire/docker.h - credentials as Docker's tools write them: config.json and the answers of
 * credential helpers. Refusals name the member and never a value. Pure. */
#ifndef GANTRY_WIRE_DOCKER_H
#define GANTRY_WIRE_DOCKER_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_DOCKER_CONFIG_MAX (1 * GT_MIB)
#define GT_DOCKER_ANSWER_MAX (64 * GT_KIB) /* of a helper */

struct gt_docker_config;

/* Either user and password, or an identity token. */
struct gt_docker_login {
	char *user, *password, *identity_token;
};
void gt_docker_login_fini(struct gt_docker_login *l);

static inline void gt_cleanup_docker_login(struct gt_docker_login *l)
{
	gt_docker_login_fini(l);
}

GT_MUST_USE int gt_docker_config_read(const char *text, size_t len, struct gt_docker_config **ret,
				      struct gt_err *err);
void gt_docker_config_free(struct gt_docker_config *c); /* NULL is fine */

/* Hosts are compared without case, scheme and path; docker.io by all of its names. NULL = none. */
const struct gt_docker_login *gt_docker_config_login(const struct gt_docker_config *c,
						     const char *host);
/* NAME of docker-credential-NAME: the host's own, else with `store` that for all hosts. */
const char *gt_docker_config_helper(const struct gt_docker_config *c, const char *host, bool store);
bool gt_docker_helper_ok(const char *name); /* [A-Za-z0-9._-], 1 to 64 of them */

/* {"Username": ..., "Secret": ...} of a helper. */
GT_MUST_USE int gt_docker_answer_read(const char *text, size_t len, struct gt_docker_login *ret,
				      struct gt_err *err);

#endif
