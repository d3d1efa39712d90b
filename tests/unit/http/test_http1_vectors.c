/* Every request of tests/data/http-vectors.json gets its stated verdict, however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/http/http1.h>

/* Feeds one piece; returns true while the message goes on. */
static bool feed(struct gt_h1 *h, const char *data, size_t len, struct gt_buf *log)
{
	for (;;) {
		struct gt_h1_body body;
		size_t used;
		enum gt_h1_event ev = gt_h1_feed(h, data, len, &used, &body);

		data += used;
		len -= used;
		if (ev == GT_H1_MORE)
			return true;
		if (ev == GT_H1_DATA)
			gt_buf_add(log, body.data, body.len);
		if (ev == GT_H1_HEAD)
			gt_buf_addf(log, "[head %u %d]", h->n_fields, h->framing);
		if (ev == GT_H1_END)
			gt_buf_addf(log, "[end, %zu left]", len);
		if (ev == GT_H1_BAD)
			gt_buf_addf(log, "[bad %s %s]", h->slug, h->why);
		if (ev == GT_H1_END || ev == GT_H1_BAD)
			return false;
	}
}

/* The whole story of the bytes cut at `cut` (SIZE_MAX: after every byte). */
static char *story(const char *data, size_t len, size_t cut)
{
	struct gt_h1 h;
	struct gt_buf log;
	bool more = true;

	gt_h1_init(&h, GT_H1_REQUEST);
	gt_buf_init(&log, 0);
	if (cut == SIZE_MAX) {
		for (size_t i = 0; i < len && more; i++)
			more = feed(&h, data + i, 1, &log);
	} else {
		more = feed(&h, data, cut, &log);
		if (more)
			feed(&h, data + cut, len - cut, &log);
	}
	gt_h1_fini(&h);
	return gt_buf_steal(&log);
}

/* JSON text is UTF-8; the vectors mean bytes. */
static size_t latin1(const char *utf8, size_t n, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)utf8[i];

		if (c >= 0xc0 && i + 1 < n)
			out[len++] = (char)((c & 3) << 6 | (utf8[++i] & 0x3f));
		else
			out[len++] = (char)c;
	}
	return len;
}

static void check_vector(const char *name, const char *data, size_t len, bool accept)
{
	char *whole = story(data, len, len);
	bool bad = strstr(whole, "[bad ") != NULL;
	bool end = strstr(whole, "[end, 0 left]") != NULL;

	if (accept ? bad || !end : !bad)
		fail_msg("%s: %s", name, whole);
	for (size_t cut = 0; cut <= len; cut++) {
		char *cut_story = story(data, len, cut ? cut : SIZE_MAX);
		/* Bytes left over depend on the cut, the rest must not. */
		bool same = bad ? !strcmp(whole, cut_story)
				: !strncmp(whole, cut_story, strlen(whole) - strlen("0 left]"));

		if (!same)
			fail_msg("%s, cut at %zu: %s, whole: %s", name, cut, cut_story, whole);
		free(cut_story);
	}
	free(whole);
}

static void test_vectors(void **state)
{
	(void)state;
	json_error_t err;
	json_t *doc = json_load_file("tests/data/http-vectors.json", JSON_ALLOW_NUL, &err), *v;
	size_t i;

	assert_non_null(doc);
	assert_true(json_array_size(json_object_get(doc, "vectors")) >= 200);
	json_array_foreach(json_object_get(doc, "vectors"), i, v)
	{
		json_t *request = json_object_get(v, "request");
		const char *verdict = json_string_value(json_object_get(v, "verdict"));
		char data[1024];
		size_t n = json_string_length(request);

		assert_true(n <= sizeof(data));
		n = latin1(json_string_value(request), n, data);
		check_vector(json_string_value(json_object_get(v, "name")), data, n,
			     !strncmp(verdict, "accept", 6));
	}
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };

	return cmocka_run_group_tests_name("http1_vectors", tests, NULL, NULL);
}
