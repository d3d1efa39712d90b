/* test_cdi.c - documents of the Container Device Interface: as NVIDIA's and others' tools write
 * them, and as nobody should. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <gantry/model/device.h>
#include <gantry/wire/cdi.h>

static struct gt_cdi *read_ok(const char *text, enum gt_cdi_syntax syntax)
{
	struct gt_err err = { 0 };
	struct gt_cdi *c = NULL;

	if (gt_cdi_read(text, strlen(text), syntax, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static void refused(const char *text, enum gt_cdi_syntax syntax, const char *words)
{
	struct gt_err err = { 0 };
	struct gt_cdi *c = NULL;

	if (gt_cdi_read(text, strlen(text), syntax, &c, &err) == 0)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.slug, "device_unavailable");
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in: %s", words, err.text);
}

/* The shape of what nvidia-ctk cdi generate writes. */
static const char nvidia[] =
	"---\n"
	"cdiVersion: 0.5.0\n"
	"kind: nvidia.com/gpu\n"
	"devices:\n"
	"- name: \"0\"\n"
	"  containerEdits:\n"
	"    deviceNodes:\n"
	"    - path: /dev/nvidia0\n"
	"    - path: /dev/dri/card1\n"
	"      hostPath: /run/nvidia/driver/dev/dri/card1\n"
	"      type: c\n"
	"      major: 226\n"
	"      minor: 1\n"
	"      permissions: rw\n"
	"      fileMode: 438\n"
	"    hooks:\n"
	"    - hookName: createContainer\n"
	"      path: /usr/bin/nvidia-cdi-hook\n"
	"      args:\n"
	"      - nvidia-cdi-hook\n"
	"      - chmod\n"
	"      - --mode\n"
	"      - \"755\"\n"
	"      - --path\n"
	"      - /dev/dri\n"
	"- name: all\n"
	"  containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}\n"
	"containerEdits:\n"
	"  env:\n"
	"  - NVIDIA_VISIBLE_DEVICES=void\n"
	"  deviceNodes:\n"
	"  - path: /dev/nvidiactl\n"
	"  hooks:\n"
	"  - hookName: createContainer\n"
	"    path: /usr/bin/nvidia-ctk\n"
	"    args: [nvidia-ctk, hook, create-symlinks, --link, "
	"../libcuda.so.1::/usr/lib/libcuda.so,\n"
	"           --link=libnvcuvid.so.1::/usr/lib/libnvcuvid.so]\n"
	"  - hookName: createContainer\n"
	"    path: /usr/bin/nvidia-cdi-hook\n"
	"    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]\n"
	"  - hookName: createContainer\n"
	"    path: /usr/bin/nvidia-cdi-hook\n"
	"    args: [nvidia-cdi-hook, disable-device-node-modification]\n"
	"  mounts:\n"
	"  - hostPath: /usr/lib/libcuda.so.580\n"
	"    containerPath: /usr/lib/libcuda.so.580\n"
	"    options: [ro, nosuid, nodev, bind]\n";

static void nvidias_yaml_is_read(void **state)
{
	gt_auto(cdi) struct gt_cdi *c = read_ok(nvidia, GT_CDI_YAML);
	const struct gt_cdi_device *d = gt_cdi_find(c, "0");

	(void)state;
	assert_string_equal(c->kind, "nvidia.com/gpu");
	assert_int_equal(c->n_devices, 2);
	assert_non_null(gt_cdi_find(c, "all"));
	assert_null(gt_cdi_find(c, "1"));
	assert_int_equal(d->edits.n_nodes, 2);
	assert_string_equal(d->edits.nodes[0].path, "/dev/nvidia0");
	assert_int_equal(d->edits.nodes[0].major, 0);
	assert_string_equal(d->edits.nodes[1].host_path, "/run/nvidia/driver/dev/dri/card1");
	assert_int_equal(d->edits.nodes[1].major, 226);
	assert_string_equal(c->edits.env.v[0], "NVIDIA_VISIBLE_DEVICES=void");
	assert_int_equal(c->edits.n_links, 2);
	assert_string_equal(c->edits.links[0].path, "/usr/lib/libcuda.so");
	assert_string_equal(c->edits.links[0].to, "../libcuda.so.1");
	assert_string_equal(c->edits.links[1].to, "libnvcuvid.so.1");
	assert_int_equal(c->edits.library_dirs.n, 1);
	assert_string_equal(c->edits.library_dirs.v[0], "/usr/lib/x86_64-linux-gnu");
	assert_true(c->edits.driver_view);
	assert_int_equal(c->edits.n_mounts, 1);
}

