/* yaml.c - libyaml's events to jansson's values, within bounds. */
#include "yaml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include <gantry/model/limits.h>

#include "refuse.h"

#define EVENTS_MAX 100000

struct level {
	json_t *value; /* borrowed, but for the top */
	char *key;     /* of a mapping, when its value is to come */
};

struct builder {
	struct level levels[GT_JSON_DEPTH_MAX];
	size_t depth;
	json_t *top;
};

static void builder_fini(struct builder *b)
{
	while (b->depth > 0)
		free(b->levels[--b->depth].key);
	json_decref(b->top);
}

static int refuse_line(const yaml_mark_t *at, const char *why, struct gt_err *err)
{
	gt_err_set(err, EINVAL, "malformed_json", "line %zu: %s", at->line + 1, why);
	gt_err_printable(err);
	return -EINVAL;
}

/* Takes the value. */
static int put(struct builder *b, json_t *value, const yaml_mark_t *at, struct gt_err *err)
{
	struct level *l = b->depth > 0 ? &b->levels[b->depth - 1] : NULL;
	int r = 0;

	if (!value)
		return refuse_line(at, "this text is no UTF-8", err);
	if (!l) {
		b->top = value;
		return 0;
	}
	if (json_is_array(l->value)) {
		r = json_array_append_new(l->value, value);
	} else {
		if (json_object_get(l->value, l->key)) {
			json_decref(value);
			return refuse_line(at, "this key is given twice; keep one", err);
		}
		r = json_object_set_new(l->value, l->key, value);
		free(gt_steal(&l->key));
	}
	return r < 0 ? refuse_line(at, "this can not be kept", err) : 0;
}

/* The next scalar is a key. */
static bool wants_key(const struct builder *b)
{
	return b->depth > 0 && json_is_object(b->levels[b->depth - 1].value) &&
	       !b->levels[b->depth - 1].key;
}

static bool is_word(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* -?(0|[1-9][0-9]*), of at most 18 digits. */
static bool is_whole(const char *text, size_t len)
{
	size_t i = len > 0 && text[0] == '-';

	if (len - i == 0 || len - i > 18 || (text[i] == '0' && len - i > 1))
		return false;
	for (; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
	}
	return true;
}

static json_t *scalar(const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;

	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return json_stringn(text, len);
	if (len == 0 || is_word(text, len, "~") || is_word(text, len, "null"))
		return json_null();
	if (is_word(text, len, "true") || is_word(text, len, "false"))
		return json_boolean(text[0] == 't');
	if (is_whole(text, len))
		return json_integer(strtoll(text, NULL, 10));
	return json_stringn(text, len);
}

static int add_scalar(struct builder *b, const yaml_event_t *e, struct gt_err *err)
{
	const char *text = (const char *)e->data.scalar.value;

	if (e->data.scalar.anchor || e->data.scalar.tag)
		return refuse_line(&e->start_mark, "anchors and tags are not read", err);
	if (!wants_key(b))
		return put(b, scalar(e), &e->start_mark, err);
	if (memchr(text, '\0', e->data.scalar.length))
		return refuse_line(&e->start_mark, "a key has a NUL character", err);
	b->levels[b->depth - 1].key = gt_strndup(text, e->data.scalar.length);
	return 0;
}

static int open_level(struct builder *b, json_t *value, bool marked, const yaml_mark_t *at,
		      struct gt_err *err)
{
	const char *why = marked                          ? "anchors and tags are not read"
			  : wants_key(b)                  ? "a key is a text"
			  : b->depth == GT_JSON_DEPTH_MAX ? "nested too deep"
							  : NULL;
	int r;

	if (why) {
		json_decref(value);
		return refuse_line(at, why, err);
	}
	r = put(b, value, at, err);
	if (r == 0)
		b->levels[b->depth++] = (struct level){ .value = value };
	return r;
}

static int take(struct builder *b, const yaml_event_t *e, struct gt_err *err)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		return b->top ? refuse_line(&e->start_mark, "a second document", err) : 0;
	case YAML_ALIAS_EVENT:
		return refuse_line(&e->start_mark, "aliases are not read", err);
	case YAML_SCALAR_EVENT:
		return add_scalar(b, e, err);
	case YAML_SEQUENCE_START_EVENT:
		return open_level(b, json_array(),
				  e->data.sequence_start.anchor || e->data.sequence_start.tag,
				  &e->start_mark, err);
	case YAML_MAPPING_START_EVENT:
		return open_level(b, json_object(),
				  e->data.mapping_start.anchor || e->data.mapping_start.tag,
				  &e->start_mark, err);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		return 0;
	default:
		return 0;
	}
}

static int build(yaml_parser_t *p, struct builder *b, struct gt_err *err)
{
	bool more = true;
	yaml_event_t e;
	int r = 0;

	for (size_t n = 0; r == 0 && more; n++) {
		if (!yaml_parser_parse(p, &e))
			return refuse_line(&p->problem_mark, p->problem ? p->problem : "no YAML",
					   err);
		r = n < EVENTS_MAX ? take(b, &e, err)
				   : refuse_line(&e.start_mark, "too many values", err);
		more = e.type != YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	return r;
}

int gt_yaml_parse(const char *text, size_t len, size_t max, json_t **ret, struct gt_err *err)
{
	struct builder b = { .depth = 0 };
	yaml_parser_t p;
	int r;

	if (len > max)
		return gt_err_set(err, EMSGSIZE, "body_too_large",
				  "the document has %zu bytes; the limit is %zu", len, max);
	if (!yaml_parser_initialize(&p))
		return gt_err_set(err, ENOMEM, "internal", "YAML: out of memory");
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	r = build(&p, &b, err);
	yaml_parser_delete(&p);
	if (r == 0 && !json_is_object(b.top))
		r = gt_refuse(err, "", "the document is no mapping");
	if (r == 0)
		*ret = gt_steal(&b.top);
	builder_fini(&b);
	return r;
}
