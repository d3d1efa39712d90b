/* test_spec.c - function specifications: what is accepted and its canonical text, what is refused
 * and with which path and words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/wire/wire.h>

#include "spec_fields.h"

#define BASE    "\"image\":\"dir:/srv/app\",\"command\":[\"/echo\"],\"port\":8000"
#define WITH(x) "{" BASE "," x "}"
#define AUTO(more, paths)                                        \
	"\"volumes\":[{\"host\":\"/srv\",\"path\":\"/"           \
	"m\"}],\"resources\":{\"gpu\":{\"memory\":\"auto\"" more \
	"}},\"weights\":{\"paths\":[" paths "]}"
#define HEX      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define IMAGE(x) "{\"image\":\"" x "\",\"command\":[\"/echo\"],\"port\":8000}"

static char *canonical(const char *text)
{
	gt_auto(spec) struct gt_spec *spec = NULL;
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_err err = { 0 };

	if (gt_spec_read(text, strlen(text), &spec, &err) < 0)
		fail_msg("refused: %s\n%s", err.text, text);
	gt_spec_write(spec, &out);
	return gt_buf_steal(&out);
}

static const struct {
	const char *text, *wanted; /* NULL: the text itself */
} accepted[] = {
	{ "{" BASE "}", NULL },
	{ " {\n\t\"port\": 8000, \"command\": [\"/echo\"], \"image\": \"dir:/srv/app\" }\n",
	  "{" BASE "}" },
	{ IMAGE("host:"), NULL },
	{ IMAGE("dir:/srv/app/"), NULL }, /* as written; image_path is normalised */
	{ "{\"image\":\"registry.example/team/app\"}",
	  "{\"image\":\"registry.example/team/app:latest\"}" },
	{ IMAGE("localhost:5000/a:1@sha256:" HEX), NULL },
	{ IMAGE("bundle:sha256:" HEX), NULL },
	{ "{\"image\":\"bundle:sha256:" HEX
	  "\",\"base\":\"registry.example/a\",\"pull\":\"always\"}",
	  "{\"image\":\"bundle:sha256:" HEX
	  "\",\"base\":\"registry.example/a:latest\",\"pull\":\"always\"}" },
	{ WITH("\"workdir\":\"/\",\"env\":{},\"volumes\":[],\"tmpfs\":[],"
	       "\"network\":\"none\",\"access\":\"token\",\"ready\":{},\"resources\":{},"
	       "\"scale\":{},\"limits\":{},\"serves\":{}"),
	  "{" BASE "}" },
	{ WITH("\"resources\":{\"memory\":\"512MiB\",\"disk\":268435456,\"pids\":1024},"
	       "\"scale\":{\"min\":0,\"max\":10,\"concurrency\":16},"
	       "\"limits\":{\"queue\":1000,\"wait\":\"5m\",\"first_byte\":\"300s\",\"run\":\"0m\","
	       "\"drain\":\"30s\",\"body\":\"64MiB\",\"log\":\"16MiB\"},\"serves\":{\"openai\":[]"
	       "}"),
	  "{" BASE "}" },
	{ WITH("\"user\":\"1000\""), WITH("\"user\":\"1000:1000\"") },
	{ WITH("\"volumes\":[{\"host\":\"/srv\",\"path\":\"/"
	       "m\"}],\"resources\":{\"gpu\":{\"count\":2,"
	       "\"memory\":\"auto\",\"estimate\":{\"context\":4096,\"sequences\":4,"
	       "\"kv_dtype\":\"fp8\",\"overhead\":\"1GiB\"}}},\"weights\":{\"paths\":[\"/m/q/"
	       "*.gguf\"]}"),
	  NULL },
	{ WITH("\"resources\":{\"gpu\":{\"count\":1,\"memory\":\"10MiB\",\"estimate\":{\"terms\":{"
	       "\"weights\":\"4MiB\",\"cache\":\"3MiB\",\"activations\":\"2MiB\","
	       "\"overhead\":\"1MiB\"}}}}"),
	  NULL },
	{ WITH("\"user\":\"65535:0\""), NULL },
	{ WITH("\"user\":\"007\""), WITH("\"user\":\"7:7\"") },
	{ WITH("\"user\":\"0\""), WITH("\"user\":\"0:0\"") },
	{ WITH("\"user\":\"web\""), NULL },
	{ WITH("\"user\":\"_web.1-x:www\""), NULL },
	{ WITH("\"user\":\"web:7\""), NULL },
	{ WITH("\"user\":\"7:www\""), NULL },
	{ WITH("\"env\":{\"B\":\"\",\"A_1\":\"x=\\n\xc3\xa9\",\"_\":\"2\"}"),
	  WITH("\"env\":{\"A_1\":\"x=\\n\xc3\xa9\",\"B\":\"\",\"_\":\"2\"}") },
	{ WITH("\"volumes\":[{\"path\":\"/m\",\"readonly\":true,\"host\":\"/srv/m\"},"
	       "{\"host\":\"/srv/m\",\"path\":\"/n\",\"readonly\":false}]"),
	  WITH("\"volumes\":[{\"host\":\"/srv/m\",\"path\":\"/m\"},"
	       "{\"host\":\"/srv/m\",\"path\":\"/n\",\"readonly\":false}]") },
	{ WITH("\"tmpfs\":[{\"path\":\"/dev/shm\",\"size\":\"64MiB\"},"
	       "{\"path\":\"/t\",\"size\":65536}]"),
	  WITH("\"tmpfs\":[{\"path\":\"/dev/shm\"},{\"path\":\"/t\",\"size\":\"64KiB\"}]") },
	{ WITH("\"resources\":{\"cpu\":\"500m\"}"), WITH("\"resources\":{\"cpu\":0.5}") },
	{ WITH("\"resources\":{\"cpu\":0.01}"), NULL },
	{ WITH("\"resources\":{\"cpu\":4}"), NULL },
	{ WITH("\"resources\":{\"cpu\":4.0}"), WITH("\"resources\":{\"cpu\":4}") },
	{ WITH("\"resources\":{\"cpu\":1.001}"), NULL },
	{ WITH("\"resources\":{\"memory\":\"4MiB\"}"), NULL },
	{ WITH("\"resources\":{\"memory_high\":\"4MiB\",\"io\":{\"read_bps\":\"64KiB\"}}"), NULL },
	{ WITH("\"resources\":{\"io\":{\"write_bps\":\"1TiB\",\"read_iops\":10,"
	       "\"write_iops\":10000000}}"),
	  NULL },
	{ WITH("\"resources\":{\"io\":{}}"), "{" BASE "}" },
	{ WITH("\"resources\":{\"memory\":\"1GB\"}"),
	  WITH("\"resources\":{\"memory\":\"1000000000\"}") },
	{ WITH("\"scale\":{\"concurrency\":{\"target\":16}}"), "{" BASE "}" },
	{ WITH("\"scale\":{\"concurrency\":{\"max\":4}}"), WITH("\"scale\":{\"concurrency\":4}") },
	{ WITH("\"scale\":{\"concurrency\":{\"target\":4}}"),
	  WITH("\"scale\":{\"concurrency\":4}") },
	{ WITH("\"scale\":{\"concurrency\":{\"max\":16,\"target\":8}}"),
	  WITH("\"scale\":{\"concurrency\":{\"target\":8,\"max\":16}}") },
	{ WITH("\"scale\":{\"concurrency\":{}}"), "{" BASE "}" },
	{ WITH("\"scale\":{\"min\":1000,\"max\":1000}"), NULL },
	{ WITH("\"scale\":{\"buffer\":10,\"delay_price\":0,\"policy\":\"kpa\"}"), NULL },
	{ WITH("\"scale\":{\"buffer\":0,\"delay_price\":20,\"policy\":\"gantry\"}"), "{" BASE "}" },
	{ WITH("\"resources\":{\"devices\":[]}"), "{" BASE "}" },
	{ WITH("\"resources\":{\"devices\":[\"vendor.com/net=eth0:1\",\"v.com/x=0\"]}"), NULL },
	{ WITH("\"resources\":{\"gpu\":{}}"), WITH("\"resources\":{\"gpu\":{\"count\":1}}") },
	{ WITH("\"resources\":{\"gpu\":{\"models\":[\"H200\",\"h100 "
	       "SXM5\"],\"memory\":\"40GiB\"}}"),
	  WITH("\"resources\":{\"gpu\":{\"count\":1,\"memory\":\"40GiB\","
	       "\"models\":[\"H200\",\"h100 SXM5\"]}}") },
	{ WITH("\"resources\":{\"gpu\":{\"share\":\"500m\",\"models\":[]}}"),
	  WITH("\"resources\":{\"gpu\":{\"count\":1,\"share\":0.5}}") },
	{ WITH("\"resources\":{\"gpu\":{\"count\":64}}"), NULL },
	{ WITH("\"gpu\":\"any:1\""), WITH("\"resources\":{\"gpu\":{\"count\":1}}") },
	{ WITH("\"gpu\":\"Any\""), WITH("\"resources\":{\"gpu\":{\"count\":1}}") },
	{ WITH("\"resources\":{\"cpu\":2},\"gpu\":\"H100:8\""),
	  WITH("\"resources\":{\"cpu\":2,\"gpu\":{\"count\":8,\"models\":[\"H100\"]}}") },
	{ "{\"image\":\"dir:/srv/app\",\"command\":[\"/"
	  "x\",\"--use=${gpu.memory_fraction}\",\"${HOME}\"],"
	  "\"port\":8000,\"resources\":{\"gpu\":{\"count\":1}}}",
	  NULL },
	{ WITH("\"placement\":{\"labels\":{\"zone\":\"a\",\"example.org/rack\":\"\"}}"),
	  WITH("\"placement\":{\"labels\":{\"example.org/rack\":\"\",\"zone\":\"a\"}}") },
	{ WITH("\"placement\":{\"labels\":{}},\"isolation\":\"shared\""), "{" BASE "}" },
	{ WITH("\"isolation\":\"exclusive\""), NULL },
	{ WITH("\"ready\":{\"path\":\"/health?x=%20\",\"timeout\":\"1ms\"}"), NULL },
	{ WITH("\"access\":\"public\""), NULL },
	{ WITH("\"serves\":{\"openai\":[\"org/model:tag\",\"b\"]}"), NULL },
	{ WITH("\"idempotent\":true,\"affinity\":{\"header\":\"X-Session-Id\"}"), NULL },
	{ WITH("\"idempotent\":false,\"limits\":{\"idle\":\"1m\"},\"affinity\":{}"), "{" BASE "}" },
	{ WITH("\"weights\":{\"paths\":[],\"store\":false}"), "{" BASE "}" },
	{ WITH("\"weights\":{\"paths\":[\"/m/*.safetensors\"]}"), NULL },
	{ WITH("\"volumes\":[{\"host\":\"/srv/m\",\"path\":\"/m\"}],"
	       "\"weights\":{\"paths\":[\"/m/*.gguf\"],\"store\":true}"),
	  NULL },
	{ WITH("\"limits\":{\"idle\":\"0s\"}"), NULL },
	{ WITH("\"limits\":{\"run\":\"1500ms\",\"body\":1}"),
	  WITH("\"limits\":{\"run\":\"1500ms\",\"body\":\"1\"}") },
};

