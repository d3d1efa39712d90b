/* The daemon: is there one, does it answer, does it take the token. */
#include "doctor.h"

#include <string.h>

#include "rest.h"

#define ANSWER_TIMEOUT_MS 5000

static void check_found(struct gt_doctor *d, struct gt_finding *f)
{
	if (!d->target.url)
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "%s", d->why.text);
	else if (d->target.pid)
		gt_finding_set(f, GT_CHECK_OK, NULL, "%s, process %d, state in %s", d->target.url,
			       (int)d->target.pid, d->target.state ? d->target.state : "?");
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "%s", d->target.url);
}

/* 0, with the answer, when there is a daemon that answers; else f says what is wrong. */
static int ask(struct gt_doctor *d, const char *path, struct gt_rest_answer *answer,
	       struct gt_finding *f)
{
	struct gt_rest_request req = { .path = path, .timeout_ms = ANSWER_TIMEOUT_MS };
	struct gt_err err = { 0 };
	struct gt_rest *rest;
	int rc;

	if (!d->target.url) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "no daemon");
		return -ENOENT;
	}
	rest = gt_rest_new(&d->target);
	rc = gt_rest_send(rest, &req, answer, &err);
	gt_rest_free(rest);
	if (rc < 0)
		gt_finding_set(f, GT_CHECK_ERROR, "is it running? see its log; or start it again",
			       "%s", err.text);
	return rc;
}

static void check_ready(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(answer) struct gt_rest_answer a = { 0 };

	if (ask(d, "/readyz", &a, f) < 0)
		return;
	if (a.status == 200)
		gt_finding_set(f, GT_CHECK_OK, NULL, "it answers and is ready");
	else
		gt_finding_set(f, GT_CHECK_ERROR, "its log says which role is missing",
			       "it answers %ld: %.200s", a.status, gt_buf_str(&a.body));
}

static void check_token(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(answer) struct gt_rest_answer a = { 0 };

	if (d->target.url && !d->target.token) {
		gt_finding_set(f, GT_CHECK_WARN, "run this as root, or set GANTRY_TOKEN", "%s",
			       d->target.note ? d->target.note : "none");
		return;
	}
	if (ask(d, "/v1/nodes", &a, f) < 0)
		return;
	if (a.status == 401 || a.status == 403)
		gt_finding_set(f, GT_CHECK_ERROR,
			       "use the one in admin.token of the daemon's state directory; of "
			       "several with one store each needs the same",
			       "the daemon refuses it (%ld)", a.status);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "the daemon takes it");
}

static void check_nodes(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(answer) struct gt_rest_answer a = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	const struct gt_value *items;
	size_t up = 0;

	if (ask(d, "/v1/nodes", &a, f) < 0)
		return;
	if (a.status != 200 || gt_value_parse(gt_buf_str(&a.body), a.body.len, &v, NULL) < 0) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "the daemon does not tell (%ld)", a.status);
		return;
	}
	items = gt_value_at(v, "items");
	for (size_t i = 0; i < gt_value_len(items); i++)
		up += !gt_streq(gt_value_str(gt_value_item(items, i), "state", ""), "lost") &&
		      !gt_streq(gt_value_str(gt_value_item(items, i), "state", ""), "suspect");
	if (gt_value_len(items) == 0)
		gt_finding_set(f, GT_CHECK_WARN, "see the agent's lines in the daemon's log",
			       "none is connected");
	else if (up < gt_value_len(items))
		gt_finding_set(f, GT_CHECK_WARN, "see the agent's lines in the daemon's log",
			       "%zu of %zu nodes answer", up, gt_value_len(items));
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "%zu, all answer", up);
}

static void check_version(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(answer) struct gt_rest_answer a = { 0 };
	gt_auto(value) struct gt_value *v = NULL;
	const char *version = "?";

	if (ask(d, "/v1/version", &a, f) < 0)
		return;
	if (gt_value_parse(gt_buf_str(&a.body), a.body.len, &v, NULL) == 0)
		version = gt_value_str(v, "version", "?");
	if (strcmp(version, GT_VERSION) == 0)
		gt_finding_set(f, GT_CHECK_OK, NULL, "%s", version);
	else
		gt_finding_set(f, GT_CHECK_WARN, "install both programs from one build",
			       "the daemon is %s, this program is %s", version, GT_VERSION);
}

static const struct gt_check rows[] = {
	{ "daemon", check_found }, { "daemon ready", check_ready }, { "token", check_token },
	{ "nodes", check_nodes },  { "version", check_version },
};
const struct gt_checks gt_checks_daemon = { rows, GT_LEN(rows) };
