/* test_docs.c - what is written about specifications holds: the examples in docs/functions.md are
 * accepted, docs/schema/function.json and the tables have the same members, and docs/functions.md
 * explains each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <gantry/wire/wire.h>

#include "doc.h"
#include "spec_fields.h"

#define GUIDE  "docs/functions.md"
#define SCHEMA "docs/schema/function.json"

struct names {
	char text[128][64];
	size_t n;
};

static void names_add(struct names *names, const char *up, const char *name)
{
	assert_true(names->n < GT_LEN(names->text));
	snprintf(names->text[names->n++], sizeof(names->text[0]), "%s%s%s", up, *up ? "." : "",
		 name);
}

static bool names_has(const struct names *names, const char *text)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->text[i], text) == 0)
			return true;
	return false;
}

static void names_of_table(const struct gt_fields *fields, const char *up, struct names *ret)
{
	for (size_t i = 0; i < fields->n; i++) {
		const struct gt_field *f = &fields->rows[i];
		char here[64];

		if (f->type == GT_F_LATER)
			continue;
		names_add(ret, up, f->name);
		gt_strcopy(here, sizeof(here), ret->text[ret->n - 1]);
		if (f->type == GT_F_LIST)
			snprintf(here, sizeof(here), "%s[]", ret->text[ret->n - 1]);
		if (f->sub)
			names_of_table(f->sub, here, ret);
	}
}

static void names_of_schema(const json_t *schema, const char *up, struct names *ret)
{
	const char *name;
	json_t *value;
	size_t i;

	json_object_foreach(json_object_get(schema, "properties"), name, value)
	{
		names_add(ret, up, name);
		char here[64];

		gt_strcopy(here, sizeof(here), ret->text[ret->n - 1]);
		names_of_schema(value, here, ret);
	}
	json_array_foreach(json_object_get(schema, "oneOf"), i, value)
		names_of_schema(value, up, ret);
	if (json_object_get(schema, "items")) {
		char here[64];

		snprintf(here, sizeof(here), "%.60s[]", up);
		names_of_schema(json_object_get(schema, "items"), here, ret);
	}
}

static void read_all(const char *path, struct gt_buf *ret)
{
	gt_auto(file) FILE *f = fopen(path, "re");
	char block[4096];
	size_t n;

	assert_non_null(f);
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		assert_int_equal(gt_buf_add(ret, block, n), 0);
}

static void the_schema_has_the_members_of_the_tables(void **state)
{
	(void)state;
	gt_auto(doc) json_t *schema = json_load_file(SCHEMA, JSON_REJECT_DUPLICATES, NULL);
	struct names table = { 0 }, written = { 0 };

	assert_non_null(schema);
	names_of_table(&gt_spec_fields, "", &table);
	names_of_schema(schema, "", &written);
	assert_true(table.n >= 40);
	for (size_t i = 0; i < table.n; i++)
		if (!names_has(&written, table.text[i]))
			fail_msg("%s: %s is missing", SCHEMA, table.text[i]);
	for (size_t i = 0; i < written.n; i++)
		if (!names_has(&table, written.text[i]))
			fail_msg("%s: %s is in no table", SCHEMA, written.text[i]);
}

/* In one object: the bounds of whole numbers and of counts. */
static void check_bounds(const struct gt_fields *fields, const json_t *properties)
{
	for (size_t i = 0; i < fields->n; i++) {
		const struct gt_field *f = &fields->rows[i];
		const json_t *js = json_object_get(properties, f->name);
		bool whole = f->type == GT_F_U16 || f->type == GT_F_U32;
		bool counted = f->type == GT_F_STRS || f->type == GT_F_LIST;

		if (whole) {
			assert_int_equal(json_integer_value(json_object_get(js, "minimum")),
					 f->min);
			assert_int_equal(json_integer_value(json_object_get(js, "maximum")),
					 f->max);
		}
		if (counted)
			assert_int_equal(json_integer_value(json_object_get(js, "maxItems")),
					 f->max);
		if (f->type == GT_F_OBJECT)
			check_bounds(f->sub, json_object_get(js, "properties"));
	}
}