static void specs_have_one_canonical_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(accepted); i++) {
		const char *wanted = accepted[i].wanted ? accepted[i].wanted : accepted[i].text;
		gt_auto(free) char *once = canonical(accepted[i].text);
		gt_auto(free) char *twice = canonical(once);

		assert_string_equal(once, wanted);
		assert_string_equal(twice, once);
	}
}

static void the_effective_text_means_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(accepted); i++) {
		gt_auto(spec) struct gt_spec *a = NULL, *b = NULL;
		gt_auto(buf) struct gt_buf out = { 0 };
		struct gt_err err = { 0 };
		const char *text = accepted[i].text;

		assert_int_equal(gt_spec_read(text, strlen(text), &a, &err), 0);
		gt_spec_write_effective(a, &out);
		assert_non_null(strstr(gt_buf_str(&out), "\"first_byte\":"));
		if (gt_spec_read(out.data, out.len, &b, &err) < 0)
			fail_msg("refused: %s", err.text);
		assert_true(gt_fields_equal(&gt_spec_fields, a, b));
	}
}

/* What control keeps: every member, in one piece. */
static void packing_changes_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(accepted); i++) {
		gt_auto(spec) struct gt_spec *a = NULL, *b = NULL;
		struct gt_err err = { 0 };
		const char *text = accepted[i].text;

		assert_int_equal(gt_spec_read(text, strlen(text), &a, &err), 0);
		assert_int_equal(gt_spec_read(text, strlen(text), &b, &err), 0);
		b = gt_spec_pack(b);
		assert_true(gt_fields_equal(&gt_spec_fields, a, b));
		assert_ptr_equal(gt_spec_pack(b), b);
		assert_true(!a->image_path == !b->image_path);
		if (a->image_path)
			assert_string_equal(a->image_path, b->image_path);
	}
}

