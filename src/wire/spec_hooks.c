/* spec_hooks.c - reading, writing and comparing the members that have more than one form. */
#include "spec_hooks.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <gantry/base/units.h>
#include <gantry/model/spec.h>

/* ---- thousandths: resources.cpu, resources.gpu.share ---------------------------------------- */

static int milli_from_text(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			   double *ret, struct gt_err *err)
{
	const char *text = NULL;
	char digits[16];
	uint64_t milli = 0;
	int r = gt_field_text(js, at, GT_TEXT_MAX, &text, err);

	if (r < 0)
		return r;
	size_t len = strlen(text);
	bool formed = len >= 2 && len <= sizeof(digits) && text[len - 1] == 'm';

	if (formed) {
		memcpy(digits, text, len - 1);
		digits[len - 1] = '\0';
	}
	if (!formed || gt_parse_u64(digits, UINT32_MAX, &milli) < 0)
		return gt_refuse_at(err, at, "\"%.100s\" is %s", text, f->wanted);
	*ret = (double)milli;
	return 0;
}

static int milli_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		      void *base, struct gt_err *err)
{
	double milli = 0;

	if (json_is_string(js)) {
		int r = milli_from_text(f, js, at, &milli, err);

		if (r < 0)
			return r;
	} else if (json_is_number(js)) {
		milli = json_number_value(js) * 1000;
	} else {
		return gt_field_refuse_type(at, js, "a number such as 0.5, or \"500m\"", err);
	}
	if (milli < (double)f->min)
		return gt_refuse_at(err, at, "%g is below %g; leave the member out for no limit",
				    milli / 1000, (double)f->min / 1000);
	if (milli > (double)f->max)
		return gt_refuse_at(err, at, "%g is above %g", milli / 1000, (double)f->max / 1000);
	if (fabs(milli - round(milli)) > 1e-6)
		return gt_refuse_at(err, at, "%.9g has more than 3 decimals", milli / 1000);
	*(uint32_t *)(void *)((char *)base + f->offset) = (uint32_t)round(milli);
	return 0;
}

static uint32_t milli_value(const struct gt_field *f, const void *base)
{
	return *(const uint32_t *)(const void *)((const char *)base + f->offset);
}

static void milli_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	if (milli_value(f, base)) /* 0 is what was left out, and has no form */
		gt_json_num(j, f->name, milli_value(f, base) / 1000.0);
}

static bool milli_equal(const struct gt_field *f, const void *a, const void *b)
{
	return milli_value(f, a) == milli_value(f, b);
}

const struct gt_field_hooks gt_milli_hooks = { milli_read, milli_write, milli_equal };

/* ---- user ----------------------------------------------------------------------------------- */

/* As useradd and images have them; '.' and '-' not first. Writes a number in its shortest form. */
static bool user_part(const char *text, size_t len, char out[GT_USER_NAME_MAX + 1])
{
	uint64_t id;

	if (len == 0 || len > GT_USER_NAME_MAX || text[0] == '-' || text[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr("_.-", text[i]))
			return false;
	memcpy(out, text, len);
	out[len] = '\0';
	if (strspn(out, "0123456789") != len)
		return true;
	if (gt_parse_u64(out, GT_USER_ID_MAX, &id) < 0)
		return false;
	snprintf(out, GT_USER_NAME_MAX + 1, "%u", (unsigned)id);
	return true;
}

static int user_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	char user[GT_USER_NAME_MAX + 1], group[GT_USER_NAME_MAX + 1];
	struct gt_spec *spec = base;
	const char *text = NULL;
	int r = json_is_string(js)
			? gt_field_text(js, at, GT_TEXT_MAX, &text, err)
			: gt_field_refuse_type(at, js, "a string such as \"1000:1000\"", err);

	(void)f;
	if (r < 0)
		return r;
	size_t len = strcspn(text, ":");
	bool has_group = text[len] == ':';
	bool ok = user_part(text, len, user);

	if (has_group)
		ok = ok && user_part(text + len + 1, strlen(text + len + 1), group);
	if (!ok)
		return gt_refuse_at(
			err, at,
			"\"%.100s\" is no user; write \"1000\", \"1000:1000\", \"name\" or"
			" \"name:group\", with numbers up to %d and names of the image",
			text, GT_USER_ID_MAX);
	if (has_group)
		spec->user = gt_asprintf("%s:%s", user, group);
	else if (user[strspn(user, "0123456789")] == '\0')
		spec->user = gt_asprintf("%s:%s", user, user);
	else
		spec->user = gt_strdup(user);
	return 0;
}

