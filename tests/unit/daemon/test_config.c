#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/agent/agent.h>
#include <gantry/base/cleanup.h>

#include <gantry/model/spec.h>

#include "config.h"

static char path[] = "/tmp/gantry-config-XXXXXX";

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int read_text(struct gt_config *c, const char *text, struct gt_err *err)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	gt_config_defaults(c);
	return gt_config_read(c, path, err);
}

static void a_file_that_can_not_be_read_is_no_empty_one(void **state)
{
	struct gt_config c;
	struct gt_err err = { 0 };

	(void)state;
	gt_config_defaults(&c);
	assert_int_equal(gt_config_read(&c, "/", &err), -EISDIR);
	assert_non_null(strstr(err.text, "/: "));
}

static void a_file_sets_what_it_names(void **state)
{
	struct gt_config c;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(read_text(&c,
				   "# a comment\n\n[gateway]\ndrain = 5s\n[agent]\n"
				   "  allow_host_image = no \nnode=gpu-1\nimage_extract = "
				   "always\ngpus=sim:2x80GiB:H100\nlabels = zone=a,rack=7\n"
				   "[daemon]\nlog_level=warn\n",
				   &err),
			 0);
	assert_int_equal(c.drain_ms, 5000);
	assert_false(c.allow_host_image);
	assert_string_equal(c.node, "gpu-1");
	assert_string_equal(c.gpus, "sim:2x80GiB:H100");
	assert_string_equal(c.labels, "zone=a,rack=7");
	assert_int_equal(gt_config_check_node(&c, &err), 0);
	assert_int_equal(c.image_extract, GT_EXTRACT_ALWAYS);
	assert_int_equal(c.log_level, GT_WARN);
	assert_int_equal(c.max_connections, 10000);
	assert_int_equal(c.threads, 1);
}

static void a_node_without_a_name_has_the_host_s(void **state)
{
	struct gt_config c;
	struct gt_err err = { 0 };

	(void)state;
	gt_config_defaults(&c);
	gt_config_node_default(&c);
	assert_true(gt_name_ok(c.node));
	assert_int_equal(read_text(&c, "[agent]\nnode=gpu-1\n", &err), 0);
	gt_config_node_default(&c);
	assert_string_equal(c.node, "gpu-1");
}

static void a_mistake_is_named_with_its_line_and_changes_nothing(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "[gateway]\ndrian = 5s\n",
		  "2: unknown key \"drian\" in [gateway]; did you mean \"drain\"?" },
		{ "[gatway]\ndrain = 5s\n", "no section [gatway]" },
		{ "[gateway]\ndrain = 5\n", "is no duration" },
		{ "[agent]\nallow_host_image = maybe\n", "neither yes nor no" },
		{ "[agent]\nimage_extract = often\n", "none of no, yes, always" },
		{ "[agent]\npool = 9999\n", "from 0 to 64" },
		{ "[gateway]\nthreads = 17\n", "from 0 to 16" },
		{ "[daemon]\nlog_level = loud\n", "none of debug" },
		{ "[daemon\n", "no [section]" },
		{ "[agent]\nallow_host_networ = yes\n", "did you mean \"allow_host_network\"?" },
		{ "[daemon]\nlisten\n", "no key = value" },
		{ "drain = 5s\n", "no section []" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		struct gt_config c, fresh;
		struct gt_err err = { 0 };

		assert_int_equal(read_text(&c, cases[i].text, &err), -EINVAL);
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
		gt_config_defaults(&fresh);
		assert_memory_equal(&c, &fresh, sizeof(c));
	}
}

static void a_node_that_can_not_be_is_refused(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "node = a_b\n", "node: \"a_b\" is no name" },
		{ "gpu_reset = reset.sh\n", "gpu_reset: \"reset.sh\" must be an absolute path" },
		{ "gpus = nvidia0\n", "gpus: \"nvidia0\" is no source of GPUs" },
		{ "gpus = sim:4\n", "gpus: sim: \"4\": there is no count" },
		{ "labels = zone\n", "labels: \"zone\" is no label; write key=value" },
		{ "labels = a=1,a=2\n", "labels: \"a\" is given twice" },
		{ "subid_base = 1\n", "subid_base: 1 would give" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(free) char *text = gt_asprintf("[agent]\n%s", cases[i].text);
		struct gt_err err = { 0 };
		struct gt_config c;

		assert_int_equal(read_text(&c, text, &err), 0);
		assert_int_equal(gt_config_check_node(&c, &err), -EINVAL);
		assert_string_equal(err.slug, "bad_config");
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
	}
}