static void at(const struct gt_spec *s, size_t i, const char *volume, const char *root,
	       const char *rest)
{
	const char *is_root, *is_rest;
	const struct gt_volume *v = gt_spec_weights_at(s, i, &is_root, &is_rest);

	assert_true(!v == !volume);
	if (v)
		assert_string_equal(v->path, volume);
	assert_string_equal(is_root, root);
	assert_string_equal(is_rest, rest);
}

static void weights_are_found_below_the_deepest_mount(void **state)
{
	static const char text[] = WITH(
		"\"volumes\":[{\"host\":\"/a\",\"path\":\"/m\"},{\"host\":\"/b\",\"path\":\"/m/"
		"n\"},"
		"{\"host\":\"/f.gguf\",\"path\":\"/f\"}],\"weights\":{\"paths\":[\"/m/x/*.st\","
		"\"/m/n/?\",\"/mm/x\",\"/f\",\"/m/n\"]}");
	gt_auto(spec) struct gt_spec *s = NULL;
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_spec_read(text, strlen(text), &s, &err), 0);
	s = gt_spec_pack(s);
	assert_int_equal(s->weights.n_paths, 5);
	assert_false(s->weights_store);
	at(s, 0, "/m", "/a", "x/*.st");
	at(s, 1, "/m/n", "/b", "?");
	at(s, 2, NULL, "/srv/app", "mm/x");
	at(s, 3, "/f", "/f.gguf", "");
	at(s, 4, "/m/n", "/b", "");
}

static void members_reach_their_places(void **state)
{
	(void)state;
	static const char text[] = WITH(
		"\"user\":\"7:8\",\"env\":{\"B\":\"2\",\"A\":\"1\"},\"workdir\":\"/w\","
		"\"volumes\":[{\"host\":\"/h\",\"path\":\"/v\",\"readonly\":false}],"
		"\"tmpfs\":[{\"path\":\"/t\",\"size\":\"1MiB\"}],\"access\":\"public\","
		"\"ready\":{\"path\":\"/ok\",\"timeout\":\"2s\"},"
		"\"resources\":{\"cpu\":0.25,\"memory\":\"5MiB\",\"disk\":\"6MiB\",\"pids\":7,"
		"\"memory_high\":\"4MiB\",\"io\":{\"read_bps\":\"1MiB\",\"write_bps\":\"2MiB\","
		"\"read_iops\":30,\"write_iops\":40},\"gpu\":{\"count\":1,\"memory\":\"3GiB\","
		"\"share\":0.25,\"models\":[\"A\",\"B\"]}},\"isolation\":\"exclusive\","
		"\"placement\":{\"labels\":{\"b\":\"2\",\"a\":\"1\"}},"
		"\"scale\":{\"min\":1,\"max\":2,\"concurrency\":{\"target\":3,\"max\":4},"
		"\"idle\":\"5s\",\"buffer\":2,\"delay_price\":9,\"policy\":\"kpa\"},\"limits\":{"
		"\"queue\":1,\"wait\":\"2s\",\"first_byte\":\"3s\","
		"\"idle\":\"8s\",\"run\":\"4s\",\"drain\":\"5s\",\"body\":6,\"log\":\"7MiB\"},"
		"\"serves\":{\"openai\":[\"m\"]},\"idempotent\":true,"
		"\"affinity\":{\"header\":\"x-user\"}");
	gt_auto(spec) struct gt_spec *s = NULL;
	struct gt_err err = { 0 };

	assert_int_equal(gt_spec_read(text, strlen(text), &s, &err), 0);
	s = gt_spec_pack(s);
	assert_int_equal(s->image_kind, GT_IMAGE_DIR);
	assert_string_equal(s->image_path, "/srv/app");
	assert_string_equal(s->command[0], "/echo");
	assert_null(s->command[1]);
	assert_int_equal(s->port, 8000);
	assert_string_equal(s->user, "7:8");
	assert_int_equal(s->n_env, 2);
	assert_string_equal(s->env[0].name, "A");
	assert_string_equal(s->env[1].value, "2");
	assert_string_equal(s->workdir, "/w");
	assert_string_equal(s->volumes[0].host, "/h");
	assert_string_equal(s->volumes[0].path, "/v");
	assert_false(s->volumes[0].readonly);
	assert_int_equal(s->tmpfs[0].size_bytes, GT_MIB);
	assert_int_equal(s->access, GT_ACCESS_PUBLIC);
	assert_string_equal(s->ready.path, "/ok");
	assert_int_equal(s->ready.timeout_ms, 2000);
	assert_int_equal(s->resources.cpu_milli, 250);
	assert_int_equal(s->resources.memory_bytes, 5 * GT_MIB);
	assert_int_equal(s->resources.memory_high_bytes, 4 * GT_MIB);
	assert_int_equal(s->resources.io.read_bps, GT_MIB);
	assert_int_equal(s->resources.io.write_bps, 2 * GT_MIB);
	assert_int_equal(s->resources.io.read_iops, 30);
	assert_int_equal(s->resources.io.write_iops, 40);
	assert_int_equal(s->resources.disk_bytes, 6 * GT_MIB);
	assert_int_equal(s->resources.pids, 7);
	assert_int_equal(s->resources.gpu.count, 1);
	assert_int_equal(s->resources.gpu.memory_bytes, 3 * GT_GIB);
	assert_int_equal(s->resources.gpu.share_milli, 250);
	assert_int_equal(s->resources.gpu.n_models, 2);
	assert_string_equal(s->resources.gpu.models[1], "B");
	assert_int_equal(s->placement.n_labels, 2);
	assert_string_equal(s->placement.labels[0].key, "a");
	assert_string_equal(s->placement.labels[1].value, "2");
	assert_int_equal(s->isolation, GT_ISOLATION_EXCLUSIVE);
	assert_int_equal(s->scale.buffer, 2);
	assert_int_equal(s->scale.delay_price, 9);
	assert_int_equal(s->scale_policy, GT_SCALE_KPA);
	assert_int_equal(s->scale.min, 1);
	assert_int_equal(s->scale.max, 2);
	assert_int_equal(s->scale.target, 3);
	assert_int_equal(s->scale.concurrency, 4);
	assert_int_equal(s->scale.idle_ms, 5000);
	assert_int_equal(s->limits.queue, 1);
	assert_int_equal(s->limits.wait_ms, 2000);
	assert_int_equal(s->limits.first_byte_ms, 3000);
	assert_int_equal(s->limits.idle_ms, 8000);
	assert_int_equal(s->limits.run_ms, 4000);
	assert_true(s->idempotent);
	assert_string_equal(s->affinity.header, "x-user");
	assert_int_equal(s->limits.drain_ms, 5000);
	assert_int_equal(s->limits.body_bytes, 6);
	assert_int_equal(s->limits.log_bytes, 7 * GT_MIB);
	assert_string_equal(s->models[0], "m");
}

