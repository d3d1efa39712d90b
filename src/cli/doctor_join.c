/* A host that has joined the cluster of another one: is the door reached, is its certificate good.
 */
#include "doctor.h"

#include <curl/curl.h>
#include <string.h>

#include <gantry/base/clock.h>
#include <gantry/http/pki.h>
#include <gantry/wire/value.h>

#define CONNECT_MS 3000L
#define FILE_MAX   8192

/* 0, or sets what there is to say. */
static int read_link(const struct gt_doctor *d, const char *name, char text[FILE_MAX],
		     struct gt_finding *f)
{
	gt_auto(free) char *path = gt_asprintf("%s/link/%s", d->state, name);
	gt_auto(file) FILE *file = fopen(path, "re");

	if (!file) {
		gt_finding_set(f, GT_CHECK_SKIP, NULL, "%s",
			       errno == ENOENT || errno == ENOTDIR
				       ? "this host has not joined the cluster of another one"
				       : strerror(errno));
		return -ENOENT;
	}
	text[fread(text, 1, FILE_MAX - 1, file)] = '\0';
	return 0;
}

/* Without a word of TLS: what is there is the uplink's to judge. */
static void knock(const char *url, struct gt_finding *f)
{
	gt_auto(free) char *plain = gt_asprintf("http://%s", url + strlen("https://"));
	char why[CURL_ERROR_SIZE] = "";
	CURL *e = curl_easy_init();
	CURLcode r = CURLE_FAILED_INIT;

	if (e) {
		curl_easy_setopt(e, CURLOPT_URL, plain);
		curl_easy_setopt(e, CURLOPT_PROXY, "");
		curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
		curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
		curl_easy_setopt(e, CURLOPT_ERRORBUFFER, why);
		curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
		r = curl_easy_perform(e);
		curl_easy_cleanup(e);
	}
	if (r == CURLE_OK)
		gt_finding_set(f, GT_CHECK_OK, NULL, "%s is reached", url);
	else
		gt_finding_set(f, GT_CHECK_ERROR,
			       "is a gateway up there, and its port open from here? "
			       "`gantryd agent --join URL` names another address of it",
			       "%s: %.150s", url, why[0] ? why : curl_easy_strerror(r));
}

static void check_door(struct gt_doctor *d, struct gt_finding *f)
{
	gt_auto(value) struct gt_value *v = NULL;
	char text[FILE_MAX];
	const char *url;

	if (read_link(d, "join.json", text, f) < 0)
		return;
	url = gt_value_parse(text, strlen(text), &v, NULL) < 0 ? "" : gt_value_str(v, "url", "");
	if (!gt_starts_with(url, "https://"))
		gt_finding_set(f, GT_CHECK_ERROR,
			       "join again with a new token of `gantry node token`",
			       "%s/link/join.json is damaged", d->state);
	else
		knock(url, f);
}

static void check_certificate(struct gt_doctor *d, struct gt_finding *f)
{
	uint64_t now_ms = gt_wall_ms(&gt_clock_system);
	char text[FILE_MAX], until[GT_TIME_TEXT];
	struct gt_pki_id id;
	struct gt_err err = { 0 };

	if (read_link(d, "node.crt", text, f) < 0)
		return;
	if (gt_pki_identity_pem(text, strlen(text), &id, &err) < 0) {
		gt_finding_set(f, GT_CHECK_ERROR,
			       "join again with a new token of `gantry node token`", "%.200s",
			       err.text);
		return;
	}
	gt_time_text(id.not_after_ms, until);
	if (now_ms > id.not_after_ms)
		gt_finding_set(f, GT_CHECK_ERROR,
			       "`gantry node rm` it in the cluster and join with a new token",
			       "that of node %s ended at %s", id.name, until);
	else if (now_ms < id.not_before_ms)
		gt_finding_set(
			f, GT_CHECK_ERROR, "set this host's clock",
			"that of node %s has not begun: this clock or the cluster's is wrong",
			id.name);
	else if (now_ms > gt_pki_renew_ms(&id) + (id.not_after_ms - gt_pki_renew_ms(&id)) / 2)
		gt_finding_set(f, GT_CHECK_WARN, "see the uplink's lines in the daemon's log",
			       "that of node %s is not renewed and ends at %s", id.name, until);
	else
		gt_finding_set(f, GT_CHECK_OK, NULL, "node %s, until %s", id.name, until);
}

static const struct gt_check rows[] = {
	{ "cluster", check_door },
	{ "certificate", check_certificate },
};
const struct gt_checks gt_checks_join = { rows, GT_LEN(rows) };