static void times_that_healthy_nodes_can_not_keep_are_refused(void **state)
{
	static const struct {
		const char *text, *says; /* NULL: that is fine */
	} cases[] = {
		{ "node_suspect = 1999ms\n", "node_suspect: at least 2s" },
		{ "node_suspect = 1ms\n", "node_suspect: at least 2s" },
		{ "node_suspect = 2s\nnode_lost = 2s\n", NULL },
		{ "node_suspect = 0s\nnode_lost = 2s\n", NULL },
		{ "node_lost = 0s\n", "node_lost: at least 2s" },
		{ "node_suspect = 0s\nnode_lost = 1s\n", "node_lost: at least 2s" },
		{ "node_suspect = 5s\nnode_lost = 4s\n", "not below node_suspect" },
		{ "lease = 1s\n", "lease: at least 2s" },
		{ "node_certificate = 9s\n", "node_certificate: at least 10s" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(free) char *text = gt_asprintf("[control]\n%s", cases[i].text);
		struct gt_err err = { 0 };
		struct gt_config c;

		assert_int_equal(read_text(&c, text, &err), 0);
		assert_int_equal(gt_config_check_control(&c, &err), cases[i].says ? -EINVAL : 0);
		if (cases[i].says && !strstr(err.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
	}
}

static void what_is_packed_for_a_role_is_what_it_unpacks(void **state)
{
	struct gt_config c, back;
	struct gt_err err = { 0 };
	char text[8192];

	(void)state;
	gt_config_defaults(&c);
	c.drain_ms = 1234;
	c.allow_host_image = false;
	c.allow_host_network = true;
	gt_strcopy(c.egress_block, sizeof(c.egress_block), "10.0.0.0/8, fd00::/8");
	c.log_level = GT_ERROR;
	gt_strcopy(c.allow_host_paths, sizeof(c.allow_host_paths), "/srv:/opt/models");
	gt_strcopy(c.user, sizeof(c.user), "nobody");
	assert_int_equal(gt_config_pack(&c, text, sizeof(text), &err), 0);
	gt_config_defaults(&back);
	assert_int_equal(gt_config_unpack(&back, text, &err), 0);
	assert_memory_equal(&c, &back, sizeof(c));
	assert_int_equal(gt_config_pack(&c, text, 20, &err), -E2BIG);
}

static void providers_are_sections_with_a_name(void **state)
{
	struct gt_provider p;
	struct gt_config c;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(read_text(&c,
				   "[provider cheap]\nexec = /opt/hook\nmin = 1\nmax = 4\ncpu = 8\n"
				   "memory = 64GiB\ngpus = 2x80GiB:NVIDIA H100,1x24GiB:L4\n"
				   "labels = zone=a\n"
				   "[provider dear]\nurl = https://b.example/hook\nidle = 1h\n"
				   "[provider cheap]\nbackoff = 5s\n",
				   &err),
			 0);
	assert_int_equal(c.n_providers, 2);
	assert_int_equal(gt_config_check_control(&c, &err), 0);
	assert_int_equal(gt_config_provider(&c, 0, &p, &err), 0);
	assert_string_equal(p.name, "cheap");
	assert_string_equal(p.join, "https://127.0.0.1:8080"); /* of listen */
	assert_int_equal(p.backoff_ms, 5000);
	assert_int_equal(p.max, 4);
	assert_int_equal(gt_config_provider(&c, 1, &p, &err), 0);
	assert_int_equal(p.idle_ms, 3600000);
	assert_int_equal(p.max, 1);
}

static void a_provider_that_can_not_be_is_refused(void **state)
{
	static const struct {
		const char *text, *why;
	} all[] = {
		{ "[provider p]\nmax=2\n", "exec or url" },
		{ "[provider p]\nexec=/a\nurl=https://b/\n", "exec or url" },
		{ "[provider p]\nexec=hook\n", "absolute" },
		{ "[provider p]\nurl=http://b.example/\n", "url" },
		{ "[provider p]\nurl=https://user@b.example/\n", "url" },
		{ "[provider p]\nexec=/a\nmin=3\nmax=2\n", "max" },
		{ "[provider p]\nexec=/a\nmax=0\n", "max" },
		{ "[provider p]\nexec=/a\ngpus=4xH100\n", "gpus" },
		{ "[provider p]\nexec=/a\ngpus=17x1GiB:A\n", "gpus" },
		{ "[provider p]\nexec=/a\nlabels=zone\n", "labels" },
		{ "[provider p]\nexec=/a\n[daemon]\nlisten=0.0.0.0:80\n", "join" },
		{ "[provider p]\nexec=/a\njoin=http://a:1\n", "join" },
		{ "[provider p]\nexec=/a\nstart_timeout=0s\n", "start_timeout" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(all); i++) {
		struct gt_config c;
		struct gt_err err = { 0 };

		assert_int_equal(read_text(&c, all[i].text, &err), 0);
		assert_true(gt_config_check_control(&c, &err) < 0);
		if (!strstr(err.text, all[i].why) || !strstr(err.text, "[provider p]"))
			fail_msg("%s: %s", all[i].text, err.text);
	}
	struct gt_config c;
	struct gt_err err = { 0 };

	assert_true(read_text(&c, "[provider P]\nexec=/a\n", &err) < 0);
	assert_true(read_text(&c, "[provider]\nexec=/a\n", &err) < 0);
	assert_true(read_text(&c, "[provider p]\nexce=/a\n", &err) < 0);
	assert_non_null(strstr(err.text, "did you mean \"exec\""));
}

/* docs/operating.md has a row for each key: "| agent | `pool` | `2` | ...". Each default that a row
 * names is read back and must be what is in force without a file. */
static void the_page_for_operators_is_right(void **state)
{
	struct gt_config c, fresh;
	struct gt_err err = { 0 };
	char line[1024], section[16], key[32], value[64], ini[160];
	char packed[GT_CONFIG_PACKED];
	size_t rows = 0, keys = 0;
	FILE *f = fopen("docs/operating.md", "r");

	(void)state;
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		int n = sscanf(line, "| %15[a-z] | `%31[a-z0-9_]` | `%63[^`]`", section, key,
			       value);

		if (n < 2)
			continue;
		rows++;
		gt_config_defaults(&c);
		gt_config_defaults(&fresh);
		/* Of a provider there is none by default: one is named by a key that says nothing.
		 */
		assert_int_equal(gt_config_unpack(&fresh, "[provider p]\nexec =\n", &err), 0);
		snprintf(ini, sizeof(ini), "[provider p]\nexec =\n[%s%s]\n%s = %s\n", section,
			 gt_streq(section, "provider") ? " p" : "", key, n == 3 ? value : "");
		if (gt_config_unpack(&c, ini, &err) < 0)
			fail_msg("docs/operating.md: %s: %s", key, err.text);
		if (memcmp(&c, &fresh, sizeof(c)) != 0)
			fail_msg("docs/operating.md: %s is not %s by default", key, value);
	}
	fclose(f);
	assert_int_equal(gt_config_pack(&fresh, packed, sizeof(packed), &err), 0);
	for (const char *p = packed; (p = strchr(p, '=')); p++)
		keys++;
	assert_int_equal(rows, keys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_can_not_be_read_is_no_empty_one),
		cmocka_unit_test(a_file_sets_what_it_names),
		cmocka_unit_test(a_node_without_a_name_has_the_host_s),
		cmocka_unit_test(a_mistake_is_named_with_its_line_and_changes_nothing),
		cmocka_unit_test(a_node_that_can_not_be_is_refused),
		cmocka_unit_test(times_that_healthy_nodes_can_not_keep_are_refused),
		cmocka_unit_test(what_is_packed_for_a_role_is_what_it_unpacks),
		cmocka_unit_test(providers_are_sections_with_a_name),
		cmocka_unit_test(a_provider_that_can_not_be_is_refused),
		cmocka_unit_test(the_page_for_operators_is_right),
	};
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