static const struct {
	const char *text, *path, *words;
} refused[] = {
	{ "[]", "", "an array does not fit; write an object" },
	{ "{}", "image", "image: missing" },
	{ "{\"image\":\"host:\"}", "command", "command: missing" },
	{ "{\"image\":\"host:\",\"command\":[]}", "command", "command: missing" },
	{ "{\"image\":\"host:\",\"command\":[\"\"]}", "command[0]", "name the program" },
	{ "{\"image\":\"host:\",\"command\":[\"/a\"]}", "port", "port: missing" },
	{ WITH("\"cmd\":[\"/x\"]"), "cmd", "unknown member" },
	{ WITH("\"scale\":{\"max\":2000}"), "scale.max", "scale.max: 2000 is above 1000" },
	{ WITH("\"scale\":{\"max\":0}"), "scale.max", "0 is below 1" },
	{ WITH("\"scale\":{\"max\":-1}"), "scale.max", "-1 is below 1" },
	{ WITH("\"scale\":{\"max\":1.5}"), "scale.max", "a fraction does not fit" },
	{ WITH("\"scale\":{\"max\":\"9\"}"), "scale.max", "a string does not fit; write a whole" },
	{ WITH("\"scale\":{\"max\":null}"), "scale.max", "null does not fit" },
	{ WITH("\"scale\":{\"max\":99999999999999999999}"), "scale.max", "out of range" },
	{ WITH("\"scale\":{\"min\":3,\"max\":2}"), "scale.min", "3 is above scale.max" },
	{ WITH("\"scale\":{\"min\":11}"), "scale.min", "11 is above scale.max, which is 10" },
	{ WITH("\"scale\":{\"concurrency\":0}"), "scale.concurrency", "0 is below 1" },
	{ WITH("\"scale\":{\"concurrency\":true}"), "scale.concurrency", "true does not fit" },
	{ WITH("\"scale\":{\"concurrency\":{\"target\":3,\"max\":2}}"), "scale.concurrency.target",
	  "3 is above scale.concurrency.max, which is 2" },
	{ WITH("\"scale\":{\"concurrency\":{\"maxx\":2}}"), "scale.concurrency.maxx",
	  "did you mean \"max\"?" },
	{ WITH("\"scale\":{\"idle\":60}"), "scale.idle",
	  "60 has no unit; write for example \"60s\"" },
	{ WITH("\"scale\":{\"idle\":\"60\"}"), "scale.idle", "is no duration" },
	{ WITH("\"scale\":{\"idle\":\"8d\"}"), "scale.idle", "8d is above 7d" },
	{ WITH("\"scale\":{\"idle\":\"99999999999999999999d\"}"), "scale.idle", "is above 7d" },
	{ WITH("\"scale\":{\"buffer\":11}"), "scale.buffer", "11 is above scale.max, which is 10" },
	{ WITH("\"scale\":{\"delay_price\":100001}"), "scale.delay_price", "is above 100000" },
	{ WITH("\"scale\":{\"policy\":\"hpa\"}"), "scale.policy", "write \"gantry\" or \"kpa\"" },
	{ WITH("\"scale\":[]"), "scale", "an array does not fit; write an object" },
	{ WITH("\"resources\":{\"memroy\":1}"), "resources.memroy",
	  "unknown member; did you mean \"memory\"?" },
	{ WITH("\"resources\":{\"gpu\":1}"), "resources.gpu", "an object such as" },
	{ WITH("\"resources\":{\"gpu\":{\"count\":0}}"), "resources.gpu.count", "0 is below 1" },
	{ WITH("\"resources\":{\"gpu\":{\"count\":65}}"), "resources.gpu.count", "65 is above 64" },
	{ WITH("\"resources\":{\"gpu\":{\"memory\":\"auto\"}}"), "resources.gpu.memory",
	  "\"auto\" is computed from the model's files; write where they are" },
	{ WITH(AUTO("", "\"/m/a/*.safetensors\",\"/m/b/*.safetensors\"")), "weights.paths[1]",
	  "is not in the directory of one model" },
	{ WITH(AUTO("", "\"/m/*/a.safetensors\"")), "weights.paths[0]",
	  "is not in the directory of one model" },
	{ WITH(AUTO(",\"estimate\":{\"context\":0}", "\"/m/*\"")), "resources.gpu.estimate.context",
	  "0 is below 1" },
	{ WITH(AUTO(",\"estimate\":{\"kv_dtype\":\"fp9\"}", "\"/m/*\"")),
	  "resources.gpu.estimate.kv_dtype", "write \"auto\"" },
	{ WITH("\"resources\":{\"gpu\":{\"memory\":\"1GiB\",\"estimate\":{\"context\":9}}}"),
	  "resources.gpu.estimate", "there is nothing to estimate" },
	{ WITH("\"resources\":{\"gpu\":{\"memory\":\"1GiB\",\"estimate\":{\"terms\":{"
	       "\"weights\":\"1MiB\"}}}}"),
	  "resources.gpu.estimate.terms", "their sum is 1048576" },
	{ WITH("\"resources\":{\"gpu\":{\"memory\":\"autos\"}}"), "resources.gpu.memory",
	  "\"autos\" is no size" },
	{ WITH("\"resources\":{\"gpu\":{\"memory\":1}}"), "resources.gpu.memory",
	  "1 is below 1MiB" },
	{ WITH("\"resources\":{\"gpu\":{\"memroy\":1}}"), "resources.gpu.memroy", "\"memory\"?" },
	{ WITH("\"resources\":{\"gpu\":{\"share\":1}}"), "resources.gpu.share", "a whole GPU" },
	{ WITH("\"resources\":{\"gpu\":{\"share\":0}}"), "resources.gpu.share", "0 is below 0.01" },
	{ WITH("\"resources\":{\"gpu\":{\"share\":2}}"), "resources.gpu.share", "2 is above 0.99" },
	{ WITH("\"resources\":{\"gpu\":{\"share\":\"half\"}}"), "resources.gpu.share",
	  "\"half\" is no share of a GPU; write a number such as 0.5" },
	{ WITH("\"resources\":{\"gpu\":{\"share\":0.5,\"count\":2}}"), "resources.gpu.share",
	  "a share is of one GPU, and count is 2" },
	{ WITH("\"resources\":{\"gpu\":{\"models\":\"H100\"}}"), "resources.gpu.models", "array" },
	{ WITH("\"resources\":{\"gpu\":{\"models\":[\"H100:2\"]}}"), "resources.gpu.models[0]",
	  "names no model" },
	{ WITH("\"resources\":{\"gpu\":{\"models\":[\"H100\",\"h100\"]}}"),
	  "resources.gpu.models[1]", "given twice" },
	{ WITH("\"gpu\":\"H100:2\",\"resources\":{\"gpu\":{}}"), "resources.gpu", "keep one" },
	{ WITH("\"resources\":{\"gpu\":{}},\"gpu\":\"any\""), "gpu", "keep one" },
	{ WITH("\"gpu\":\"H100:\""), "gpu", "how many" },
	{ WITH("\"gpu\":\"H100:0\""), "gpu", "how many" },
	{ WITH("\"gpu\":\"H100:65\""), "gpu", "1 to 64" },
	{ WITH("\"gpu\":\":1\""), "gpu", "names no GPUs" },
	{ WITH("\"gpu\":\"\""), "gpu", "names no GPUs" },
	{ "{\"image\":\"host:\",\"command\":[\"/x\",\"${gpu.memory_fraction}\"],\"port\":1}",
	  "command[1]", "needs resources.gpu" },
	{ "{\"image\":\"host:\",\"command\":[\"/x\",\"${gpu.count}\"],\"port\":1,\"gpu\":\"any\"}",
	  "command[1]", "there is only ${gpu.memory_fraction}" },
	{ WITH("\"placement\":{\"labels\":{\"a b\":\"1\"}}"), "placement.labels.a b",
	  "letters, digits" },
	{ WITH("\"placement\":{\"labels\":{\"\":\"1\"}}"), "placement.labels.", "letters, digits" },
	{ WITH("\"placement\":{\"labels\":{\"a\":\"x y\"}}"), "placement.labels.a", "letters" },
	{ WITH("\"placement\":{\"labels\":{\"a\":1}}"), "placement.labels.a", "a string" },
	{ WITH("\"placement\":{\"labels\":[\"a\"]}"), "placement.labels", "an object such as" },
	{ WITH("\"placement\":{\"node\":\"a\"}"), "placement.node", "unknown member" },
	{ WITH("\"resources\":{\"memory\":\"1MiB\"}"), "resources.memory", "1MiB is below 4MiB" },
	{ WITH("\"resources\":{\"memory\":\"12 MiB\"}"), "resources.memory", "is no size" },
	{ WITH("\"resources\":{\"memory\":-1}"), "resources.memory", "-1 is below 0" },
	{ WITH("\"resources\":{\"memory\":1e9}"), "resources.memory", "a fraction does not fit" },
	{ WITH("\"resources\":{\"cpu\":0}"), "resources.cpu", "0 is below 0.01" },
	{ WITH("\"resources\":{\"cpu\":0.0155}"), "resources.cpu", "more than 3 decimals" },
	{ WITH("\"resources\":{\"cpu\":1e300}"), "resources.cpu", "is above 1024" },
	{ WITH("\"resources\":{\"cpu\":-1}"), "resources.cpu", "-1 is below 0.01" },
	{ WITH("\"resources\":{\"cpu\":\"m\"}"), "resources.cpu", "is no amount of CPU" },
	{ WITH("\"resources\":{\"cpu\":\"0.5\"}"), "resources.cpu", "is no amount of CPU" },
	{ WITH("\"resources\":{\"cpu\":\"99999999999999999999999m\"}"), "resources.cpu",
	  "no amount" },
	{ WITH("\"resources\":{\"pids\":1}"), "resources.pids", "1 is below 2" },
	{ WITH("\"resources\":{\"memory_high\":\"1GiB\"}"), "resources.memory_high",
	  "is above resources.memory, which is 536870912" },
	{ WITH("\"resources\":{\"memory_high\":\"1MiB\"}"), "resources.memory_high",
	  "1MiB is below 4MiB" },
	{ WITH("\"resources\":{\"io\":{\"read_bps\":1000}}"), "resources.io.read_bps",
	  "1000 is below 64KiB" },
	{ WITH("\"resources\":{\"io\":{\"read_bps\":\"2TiB\"}}"), "resources.io.read_bps",
	  "is above 1TiB" },
	{ WITH("\"resources\":{\"io\":{\"write_iops\":9}}"), "resources.io.write_iops",
	  "9 is below 10" },
	{ WITH("\"resources\":{\"io\":{\"read\":9}}"), "resources.io.read", "unknown member" },
	{ WITH("\"resources\":{\"io\":9}"), "resources.io", "an object" },
	{ WITH("\"port\":1"), "port", "given twice" },
	{ WITH("\"env\":{\"A\":\"1\",\"A\":\"2\"}"), "env.A", "given twice" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"/b\"},{\"host\":\"/a\",\"host\":\"/b\"}]"),
	  "volumes[1].host", "given twice" },
	{ WITH("\"env\":{\"1A\":\"\"}"), "env.1A", "begins with no digit" },
	{ WITH("\"env\":{\"\":\"\"}"), "env.", "letters, digits" },
	{ WITH("\"env\":{\"A=B\":\"\"}"), "env.A=B", "letters, digits" },
	{ WITH("\"env\":{\"GANTRY_X\":\"\"}"), "env.GANTRY_X", "reserved" },
	{ WITH("\"env\":{\"A\":1}"), "env.A", "write the value in quotes" },
	{ WITH("\"env\":{\"A\":\"x\\u0000y\"}"), "env.A", "NUL character" },
	{ WITH("\"env\":[]"), "env", "an array does not fit" },
	{ WITH("\"workdir\":\"a\"}"), NULL, NULL }, /* malformed: one brace too many */
	{ WITH("\"workdir\":\"a\""), "workdir", "begin it with /" },
	{ WITH("\"workdir\":\"/a/../b\""), "workdir", "contains \"..\"" },
	{ WITH("\"workdir\":\"/a/\""), "workdir", "write \"/a\"" },
	{ WITH("\"workdir\":\"\""), "workdir", "empty" },
	{ WITH("\"user\":\"\""), "user", "is no user" },
	{ WITH("\"user\":\"-x\""), "user", "is no user" },
	{ WITH("\"user\":\"a b\""), "user", "is no user" },
	{ WITH("\"user\":\"../x\""), "user", "is no user" },
	{ WITH("\"user\":\"web:70000\""), "user", "is no user" },
	{ WITH("\"user\":1000"), "user", "write a string" },
	{ WITH("\"user\":\"70000\""), "user", "is no user" },
	{ WITH("\"user\":\"1:\""), "user", "is no user" },
	{ WITH("\"user\":\":1\""), "user", "is no user" },
	{ WITH("\"user\":\"1:2:3\""), "user", "is no user" },
	{ WITH("\"user\":\"11111111111111111111:1\""), "user", "is no user" },
	{ WITH("\"volumes\":[{\"host\":\"/a\"}]"), "volumes[0].path", "missing" },
	{ WITH("\"volumes\":[{\"host\":\"a\",\"path\":\"/b\"}]"), "volumes[0].host",
	  "begin it with" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"/\"}]"), "volumes[0].path",
	  "image's place" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"/proc/self\"}]"), "volumes[0].path",
	  "belongs to the runtime" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"/dev/shm\"}]"), "volumes[0].path",
	  "belongs to the runtime" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"//b\"}]"), "volumes[0].path", "shortest" },
	{ WITH("\"volumes\":[{\"host\":\"/a\",\"path\":\"/b\"}],\"tmpfs\":[{\"path\":\"/b\"}]"),
	  "tmpfs[0].path", "already volumes[0].path" },
	{ WITH("\"tmpfs\":[{\"path\":\"/sys\"}]"), "tmpfs[0].path", "belongs to the runtime" },
	{ WITH("\"tmpfs\":[{\"path\":\"/t\",\"size\":0}]"), "tmpfs[0].size", "0 is below 64KiB" },
	{ WITH("\"tmpfs\":[1]"), "tmpfs[0]", "a whole number does not fit; write an object" },
	{ WITH("\"network\":\"bridge\""), "network",
	  "\"bridge\" is not supported; write \"none\" or \"egress\" or \"host\"" },
	{ WITH("\"access\":\"all\""), "access", "write \"token\" or \"public\"" },
	{ WITH("\"ready\":{\"path\":\"health\"}"), "ready.path", "must begin with /" },
	{ WITH("\"ready\":{\"path\":\"/a b\"}"), "ready.path", "printable ASCII" },
	{ WITH("\"ready\":{\"path\":\"/a\\r\\nX: y\"}"), "ready.path", "printable ASCII" },
	{ WITH("\"ready\":{\"timeout\":\"0s\"}"), "ready.timeout", "0s is below 1ms" },
	{ WITH("\"serves\":{\"openai\":[\"a b\"]}"), "serves.openai[0]", "without blanks" },
	{ WITH("\"serves\":{\"openai\":[\"a\",\"\"]}"), "serves.openai[1]", "empty" },
	{ WITH("\"serves\":{\"openai\":[\"a\",\"a\"]}"), "serves.openai[1]", "given twice" },
	{ WITH("\"serves\":{\"openai\":\"a\"}"), "serves.openai", "write an array of strings" },
	{ WITH("\"limits\":{\"body\":0}"), "limits.body", "0 is below 1" },
	{ WITH("\"limits\":{\"queue\":0}"), "limits.queue", "0 is below 1" },
	{ WITH("\"limits\":{\"idle\":\"8d\"}"), "limits.idle", "8d is above 7d" },
	{ WITH("\"affinity\":{\"header\":\"X Session\"}"), "affinity.header", "no header name" },
	{ WITH("\"affinity\":{\"header\":\"a:\"}"), "affinity.header", "no header name" },
	{ WITH("\"affinity\":{\"header\":\"\"}"), "affinity.header", "" },
	{ WITH("\"affinity\":\"X-Session-Id\""), "affinity", "write an object" },
	{ WITH("\"idempotent\":1"), "idempotent", "" },
	{ WITH("\"gpu\":1"), "gpu", "write a string such as \"H100:2\"" },
	{ WITH("\"park\":\"auto\""), "park", "an object such as" },
	{ WITH("\"park\":{\"method\":\"sleep\"}"), "park.method", "is not supported; write" },
	{ WITH("\"park\":{\"after\":\"8d\"}"), "park.after", "is above" },
	{ WITH("\"park\":{\"priority\":1001}"), "park.priority", "1001 is above 1000" },
	{ WITH("\"park\":{\"method\":\"cuda\"}"), "park.method", "resources.gpu has 0" },
	{ WITH("\"park\":{\"method\":\"http\"}"), "park.http", "is missing" },
	{ WITH("\"park\":{\"http\":{\"sleep\":\"/s\"}}"), "park.http.wake", "must be woken" },
	{ WITH("\"park\":{\"http\":{\"sleep\":\"s\",\"wake\":\"/w\"}}"), "park.http.sleep",
	  "must begin with /" },
	{ WITH("\"gpu\":\"any\",\"park\":{\"method\":\"freeze\"}"), "park.method",
	  "gives no GPU back" },
	{ WITH("\"gpu\":\"any:2\",\"park\":{\"method\":\"cuda\"}"), "park.method",
	  "is for one GPU" },
	{ WITH("\"resources\":{\"devices\":[\"v.com/x=*\"]}"), "resources.devices[0]",
	  "is no name of a device" },
	{ WITH("\"resources\":{\"devices\":[\"v.com/x=0\",\"v.com/x=0\"]}"), "resources.devices[1]",
	  "given twice" },
	{ WITH("\"resources\":{\"gpu\":{\"mode\":\"mps\"}}"), "resources.gpu.mode",
	  "not by NVIDIA's MPS" },
	{ WITH("\"weights\":{\"store\":true}"), "weights.paths", "missing" },
	{ WITH("\"weights\":{\"paths\":[\"m/*\"]}"), "weights.paths[0]", "begin it with /" },
	{ WITH("\"weights\":{\"paths\":[\"/m/../x\"]}"), "weights.paths[0]", "\"..\"" },
	{ WITH("\"weights\":{\"paths\":[\"/m/**\"]}"), "weights.paths[0]", "one *" },
	{ WITH("\"weights\":{\"paths\":[\"/m\",\"/m\"]}"), "weights.paths[1]", "given twice" },
	{ WITH("\"weights\":{\"paths\":[\"/t/x\"]},\"tmpfs\":[{\"path\":\"/t\"}]"),
	  "weights.paths[0]", "on a tmpfs" },
	{ WITH("\"weights\":{\"paths\":[\"/v/x\"],\"store\":true},"
	       "\"volumes\":[{\"host\":\"/a\",\"path\":\"/v\",\"readonly\":false}]"),
	  "weights.paths[0]", "is in volumes[0], which is writable" },
	{ "{\"image\":\"host:\",\"command\":[\"/e\"],\"port\":1,"
	  "\"weights\":{\"paths\":[\"/m/*\"]}}",
	  "weights.paths[0]", "is in no volume" },
	{ WITH("\"secrets\":[]"), "secrets", "not supported by this version" },
	{ WITH("\"retry\":{\"max\":101}"), "retry.max", "101 is above 100" },
	{ WITH("\"retry\":{\"on\":[\"crash\",\"418\"]}"), "retry.on[1]",
	  "\"418\" is nothing to retry on" },
	{ WITH("\"retry\":{\"on\":\"crash\"}"), "retry.on", "an array such as" },
	{ WITH("\"rollout\":{}"), "rollout", "not supported by this version" },
	{ WITH("\"isolation\":\"vm\""), "isolation", "write \"shared\" or \"exclusive\"" },
	{ "{\"image\":\"host:\",\"command\":\"/echo\",\"port\":1}", "command", "array of strings" },
	{ "{\"image\":\"host:\",\"command\":[\"/echo\",1],\"port\":1}", "command[1]", "a string" },
	{ "{\"image\":\"host:\",\"command\":[\"a\\u0000\"],\"port\":1}", "command[0]", "NUL" },
	{ "{\"image\":\"host:\",\"command\":[\"/echo\"],\"port\":65536}", "port", "above 65535" },
	{ "{\"image\":\"host:\",\"command\":[\"/echo\"],\"port\":0}", "port", "0 is below 1" },
	{ IMAGE("nginx:1"), "image", "write the registry's host" },
	{ IMAGE("registry.example/Nginx"), "image", "lower-case" },
	{ IMAGE("bundle:sha256:12"), "image", "names no bundle" },
	{ WITH("\"base\":\"registry.example/a\""), "base", "bundle" },
	{ WITH("\"pull\":\"sometimes\""), "pull", "missing" },
	{ IMAGE("dir:/a/../.."), "image", "contains \"..\"" },
	{ IMAGE("dir:/"), "image", "write \"host:\"" },
	{ IMAGE(""), "image", "empty" },
	{ "", NULL, "the document is empty" },
	{ "{\"image\":", NULL, "line 1, column " },
	{ "{\"image\":\n\"host:\",}", NULL, "line 2, column " },
	{ "{\"image\":\"\xff\"}", NULL, "line 1" },
	{ "nonsense", NULL, "line 1" },
	{ "\"text\"", NULL, "line 1" },
	{ "{} {}", NULL, "line 1" },
};

