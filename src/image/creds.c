/* creds.c - whose credentials serve a registry: its own helper's, else those that are written
 * down, else those of the helper for all. */
#include "registry_priv.h"

#include <string.h>

/* Every helper says so in these words, on its standard output. */
#define NOT_FOUND "credentials not found"

static int from_helper(const struct gt_ask *ask, const char *name, struct gt_docker_login *ret,
		       struct gt_err *err)
{
	bool hub = gt_host_is_hub(ask->ref->host);
	gt_auto(buf) struct gt_buf out = { .max = GT_DOCKER_ANSWER_MAX };
	bool succeeded = false;
	struct gt_err why = { 0 };
	int r = gt_helper_run(ask, name, hub ? GT_HUB_SERVER : ask->ref->host, &out, &succeeded,
			      &why);

	if (r == 0 && !succeeded)
		r = strstr(gt_buf_str(&out), NOT_FOUND)
			    ? 0
			    : gt_err_set(&why, EACCES, "image_denied", "it failed");
	else if (r == 0)
		r = gt_docker_answer_read(gt_buf_str(&out), out.len, ret, &why);
	explicit_bzero(gt_buf_str(&out), out.len);
	if (r == 0)
		return 0;
	return gt_err_set(err, r == -ECANCELED ? ECANCELED : EACCES,
			  r == -ECANCELED ? "registry_unavailable" : "image_denied",
			  "%s: credential helper docker-credential-%s: %s", ask->ref->host, name,
			  why.text);
}

static void login_copy(const struct gt_docker_login *from, struct gt_docker_login *to)
{
	*to = (struct gt_docker_login){ gt_strdup(from->user), gt_strdup(from->password),
					gt_strdup(from->identity_token) };
}

int gt_creds_find(const struct gt_ask *ask, struct gt_docker_login *ret, struct gt_err *err)
{
	const struct gt_docker_config *docker = ask->r->docker;
	const char *host = ask->ref->host;

	if (!docker)
		return 0;
	const char *helper = gt_docker_config_helper(docker, host, false);
	const struct gt_docker_login *login = gt_docker_config_login(docker, host);

	if (!helper && login) {
		login_copy(login, ret);
		return 0;
	}
	if (!helper)
		helper = gt_docker_config_helper(docker, host, true);
	return helper ? from_helper(ask, helper, ret, err) : 0;
}