static void the_schema_has_the_bounds_of_the_tables(void **state)
{
	(void)state;
	gt_auto(doc) json_t *schema = json_load_file(SCHEMA, 0, NULL);

	check_bounds(&gt_spec_fields, json_object_get(schema, "properties"));
}

/* The schema's defaults, put together as a specification, are the defaults. */
static void gather_defaults(const json_t *schema, json_t *ret)
{
	const char *name;
	json_t *value;

	json_object_foreach(json_object_get(schema, "properties"), name, value)
	{
		if (json_object_get(value, "default")) {
			json_object_set(ret, name, json_object_get(value, "default"));
		} else if (json_object_get(value, "properties")) {
			json_t *sub = json_object();

			gather_defaults(value, sub);
			json_object_set_new(ret, name, sub);
		}
	}
}

static void the_schema_has_the_defaults_of_the_model(void **state)
{
	(void)state;
	static const char base[] = "{\"image\":\"host:\",\"command\":[\"/a\"],\"port\":1}";
	gt_auto(doc) json_t *schema = json_load_file(SCHEMA, 0, NULL), *js = json_object();
	gt_auto(doc) json_t *needed = json_loads(base, 0, NULL), *effective = NULL;
	gt_auto(spec) struct gt_spec *spec = NULL;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_err err = { 0 };

	assert_int_equal(gt_spec_read(base, strlen(base), &spec, &err), 0);
	gt_spec_write_effective(spec, &out);
	effective = json_loads(gt_buf_str(&out), 0, NULL);
	gather_defaults(schema, js);
	json_object_update(js, needed);
	if (!json_equal(js, effective))
		fail_msg("effective %s\nschema    %s", gt_buf_str(&out), json_dumps(js, 0));
}

static void the_examples_of_the_guide_are_accepted(void **state)
{
	(void)state;
	gt_auto(buf) struct gt_buf guide = { 0 };
	size_t n = 0;

	read_all(GUIDE, &guide);
	for (char *p = gt_buf_str(&guide); (p = strstr(p, "```json\n"));) {
		char *first = p + strlen("```json\n"), *last = strstr(first, "\n```");
		gt_auto(spec) struct gt_spec *spec = NULL;
		struct gt_err err = { 0 };

		assert_non_null(last);
		p = last + strlen("\n```");
		if (!memmem(first, (size_t)(last - first), "\"image\"", strlen("\"image\"")))
			continue;
		if (gt_spec_read(first, (size_t)(last - first), &spec, &err) < 0)
			fail_msg("%s: %s\n%.*s", GUIDE, err.text, (int)(last - first), first);
		n++;
	}
	assert_true(n >= 2);
}

static void the_guide_explains_every_member(void **state)
{
	(void)state;
	static const char *const groups[] = { "ready",         "resources", "resources.io",
					      "placement",     "scale",     "limits",
					      "affinity",      "serves",    "weights",
					      "park",          "park.http", "retry",
					      "retry.backoff", "disconnect" };
	gt_auto(buf) struct gt_buf guide = { 0 };
	struct names table = { 0 };

	read_all(GUIDE, &guide);
	names_of_table(&gt_spec_fields, "", &table);
	for (size_t i = 0; i < table.n; i++) {
		char row[80];
		bool group = false;

		for (size_t k = 0; k < GT_LEN(groups); k++)
			group |= strcmp(table.text[i], groups[k]) == 0;
		snprintf(row, sizeof(row), "\n| `%s` |", table.text[i]);
		if (!group && !strstr(gt_buf_str(&guide), row))
			fail_msg("%s: %s has no row", GUIDE, table.text[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_schema_has_the_members_of_the_tables),
		cmocka_unit_test(the_schema_has_the_bounds_of_the_tables),
		cmocka_unit_test(the_schema_has_the_defaults_of_the_model),
		cmocka_unit_test(the_examples_of_the_guide_are_accepted),
		cmocka_unit_test(the_guide_explains_every_member),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