/* Path NULL stands for "malformed_json". */
static void bad_specs_are_refused_with_path_and_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(refused); i++) {
		struct gt_spec *spec = NULL;
		struct gt_err err = { 0 };
		int r = gt_spec_read(refused[i].text, strlen(refused[i].text), &spec, &err);
		const char *path = refused[i].path;

		assert_int_equal(r, -EINVAL);
		assert_null(spec);
		assert_string_equal(err.slug, path ? "invalid_spec" : "malformed_json");
		assert_string_equal(err.path, path ? path : "");
		if (refused[i].words && !strstr(err.text, refused[i].words))
			fail_msg("%s: \"%s\" does not say \"%s\"", refused[i].text, err.text,
				 refused[i].words);
		assert_int_equal(
			gt_spec_read(refused[i].text, strlen(refused[i].text), &spec, NULL),
			-EINVAL);
	}
}

/* `count` times `item`, separated by commas, between head and tail. */
static void refused_when_repeated(const char *head, const char *item, size_t count,
				  const char *tail, const char *path)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_spec *spec = NULL;
	struct gt_err err = { 0 };

	gt_buf_addf(&text, "{" BASE ",%s", head);
	for (size_t i = 0; i < count; i++) {
		gt_buf_addc(&text, i ? ',' : ' ');
		gt_buf_addf(&text, item, i);
	}
	gt_buf_addf(&text, "%s}", tail);
	assert_int_equal(gt_spec_read(text.data, text.len, &spec, &err), -EINVAL);
	assert_string_equal(err.path, path);
	assert_non_null(strstr(err.text, "too many"));
}

