/* openai.c - the body of an OpenAI request as it passes: which reader, the model's name, refusals.
 */
#include "openai_scan.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <gantry/model/problem.h>

int gt_openai_scan_new(const char *content_type, size_t len, struct gt_openai_scan **ret,
		       struct gt_err *err)
{
	static const char form[] = "multipart/form-data";
	size_t n = sizeof(form) - 1;
	struct gt_openai_scan *s = gt_alloc(sizeof(*s));

	s->is_form = content_type && len >= n && !strncasecmp(content_type, form, n) &&
		     (len == n || strchr("; \t", content_type[n]));
	if (s->is_form && !gt_openai_form_begin(s, content_type + n, len - n)) {
		int r = gt_err_set(err, EINVAL, s->fault.slug, "Content-Type: %s", s->fault.why);

		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void gt_openai_scan_free(struct gt_openai_scan *s)
{
	free(s);
}

const struct gt_openai_ask *gt_openai_scan_ask(const struct gt_openai_scan *s)
{
	return &s->ask;
}

bool gt_openai_fault(struct gt_openai_scan *s, const char *slug, uint64_t at, const char *why)
{
	s->fault = (struct gt_openai_fault){ .why = why, .slug = slug, .at = at };
	return false;
}

/* ---- the model's name ---- */

void gt_openai_name_add(struct gt_openai_name *n, unsigned char c)
{
	n->foreign |= c < 0x20 || c >= 0x7f;
	if (n->len < GT_MODEL_NAME_MAX)
		n->text[n->len] = (char)c;
	n->len += n->len <= GT_MODEL_NAME_MAX;
}

/* The value is complete. What can be no function's model is refused here. */
bool gt_openai_name_take(struct gt_openai_scan *s, uint64_t at)
{
	struct gt_openai_name *n = &s->name;
	bool ok = true;

	if (!n->len)
		ok = gt_openai_fault(s, "bad_parameter", at, "empty; name the model that is meant");
	else if (n->len > GT_MODEL_NAME_MAX)
		ok = gt_openai_fault(s, "model_not_found", at,
				     "names of models have at most 128 bytes");
	else if (n->foreign)
		ok = gt_openai_fault(s, "model_not_found", at,
				     "names of models are printable ASCII");
	if (!ok) {
		s->fault.model = true;
		return false;
	}
	n->text[n->len] = '\0';
	memcpy(s->ask.model, n->text, n->len + 1);
	return true;
}

/* ---- feeding ---- */

static int refuse(const struct gt_openai_scan *s, struct gt_err *err)
{
	const struct gt_openai_fault *f = &s->fault;

	if (!f->model)
		return gt_err_set(err, EINVAL, f->slug, "byte %llu: %s", (unsigned long long)f->at,
				  f->why);
	gt_err_set(err, ENOENT, f->slug, "model: %s", f->why);
	gt_err_path(err, "model");
	return -ENOENT;
}

int gt_openai_scan_feed(struct gt_openai_scan *s, const char *data, size_t len, struct gt_err *err)
{
	if (!s->fault.why && s->is_form)
		gt_openai_form_feed(s, data, len);
	else if (!s->fault.why)
		gt_openai_json_feed(s, data, len);
	s->fed += len;
	return s->fault.why ? refuse(s, err) : 0;
}

int gt_openai_scan_end(struct gt_openai_scan *s, struct gt_err *err)
{
	if (!s->fault.why && s->is_form)
		gt_openai_form_end(s);
	else if (!s->fault.why)
		gt_openai_json_end(s);
	if (!s->fault.why && !s->ask.model[0]) {
		gt_openai_fault(s, "bad_parameter", s->fed,
				"missing; name the model that is meant");
		s->fault.model = true;
	}
	return s->fault.why ? refuse(s, err) : 0;
}