static void user_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_spec *spec = base;

	if (spec->user)
		gt_json_str(j, f->name, spec->user);
}

static bool user_equal(const struct gt_field *f, const void *a, const void *b)
{
	const struct gt_spec *x = a, *y = b;

	(void)f;
	return gt_streq(x->user, y->user);
}

const struct gt_field_hooks gt_user_hooks = { user_read, user_write, user_equal };

/* ---- env ------------------------------------------------------------------------------------ */

static int env_value(const json_t *js, const struct gt_at *at, const char **ret, struct gt_err *err)
{
	if (json_is_number(js) || json_is_boolean(js))
		return gt_field_refuse_type(at, js, "the value in quotes, as a string", err);
	return gt_field_text(js, at, GT_ENV_VALUE_MAX, ret, err);
}

static int env_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err)
{
	struct gt_spec *spec = base;
	const char *name;
	json_t *value;

	(void)f;
	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object such as {\"NAME\": \"value\"}", err);
	size_t n = json_object_size(js);

	if (n > GT_ENV_MAX)
		return gt_refuse_at(err, at, "%zu variables are too many; the limit is %d", n,
				    GT_ENV_MAX);
	spec->env = n ? gt_alloc_array(n, sizeof(*spec->env)) : NULL;
	json_object_foreach((json_t *)js, name, value)
	{
		struct gt_at here = { .up = at, .name = name };
		const char *text = NULL;

		if (strlen(name) > GT_TEXT_MAX)
			return gt_refuse_at(err, at, "a name has %zu bytes; the limit is %d",
					    strlen(name), GT_TEXT_MAX);
		int r = env_value(value, &here, &text, err);

		if (r < 0)
			return r;
		spec->env[spec->n_env++] = (struct gt_env){ .name = gt_strdup(name),
							    .value = gt_strdup(text) };
	}
	return 0;
}

static void env_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_spec *spec = base;

	gt_json_object(j, f->name);
	for (size_t i = 0; i < spec->n_env; i++)
		gt_json_str(j, spec->env[i].name, spec->env[i].value);
	gt_json_close(j, '}');
}

static bool env_equal(const struct gt_field *f, const void *a, const void *b)
{
	const struct gt_spec *x = a, *y = b;

	(void)f;
	if (x->n_env != y->n_env)
		return false;
	for (size_t i = 0; i < x->n_env; i++)
		if (strcmp(x->env[i].name, y->env[i].name) != 0 ||
		    strcmp(x->env[i].value, y->env[i].value) != 0)
			return false;
	return true;
}

const struct gt_field_hooks gt_env_hooks = { env_read, env_write, env_equal };

/* ---- scale.concurrency ---------------------------------------------------------------------- */

static int concurrency_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			    void *base, struct gt_err *err)
{
	struct gt_spec *spec = base;
	int64_t both = 0;
	int r;

	if (json_is_integer(js)) {
		r = gt_field_whole(js, at, 1, GT_CONCURRENCY_MAX, &both, err);
		if (r == 0)
			spec->scale.target = spec->scale.concurrency = (uint32_t)both;
		return r;
	}
	if (!json_is_object(js))
		return gt_field_refuse_type(at, js,
					    "a whole number, or {\"target\": 8, \"max\": 16}", err);
	r = gt_fields_read(f->sub, js, at, base, err);
	if (r < 0)
		return r;
	if (!json_object_get(js, "target"))
		spec->scale.target = spec->scale.concurrency;
	else if (!json_object_get(js, "max"))
		spec->scale.concurrency = spec->scale.target;
	return 0;
}