/* One that a newer program accepted. Values that this one does not know stay refused. */
static void what_was_kept_may_have_members_of_a_newer_version(void **state)
{
	static const char text[] = WITH(
		"\"tomorrow\":{\"a\":1},\"secrets\":[],"
		"\"scale\":{\"max\":3,\"mood\":\"x\"},"
		"\"volumes\":[{\"host\":\"/a\",\"path\":\"/b\",\"lazy\":true}]");
	static const char value[] = WITH("\"network\":\"tomorrow\"");
	char unknown[GT_SPEC_UNKNOWN_SIZE] = "?";
	struct gt_spec *spec = NULL;

	(void)state;
	assert_true(gt_spec_read(text, strlen(text), &spec, NULL) < 0);
	assert_int_equal(gt_spec_read_kept(text, strlen(text), unknown, &spec, NULL), 0);
	assert_string_equal(unknown, "tomorrow");
	assert_int_equal(spec->scale.max, 3);
	assert_string_equal(spec->volumes[0].path, "/b");
	gt_spec_free(spec);
	spec = NULL;
	assert_true(gt_spec_read_kept(value, strlen(value), unknown, &spec, NULL) < 0);
	assert_string_equal(unknown, "");
}

static void counts_are_bounded(void **state)
{
	(void)state;
	refused_when_repeated("\"env\":{", "\"A%zu\":\"\"", GT_ENV_MAX + 1, "}", "env");
	refused_when_repeated("\"tmpfs\":[", "{\"path\":\"/%zu\"}", GT_TMPFS_MAX + 1, "]", "tmpfs");
	refused_when_repeated("\"volumes\":[", "{\"host\":\"/a\",\"path\":\"/%zu\"}",
			      GT_VOLUMES_MAX + 1, "]", "volumes");
	refused_when_repeated("\"placement\":{\"labels\":{", "\"k%zu\":\"\"",
			      GT_PLACE_LABELS_MAX + 1, "}}", "placement.labels");
	refused_when_repeated("\"resources\":{\"gpu\":{\"models\":[", "\"m%zu\"",
			      GT_GPU_MODELS_MAX + 1, "]}}", "resources.gpu.models");
	refused_when_repeated("\"serves\":{\"openai\":[", "\"m%zu\"", GT_MODELS_MAX + 1, "]}",
			      "serves.openai");
}

