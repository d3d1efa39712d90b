/* test_image.c - image records: written, read again, refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/model/limits.h>
#include <gantry/wire/image.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char full[] =
	"{\"digest\":\"sha256:" HEX "\",\"index\":\"sha256:" HEX
	"\",\"name\":\"registry.example/a:1@sha256:" HEX "\","
	"\"pulled_ms\":1700000000000,\"entrypoint\":[\"/bin/a\",\"\"],\"cmd\":[\"-x\"],"
	"\"env\":[\"A=1\",\"B=\"],\"user\":\"app:app\",\"workdir\":\"/"
	"app\",\"stop_signal\":\"SIGQUIT\","
	"\"port\":8080,\"layers\":[{\"diff_id\":\"sha256:" HEX "\",\"digest\":\"sha256:" HEX "\","
	"\"download_bytes\":12}]}";

static void a_record_is_read_and_written_the_same(void **state)
{
	gt_auto(image_record) struct gt_image_record *r = NULL;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	if (gt_image_record_read(full, strlen(full), &r, &err) < 0)
		fail_msg("%s: %s", err.path, err.text);
	assert_int_equal(r->n_entrypoint, 2);
	assert_int_equal(r->n_env, 2);
	assert_int_equal(r->port, 8080);
	assert_string_equal(r->stop_signal, "SIGQUIT");
	assert_int_equal(r->n_layers, 1);
	gt_image_record_write(r, &out);
	assert_string_equal(gt_buf_str(&out), full);
}

/* As long as an image's config may have it: name, =, value. */
static void a_long_variable_is_read(void **state)
{
	gt_auto(image_record) struct gt_image_record *r = NULL;
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_err err = { 0 };

	(void)state;
	gt_buf_adds(&text, "{\"digest\":\"sha256:" HEX "\",\"env\":[\"A=");
	for (int i = 0; i < GT_ENV_VALUE_MAX; i++)
		gt_buf_addc(&text, 'x');
	gt_buf_adds(&text, "\"]}");
	if (gt_image_record_read(text.data, text.len, &r, &err) < 0)
		fail_msg("%s: %s", err.path, err.text);
}

static void what_is_no_record_is_refused(void **state)
{
	static const struct {
		const char *text, *path;
	} rows[] = {
		{ "{}", "digest" },
		{ "{\"digest\":\"sha256:12\"}", "digest" },
		{ "{\"digest\":\"sha256:" HEX "\",\"layers\":[{}]}", "layers[0].diff_id" },
		{ "{\"digest\":\"sha256:" HEX "\",\"layers\":[{\"diff_id\":\"../../etc\"}]}",
		  "layers[0].diff_id" },
		{ "{\"digest\":\"sha256:" HEX "\",\"port\":65536}", "port" },
		{ "{\"digest\":\"sha256:" HEX "\",\"env\":[\"A\\u0000=1\"]}", "env[0]" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_image_record *r = NULL;
		struct gt_err err = { 0 };

		assert_int_equal(gt_image_record_read(rows[i].text, strlen(rows[i].text), &r, &err),
				 -EINVAL);
		assert_null(r);
		assert_string_equal(err.path, rows[i].path);
	}
}

static void what_a_newer_version_wrote_is_read(void **state)
{
	static const char text[] = "{\"digest\":\"sha256:" HEX "\",\"surprise\":1}";
	gt_auto(image_record) struct gt_image_record *r = NULL;

	(void)state;
	assert_int_equal(gt_image_record_read(text, strlen(text), &r, NULL), 0);
	assert_string_equal(r->digest, "sha256:" HEX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_read_and_written_the_same),
		cmocka_unit_test(a_long_variable_is_read),
		cmocka_unit_test(what_is_no_record_is_refused),
		cmocka_unit_test(what_a_newer_version_wrote_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