static void concurrency_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_spec *spec = base;

	if (spec->scale.target == spec->scale.concurrency)
		gt_json_u64(j, f->name, spec->scale.target);
	else
		gt_fields_write(f->sub, j, f->name, base, NULL, true);
}

static bool concurrency_equal(const struct gt_field *f, const void *a, const void *b)
{
	return gt_fields_equal(f->sub, a, b);
}

const struct gt_field_hooks gt_concurrency_hooks = { concurrency_read, concurrency_write,
						     concurrency_equal };

/* ---- park ----------------------------------------------------------------------------------- */

/* Who writes the member wants it, so that its method is auto where none is named. */
static int park_read(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		     struct gt_err *err)
{
	if (!json_is_object(js))
		return gt_field_refuse_type(at, js, "an object such as {\"method\": \"auto\"}",
					    err);
	((struct gt_spec *)base)->park.method = GT_PARK_AUTO;
	return gt_fields_read(f->sub, js, at, base, err);
}

/* `stop` is what was left out, and shown only where all is. */
static void park_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	static const struct gt_spec defaults = { .park = { .after_ms = GT_DEFAULT_PARK_MS } };

	gt_fields_write(f->sub, j, f->name, base, &defaults,
			((const struct gt_spec *)base)->park.method == GT_PARK_STOP);
}

static bool park_equal(const struct gt_field *f, const void *a, const void *b)
{
	return gt_fields_equal(f->sub, a, b);
}

const struct gt_field_hooks gt_park_hooks = { park_read, park_write, park_equal };

/* ---- retry.on ------------------------------------------------------------------------------- */

static int retry_on_one(const json_t *js, const struct gt_at *at, uint32_t *ret, struct gt_err *err)
{
	const char *text = NULL;
	int r = gt_field_text(js, at, GT_TEXT_MAX, &text, err);

	for (unsigned on = 0; r == 0 && on < GT_RETRY_N; on++)
		if (strcmp(text, gt_retry_on_name(on)) == 0) {
			*ret |= 1U << on;
			return 0;
		}
	return r < 0 ? r
		     : gt_refuse_at(
			       err, at,
			       "\"%.40s\" is nothing to retry on; use crash, timeout, 408, 425, "
			       "429, 500, 502, 503 or 504",
			       text);
}

static int retry_on_read(const struct gt_field *f, const json_t *js, const struct gt_at *at,
			 void *base, struct gt_err *err)
{
	struct gt_spec *spec = base;
	uint32_t on = 0;
	int r = 0;

	(void)f;
	if (!json_is_array(js))
		return gt_field_refuse_type(at, js, "an array such as [\"crash\", \"503\"]", err);
	for (size_t i = 0; i < json_array_size(js) && r == 0; i++) {
		const struct gt_at item = { .up = at, .index = i };

		r = retry_on_one(json_array_get(js, i), &item, &on, err);
	}
	if (r == 0)
		spec->retry.on = on;
	return r;
}

static void retry_on_write(struct gt_json *j, const struct gt_field *f, const void *base)
{
	const struct gt_spec *spec = base;

	gt_json_array(j, f->name);
	for (unsigned on = 0; on < GT_RETRY_N; on++)
		if (spec->retry.on & 1U << on)
			gt_json_str(j, NULL, gt_retry_on_name(on));
	gt_json_close(j, ']');
}

static bool retry_on_equal(const struct gt_field *f, const void *a, const void *b)
{
	const struct gt_spec *x = a, *y = b;

	(void)f;
	return x->retry.on == y->retry.on;
}

const struct gt_field_hooks gt_retry_on_hooks = { retry_on_read, retry_on_write, retry_on_equal };