static void lengths_and_depth_are_bounded(void **state)
{
	(void)state;
	size_t size = GT_SPEC_BYTES_MAX + 4096 + 1;
	gt_auto(free) char *text = gt_alloc(size + 1);
	struct gt_spec *spec = NULL;
	struct gt_err err = { 0 };

	memset(text, ' ', size);
	assert_int_equal(gt_spec_read(text, size, &spec, &err), -EMSGSIZE);
	assert_string_equal(err.slug, "body_too_large");
	memset(text, '[', size);
	assert_int_equal(gt_spec_read(text, size - 1, &spec, &err), -EINVAL);
	assert_string_equal(err.slug, "invalid_spec");
	assert_non_null(strstr(err.text, "deeper than 32"));
	memset(text, 'a', size);
	int head = snprintf(text, size, WITH("\"env\":{\"A\":\""));

	text[head - 1] = text[head] = 'a'; /* the brace of WITH and the end */
	memcpy(text + GT_ENV_VALUE_MAX + head, "\"}}", 3);
	assert_int_equal(gt_spec_read(text, GT_ENV_VALUE_MAX + (size_t)head + 3, &spec, &err),
			 -EINVAL);
	assert_string_equal(err.path, "env.A");
	assert_non_null(strstr(err.text, "too many"));
}

