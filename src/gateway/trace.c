/* trace.c - traceparent and tracestate, read strictly: what is not as the recommendation writes it
 * is not passed on. */
#include "trace.h"

#include <stdio.h>
#include <string.h>

#define ID_LEN      32
#define SPAN_LEN    16
#define PARENT_LEN  (GT_TRACE_PARENT_SIZE - 1)
#define ID_AT       3
#define SPAN_AT     36
#define FLAGS_AT    53
#define MEMBERS_MAX 32
#define PART_MAX    256 /* a key, a value */

static bool hex(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
	return true;
}

static bool zero(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] != '0')
			return false;
	return true;
}

/* "00-<trace>-<span>-<flags>"; a later version may have more behind it. */
static bool parent_ok(const char *s, size_t len)
{
	if (len < PARENT_LEN || s[2] != '-' || s[35] != '-' || s[52] != '-')
		return false;
	if (!hex(s, 2) || !memcmp(s, "ff", 2) || !hex(s + ID_AT, ID_LEN) ||
	    !hex(s + SPAN_AT, SPAN_LEN) || !hex(s + FLAGS_AT, 2))
		return false;
	if (zero(s + ID_AT, ID_LEN) || zero(s + SPAN_AT, SPAN_LEN))
		return false;
	return len == PARENT_LEN || (memcmp(s, "00", 2) != 0 && s[PARENT_LEN] == '-');
}

/* The one field of this name; NULL when there is none or more than one. */
static const struct gt_h1_field *only(const struct gt_h1 *req, enum gt_h1_name name)
{
	const struct gt_h1_field *found = NULL;

	for (size_t i = 0; i < req->n_fields; i++) {
		if (req->fields[i].id != name)
			continue;
		if (found)
			return NULL;
		found = &req->fields[i];
	}
	return found;
}

/* ---- tracestate ---- */

struct key {
	const char *at;
	size_t len;
};

static bool key_ok(const char *s, size_t len)
{
	if (!len || len > PART_MAX || !strchr("abcdefghijklmnopqrstuvwxyz0123456789", s[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!memchr("abcdefghijklmnopqrstuvwxyz0123456789_-*/@", s[i], 41))
			return false;
	return true;
}

static bool value_ok(const char *s, size_t len)
{
	if (!len || len > PART_MAX || s[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < ' ' || s[i] > '~' || s[i] == ',' || s[i] == '=')
			return false;
	return true;
}

static bool member_ok(const char *s, size_t len, struct key keys[MEMBERS_MAX], size_t *n)
{
	const char *eq = memchr(s, '=', len);
	size_t key_len = eq ? (size_t)(eq - s) : 0;

	if (!eq || *n == MEMBERS_MAX || !key_ok(s, key_len) || !value_ok(eq + 1, len - key_len - 1))
		return false;
	for (size_t i = 0; i < *n; i++)
		if (keys[i].len == key_len && !memcmp(keys[i].at, s, key_len))
			return false;
	keys[(*n)++] = (struct key){ s, key_len };
	return true;
}

static bool list_ok(const char *s, size_t len, struct key keys[MEMBERS_MAX], size_t *n)
{
	size_t at = 0;

	while (at <= len) {
		const char *comma = memchr(s + at, ',', len - at);
		size_t end = comma ? (size_t)(comma - s) : len;
		size_t from = at, to = end;

		while (from < to && (s[from] == ' ' || s[from] == '\t'))
			from++;
		while (to > from && (s[to - 1] == ' ' || s[to - 1] == '\t'))
			to--;
		if (to > from && !member_ok(s + from, to - from, keys, n)) /* empty ones may be */
			return false;
		at = end + 1;
	}
	return true;
}

/* All its fields are one list. */
static bool state_ok(const struct gt_h1 *req)
{
	struct key keys[MEMBERS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < req->n_fields; i++) {
		const struct gt_h1_field *f = &req->fields[i];

		if (f->id == GT_H1_TRACESTATE &&
		    !list_ok(gt_h1_text(req, f->value), f->value.len, keys, &n))
			return false;
	}
	return n > 0;
}

/* ---- both ---- */

static void random_hex(const struct gt_rand *rnd, char *out, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[ID_LEN / 2], any;

	do {
		any = 0;
		rnd->fill(rnd->arg, bytes, len / 2);
		for (size_t i = 0; i < len / 2; i++) {
			any |= bytes[i];
			out[2 * i] = digits[bytes[i] >> 4];
			out[2 * i + 1] = digits[bytes[i] & 15];
		}
		out[len] = '\0';
	} while (!any); /* all zero is no id */
}

void gt_trace_begin(const struct gt_h1 *req, const struct gt_rand *rnd, struct gt_trace *ret)
{
	const struct gt_h1_field *f = only(req, GT_H1_TRACEPARENT);
	const char *text = f ? gt_h1_text(req, f->value) : NULL;
	bool known = f && parent_ok(text, f->value.len);
	/* Nobody sampled yet when the trace begins here: who records leaves it to us to say so. */
	bool sampled = !known || strchr("13579bdf", text[FLAGS_AT + 1]) != NULL;
	char *p = ret->parent;

	if (known) {
		memcpy(ret->id, text + ID_AT, ID_LEN);
		ret->id[ID_LEN] = '\0';
	} else {
		random_hex(rnd, ret->id, ID_LEN);
	}
	ret->state = known && state_ok(req);
	p = stpcpy(stpcpy(stpcpy(p, "00-"), ret->id), "-");
	random_hex(rnd, p, SPAN_LEN);
	stpcpy(p + SPAN_LEN, sampled ? "-01" : "-00");
}