#define HEAD          "\"cdiVersion\":\"1.0.0\",\"kind\":\"vendor.com/net\""
#define DEVICE(edits) "{" HEAD ",\"devices\":[{\"name\":\"a\",\"containerEdits\":{" edits "}}]}"

static void json_is_read(void **state)
{
	gt_auto(cdi) struct gt_cdi *c = read_ok(
		"{" HEAD
		",\"annotations\":{\"a\":\"b\"},\"devices\":[{\"name\":\"a\",\"annotations\":{},"
		"\"containerEdits\":{\"deviceNodes\":[{\"path\":\"/dev/x\",\"uid\":0}],"
		"\"additionalGids\":[5]}}]}",
		GT_CDI_JSON);

	(void)state;
	assert_string_equal(c->devices[0].edits.nodes[0].path, "/dev/x");
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "[]", "an object" },
		{ "{" HEAD "}", "devices" },
		{ "{\"cdiVersion\":\"2.0.0\",\"kind\":\"a.b/c\",\"devices\":[{\"name\":\"a\"}]}",
		  "cdiVersion: \"2.0.0\" is not known" },
		{ "{\"cdiVersion\":\"1.0.0\",\"kind\":\"a.b\",\"devices\":[{\"name\":\"a\"}]}",
		  "is no vendor.com/class" },
		{ "{" HEAD ",\"devices\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "given twice" },
		{ "{" HEAD ",\"devices\":[{\"name\":\"a b\"}]}", "devices[0]: \"a b\" is no name" },
		{ DEVICE("\"deviceNode\":[]"), "did you mean \"deviceNodes\"" },
		{ DEVICE("\"netDevices\":[]"), "not supported" },
		{ DEVICE("\"intelRdt\":{}"), "not supported" },
		{ DEVICE("\"env\":[\"A\"]"), "devices[0].containerEdits.env[0]" },
		{ DEVICE("\"deviceNodes\":[{\"path\":\"/dev/x\",\"major\":-2}]"),
		  "deviceNodes[0].major: -2 is below 0" },
		{ DEVICE("\"deviceNodes\":[{\"path\":\"/dev/x\",\"type\":\"p\"}]"), "type: \"p\"" },
		{ DEVICE("\"deviceNodes\":[{\"path\":\"/dev/x\",\"permissions\":\"rx\"}]"),
		  "permissions: \"rx\"" },
		{ DEVICE("\"hooks\":[{\"hookName\":\"createRuntime\",\"path\":\"/bin/sh\","
			 "\"args\":[\"sh\",\"-c\",\"id\"]}]"),
		  "devices[0].containerEdits.hooks[0]: /bin/sh -c: no hook is run here" },
		{ DEVICE("\"hooks\":[{\"hookName\":\"x\",\"path\":\"/usr/bin/nvidia-ctk\","
			 "\"args\":[\"nvidia-ctk\",\"hook\",\"other\"]}]"),
		  "no hook is run here" },
		{ DEVICE("\"hooks\":[{\"hookName\":\"x\",\"path\":\"/x/nvidia-cdi-hook\",\"args\":"
			 "[\"n\",\"create-symlinks\",\"--link\",\"a::b\"]}]"),
		  "hooks[0].args[3]: \"a::b\" is no TARGET::PATH" },
		{ DEVICE("\"hooks\":[{\"hookName\":\"x\",\"path\":\"/x/nvidia-cdi-hook\",\"args\":"
			 "[\"n\",\"update-ldcache\",\"--folder=lib\"]}]"),
		  "is no absolute path" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		refused(rows[i].text, GT_CDI_JSON, rows[i].words);
}

#define DEEP4(x)  x x x x
#define DEEP64(x) DEEP4(DEEP4(DEEP4(x)))

static void hostile_yaml_is_refused(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "", "no mapping" },
		{ "- a\n", "no mapping" },
		{ "a: &x [1]\nb: *x\n", "line 1: anchors and tags" },
		{ "a: 1\nb: *x\n", "line 2: aliases are not read" },
		{ "a: !!binary aGVsbG8=\n", "line 1: anchors and tags" },
		{ "a: !x {}\n", "anchors and tags" },
		{ "a: 1\na: 2\n", "line 2: this key is given twice" },
		{ "a: 1\n---\nb: 2\n", "a second document" },
		{ "? [a]\n: b\n", "a key is a text" },
		{ "a: " DEEP64("[") "\n", "nested too deep" },
		{ "a: {b\n", "line" },
		{ "a: \"\\0\"\n", "a" },
		{ "\"\\0\": b\n", "NUL" },
		{ "a: \xff\n", "line" },
		{ "cdiVersion: 1\nkind: a.b/c\ndevices: [{name: a}]\n", "cdiVersion" },
		{ "cdiVersion: 1.0.0\nkind: a.b/c\ndevices: [{name: 0}]\n", "devices[0].name" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		refused(rows[i].text, GT_CDI_YAML, rows[i].words);
}

static void names_are_cut_and_allowed(void **state)
{
	static const char *const bad[] = { "",        "a",       "a=b",     "a/b",     "a/b=",
					   "/b=c",    "a/=c",    "a/b/c=d", "a/b=c d", "a/b=-",
					   "a b/c=d", "a/b=c,d", "a/b=*" };
	char kind[GT_DEVICE_NAME_MAX + 1];
	struct gt_err err = { 0 };
	const char *device;

	(void)state;
	assert_int_equal(gt_device_name_split("vendor.com/net=eth0:1", kind, &device, &err), 0);
	assert_string_equal(kind, "vendor.com/net");
	assert_string_equal(device, "eth0:1");
	for (size_t i = 0; i < GT_LEN(bad); i++)
		assert_int_equal(gt_device_name_split(bad[i], kind, &device, &err), -EINVAL);
	assert_true(gt_device_name_allowed("v.com/a=x, v.com/b=*", "v.com/a=x"));
	assert_true(gt_device_name_allowed("v.com/a=x,v.com/b=*", "v.com/b=any"));
	assert_true(gt_device_name_allowed(" v.com/b=y ,v.com/a=x ", "v.com/a=x"));
	assert_false(gt_device_name_allowed("v.com/a=x,v.com/b=*", "v.com/a=y"));
	assert_false(gt_device_name_allowed("v.com/a=xy", "v.com/a=x"));
	assert_false(gt_device_name_allowed("v.com/b=*", "v.com/bb=x"));
	assert_false(gt_device_name_allowed("*", "v.com/bb=x"));
	assert_false(gt_device_name_allowed("", "v.com/b=x"));
	assert_false(gt_device_name_allowed(NULL, "v.com/b=x"));
}

static void what_is_written_is_read(void **state)
{
	gt_auto(inject) struct gt_inject *one = gt_inject_new(), *common = gt_inject_new();
	gt_auto(buf) struct gt_buf out = { 0 };
	struct gt_inject_node n = { "/dev/nvidia3", 'c', true, true, 195, 3 };
	struct gt_cdi_own own = { "GPU-1", one };
	char host[] = "/usr/lib64/libcuda.so.5";
	char *hosts[] = { host };
	struct gt_err err = { 0 };

	(void)state;
	assert_int_equal(gt_inject_node_add(one, &n, &err), 0);
	assert_int_equal(gt_inject_bind_add(common, "/l/libcuda.so.5", -EBADF, &err), 0);
	assert_int_equal(gt_inject_link_add(common, "/l/libcuda.so.1", "libcuda.so.5", &err), 0);
	assert_int_equal(gt_inject_library_dir_add(common, "/l", &err), 0);
	assert_int_equal(gt_inject_env_add(common, "A", "b\"c", &err), 0);
	gt_buf_init(&out, 0);
	gt_cdi_write("gantry.local/gpu", &own, 1, common, hosts, &out);
	gt_auto(cdi) struct gt_cdi *c = read_ok(gt_buf_str(&out), GT_CDI_JSON);
	gt_auto(cdi) struct gt_cdi *y = read_ok(gt_buf_str(&out), GT_CDI_YAML);

	assert_int_equal(y->n_devices, 1);
	assert_string_equal(c->devices[0].name, "GPU-1");
	assert_int_equal(c->devices[0].edits.nodes[0].minor, 3);
	assert_string_equal(c->devices[0].edits.nodes[0].permissions, "rw");
	assert_string_equal(c->edits.env.v[0], "A=b\"c");
	assert_string_equal(c->edits.mounts[0].host_path, host);
	assert_string_equal(c->edits.links[0].to, "libcuda.so.5");
	assert_string_equal(c->edits.library_dirs.v[0], "/l");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nvidias_yaml_is_read),
		cmocka_unit_test(json_is_read),
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(hostile_yaml_is_refused),
		cmocka_unit_test(names_are_cut_and_allowed),
		cmocka_unit_test(what_is_written_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