/* The largest documents: what was accepted once is accepted in its canonical form too. */
static void canonical_text_stays_within_the_limit(void **state)
{
	(void)state;
	static const char *const fills[] = { "\x7f", "\xc3\xa9", "\\n", "\\u001b", "\\\"", "/" };

	for (size_t i = 0; i < GT_LEN(fills); i++) {
		gt_auto(buf) struct gt_buf text = { 0 };

		gt_buf_adds(&text, "{" BASE ",\"limits\":{\"body\":\"1TB\",\"log\":\"1TB\"},"
				   "\"resources\":{\"memory\":\"9TB\",\"disk\":\"9TB\"},\"env\":{");
		for (unsigned k = 0; text.len < GT_SPEC_BYTES_MAX - 8192; k++) {
			gt_buf_addf(&text, "%s\"V%u\":\"", k ? "," : "", k);
			for (unsigned n = 0; n < 1000; n++)
				gt_buf_adds(&text, fills[i]);
			gt_buf_addc(&text, '"');
		}
		gt_buf_adds(&text, "}}");
		gt_auto(free) char *once = canonical(text.data);
		gt_auto(free) char *twice = canonical(once);

		assert_string_equal(once, twice);
	}
}

static void refusals_hold_nothing_unprintable(void **state)
{
	(void)state;
	static const char *const texts[] = { WITH("\"a\\u001b[31m\\n\":1"),
					     WITH("\"workdir\":\"\\u001b[31m\""),
					     WITH("\"network\":\"\\u0007\""),
					     WITH("\"serves\":{\"openai\":[\"\\n\"]}") };

	for (size_t i = 0; i < GT_LEN(texts); i++) {
		struct gt_spec *spec = NULL;
		struct gt_err err = { 0 };

		assert_int_equal(gt_spec_read(texts[i], strlen(texts[i]), &spec, &err), -EINVAL);
		for (const char *c = err.text; *c; c++)
			assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
		for (const char *c = err.path; *c; c++)
			assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(specs_have_one_canonical_text),
		cmocka_unit_test(the_effective_text_means_the_same),
		cmocka_unit_test(packing_changes_nothing),
		cmocka_unit_test(members_reach_their_places),
		cmocka_unit_test(weights_are_found_below_the_deepest_mount),
		cmocka_unit_test(bad_specs_are_refused_with_path_and_reason),
		cmocka_unit_test(what_was_kept_may_have_members_of_a_newer_version),
		cmocka_unit_test(counts_are_bounded),
		cmocka_unit_test(lengths_and_depth_are_bounded),
		cmocka_unit_test(canonical_text_stays_within_the_limit),
		cmocka_unit_test(refusals_hold_nothing_unprintable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
