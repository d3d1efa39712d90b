/* oci_state.c - the state of a container, as the OCI runtime specification prints it. */
#include <gantry/wire/oci_runtime.h>

#include <limits.h>
#include <string.h>

#include <gantry/wire/json.h>
#include <gantry/wire/value.h>

#define OCI_VERSION "1.0.2" /* of the specification that the state follows */

const char *gt_oci_status_name(unsigned status)
{
	static const char *const names[] = {
		[GT_OCI_CREATING] = "creating",
		[GT_OCI_CREATED] = "created",
		[GT_OCI_RUNNING] = "running",
		[GT_OCI_STOPPED] = "stopped",
	};

	return status < GT_LEN(names) ? names[status] : "unknown";
}

void gt_oci_state_write(const struct gt_oci_state *s, bool own, struct gt_buf *out)
{
	struct gt_json j;

	gt_json_begin(&j, out);
	gt_json_object(&j, NULL);
	gt_json_str(&j, "ociVersion", OCI_VERSION);
	gt_json_str(&j, "id", s->id);
	gt_json_str(&j, "status", gt_oci_status_name(s->status));
	gt_json_i64(&j, "pid", s->pid);
	gt_json_str(&j, "bundle", s->bundle);
	if (s->n_annotations > 0) {
		gt_json_object(&j, "annotations");
		for (size_t i = 0; i < s->n_annotations; i++)
			gt_json_str(&j, s->annotations[i].name, s->annotations[i].value);
		gt_json_close(&j, '}');
	}
	if (own)
		gt_json_u64(&j, "startTime", s->start_time);
	gt_json_close(&j, '}');
}

static enum gt_oci_status status_of(const char *name)
{
	unsigned i = 0;

	while (i < GT_OCI_STATUS_N && !gt_streq(name, gt_oci_status_name(i)))
		i++;
	return (enum gt_oci_status)i;
}

int gt_oci_state_read(const char *text, size_t len, struct gt_oci_state *ret, struct gt_err *err)
{
	gt_auto(value) struct gt_value *doc = NULL;
	const struct gt_value *pairs, *item;
	struct gt_oci_state s = { .id = "" };
	const char *name = NULL;
	uint64_t pid;
	int r = gt_value_parse(text, len, &doc, err);

	if (r < 0)
		return r;
	s.status = status_of(gt_value_str(doc, "status", ""));
	pid = gt_value_u64(doc, "pid", 0);
	if (s.status == GT_OCI_STATUS_N || pid > INT_MAX ||
	    !gt_strcopy(s.id, sizeof(s.id), gt_value_str(doc, "id", "")))
		return gt_err_set(err, EINVAL, "malformed_json", "this is no container's state");
	s.pid = (int)pid;
	s.start_time = gt_value_u64(doc, "startTime", 0);
	s.bundle = gt_strdup(gt_value_str(doc, "bundle", ""));
	pairs = gt_value_at(doc, "annotations");
	s.annotations = gt_alloc_array(gt_value_len(pairs) + 1, sizeof(*s.annotations));
	while (pairs && (name = gt_value_member(pairs, name, &item))) {
		s.annotations[s.n_annotations].name = gt_strdup(name);
		s.annotations[s.n_annotations++].value = gt_strdup(gt_value_str(item, "", ""));
	}
	*ret = s;
	return 0;
}

void gt_oci_state_fini(struct gt_oci_state *s)
{
	for (size_t i = 0; i < s->n_annotations; i++) {
		free(s->annotations[i].name);
		free(s->annotations[i].value);
	}
	free(s->annotations);
	free(s->bundle);
	*s = (struct gt_oci_state){ .id = "" };
}
