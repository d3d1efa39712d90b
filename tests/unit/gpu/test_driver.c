/* test_driver.c - from granted GPUs to the list of what a container gets, over a made-up driver. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/buf.h>

#include <gantry/os/os.h>

#include "driver_root.h"

static struct gt_inject_gpu gpu(unsigned n)
{
	static char pci[8][20];

	snprintf(pci[n], sizeof(pci[n]), "00000000:00:%02X.0", n + 1); /* as NVML writes it */
	return (struct gt_inject_gpu){ "GPU-x", n, -1, -1, pci[n] };
}

/* All of it as text, one line each. */
static char *listed(const struct gt_inject *i)
{
	gt_auto(buf) struct gt_buf out = { 0 };

	gt_buf_init(&out, 0);
	for (size_t k = 0; k < i->n_nodes; k++)
		gt_buf_addf(&out, "node %s %c %u:%u %s%s\n", i->nodes[k].path, i->nodes[k].type,
			    i->nodes[k].major, i->nodes[k].minor, i->nodes[k].read ? "r" : "",
			    i->nodes[k].write ? "w" : "");
	for (size_t k = 0; k < i->n_binds; k++)
		gt_buf_addf(&out, "bind %s\n", i->binds[k].path);
	for (size_t k = 0; k < i->n_links; k++)
		gt_buf_addf(&out, "link %s %s\n", i->links[k].path, i->links[k].to);
	for (size_t k = 0; k < i->n_texts; k++)
		gt_buf_addf(&out, "text %s\n", i->texts[k].path);
	for (size_t k = 0; k < i->n_hides; k++)
		gt_buf_addf(&out, "hide %s\n", i->hides[k]);
	for (size_t k = 0; k < i->n_env; k++)
		gt_buf_addf(&out, "env %s=%s\n", i->env[k].name, i->env[k].value);
	for (size_t k = 0; k < i->n_library_dirs; k++)
		gt_buf_addf(&out, "libraries %s\n", i->library_dirs[k]);
	for (size_t k = 0; k < i->n_program_dirs; k++)
		gt_buf_addf(&out, "programs %s\n", i->program_dirs[k]);
	return gt_buf_steal(&out);
}

static char *inject(const struct driver_root *d, const struct gt_inject_gpu *gpus, size_t n,
		    unsigned capabilities)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };

	if (gt_gpu_inject(&d->roots, gpus, n, capabilities, i, &err) < 0)
		fail_msg("%s", err.text);
	return listed(i);
}

static void refused(const struct driver_root *d, const struct gt_inject_gpu *g, int code,
		    const char *words)
{
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };

	assert_int_equal(gt_gpu_inject(&d->roots, g, 1, GT_GPU_CAPABILITIES, i, &err), code);
	assert_string_equal(err.slug, "device_unavailable");
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
}

#define LIB GT_GPU_LIBRARY_DIR
#define V   DRIVER_VERSION

static void all_that_one_gpu_needs(void **state)
{
	struct gt_inject_gpu g = gpu(1);
	struct driver_root d;

	(void)state;
	driver_root_open(&d, 3);
	gt_auto(free) char *got = inject(&d, &g, 1, GT_GPU_CAPABILITIES);

	assert_string_equal(got,
			    "node /dev/nvidiactl c 195:255 rw\n"
			    "node /dev/nvidia-uvm c 510:0 rw\n"
			    "node /dev/nvidia-uvm-tools c 510:1 rw\n"
			    "node /dev/nvidia1 c 195:1 rw\n"
			    "bind " LIB "/libnvidia-ml.so." V "\n"
			    "bind " LIB "/libcuda.so." V "\n"
			    "bind " LIB "/libnvidia-ptxjitcompiler.so." V "\n"
			    "bind " LIB "/libnvidia-nvvm.so." V "\n"
			    "bind " LIB "/libnvidia-gpucomp.so." V "\n"
			    "bind " LIB "/libnvcuvid.so." V "\n"
			    "bind " GT_GPU_PROGRAM_DIR "/nvidia-smi\n"
			    "link " LIB "/libnvidia-ml.so.1 libnvidia-ml.so." V "\n"
			    "link " LIB "/libcuda.so.1 libcuda.so." V "\n"
			    "link " LIB "/libnvidia-ptxjitcompiler.so.1 "
			    "libnvidia-ptxjitcompiler.so." V "\n"
			    "link " LIB "/libnvidia-nvvm.so.4 libnvidia-nvvm.so." V "\n"
			    "link " LIB "/libnvcuvid.so.1 libnvcuvid.so." V "\n"
			    "link " LIB "/libcuda.so libcuda.so.1\n"
			    "link " LIB "/libnvidia-opticalflow.so libnvidia-opticalflow.so.1\n"
			    "text nvidia/version\n"
			    "text nvidia/params\n"
			    "text nvidia/gpus/0000:00:02.0/information\n"
			    "hide devices/pci0000:00/0000:00:01.0\n"
			    "hide devices/pci0000:00/0000:00:03.0\n"
			    "env NVIDIA_DRIVER_CAPABILITIES=compute,utility,video\n"
			    "libraries " LIB "\n"
			    "programs " GT_GPU_PROGRAM_DIR "\n");
	driver_root_close(&d);
}

static void fewer_capabilities_bring_less(void **state)
{
	struct gt_inject_gpu g = gpu(0);
	struct driver_root d;

	(void)state;
	driver_root_open(&d, 1);
	gt_auto(free) char *utility = inject(&d, &g, 1, GT_GPU_UTILITY);
	gt_auto(free) char *compute = inject(&d, &g, 1, GT_GPU_COMPUTE);
	gt_auto(free) char *nothing = inject(&d, &g, 1, 0);

	assert_non_null(strstr(utility, "libnvidia-ml.so.1"));
	assert_null(strstr(utility, "libcuda"));
	assert_null(strstr(utility, "uvm"));
	assert_non_null(strstr(compute, "libcuda.so.1"));
	assert_non_null(strstr(compute, "nvidia-uvm"));
	assert_null(strstr(compute, "nvidia-smi"));
	assert_null(strstr(compute, "nvcuvid"));
	assert_null(strstr(nothing, "bind "));
	assert_null(strstr(nothing, "libraries "));
	driver_root_close(&d);
}

/* On machines whose driver has a directory of its own, nvidia-smi in /usr/bin may be a script that
 * begins the one there. */
static void the_drivers_own_program_comes_first(void **state)
{
	struct gt_inject_gpu g = gpu(0);
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	char path[256], own[16] = "";
	struct driver_root d;

	(void)state;
	driver_root_open(&d, 1);
	driver_root_put(&d, "driver/usr/local/nvidia/bin/nvidia-smi", "own");
	assert_int_equal(gt_gpu_inject(&d.roots, &g, 1, GT_GPU_UTILITY, i, NULL), 0);
	for (size_t k = 0; k < i->n_binds; k++) {
		if (strcmp(i->binds[k].path, GT_GPU_PROGRAM_DIR "/nvidia-smi") != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", i->binds[k].fd);
		assert_true(gt_os_read_at(-1, path, own, sizeof(own), NULL) >= 0);
	}
	assert_string_equal(own, "own");
	driver_root_close(&d);
}

static void an_image_can_only_narrow(void **state)
{
	static const struct {
		const char *text;
		unsigned bits;
	} rows[] = {
		{ NULL, GT_GPU_CAPABILITIES },
		{ "", GT_GPU_CAPABILITIES },
		{ "all", GT_GPU_CAPABILITIES },
		{ "compute,utility", GT_GPU_COMPUTE | GT_GPU_UTILITY },
		{ "utility", GT_GPU_UTILITY },
		{ "graphics,display,compat32,ngx", 0 },
		{ "video,graphics,", GT_GPU_VIDEO },
		{ "comput", 0 },
		{ "computer", 0 },
		{ ",", 0 },
	};
	char text[32];

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++)
		assert_int_equal(gt_gpu_capabilities(rows[i].text), rows[i].bits);
	gt_gpu_capabilities_text(GT_GPU_UTILITY | GT_GPU_VIDEO, text, sizeof(text));
	assert_string_equal(text, "utility,video");
	gt_gpu_capabilities_text(0, text, sizeof(text));
	assert_string_equal(text, "");
}

static void an_instance_has_its_own_nodes(void **state)
{
	struct gt_inject_gpu g = gpu(0);
	struct driver_root d;
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };

	(void)state;
	g.gi = 3;
	g.ci = 0;
	driver_root_open(&d, 1);
	assert_int_equal(gt_gpu_inject(&d.roots, &g, 1, GT_GPU_COMPUTE, i, &err), 0);
	gt_auto(free) char *got = listed(i);

	assert_non_null(strstr(got, "node /dev/nvidia0 c 195:0 rw\n"
				    "node /dev/nvidia-caps/nvidia-cap30 c 239:30 rw\n"
				    "node /dev/nvidia-caps/nvidia-cap31 c 239:31 rw\n"));
	assert_null(strstr(got, "cap39"));
	assert_null(strstr(got, "nvidia-cap1 ")); /* who may partition */
	for (size_t k = 0; k < i->n_texts; k++) {
		if (strcmp(i->texts[k].path, "nvidia-caps/mig-minors") == 0)
			assert_string_equal(i->texts[k].text,
					    "gpu0/gi3/access 30\ngpu0/gi3/ci0/access 31\n");
		if (strstr(i->texts[k].path, "gi3/access"))
			assert_non_null(strstr(i->texts[k].text, "DeviceFileModify: 0"));
		if (strstr(i->texts[k].path, "params"))
			assert_non_null(strstr(i->texts[k].text, "ModifyDeviceFiles: 0"));
	}
	g.gi = 5;
	refused(&d, &g, -ENOENT, "has no gpu0/gi5/access: the instance is gone");
	driver_root_close(&d);
}

static void what_is_missing_is_named(void **state)
{
	struct gt_inject_gpu g = gpu(0);
	struct driver_root d;

	(void)state;
	driver_root_open(&d, 1);
	driver_root_remove(&d, "driver/usr/lib64/libcuda.so." V);
	refused(&d, &g, -ENOENT, "there is no libcuda.so." V " in usr/lib");
	driver_root_put(&d, "proc/devices", "Character devices:\n195 nvidia\n");
	refused(&d, &g, -ENOENT, "no character device \"nvidia-uvm\"");
	driver_root_put(&d, "proc/driver/nvidia/version", "something else\n");
	refused(&d, &g, -ENODEV, "names no version");
	driver_root_remove(&d, "proc/driver/nvidia/version");
	refused(&d, &g, -ENODEV, "no NVIDIA driver is loaded");
	driver_root_close(&d);
}

/* The root may be a system of its own, with links that are meant from there on. */
static void links_stay_below_the_drivers_root(void **state)
{
	struct gt_inject_gpu g = gpu(0);
	gt_auto(inject) struct gt_inject *i = gt_inject_new();
	struct gt_err err = { 0 };
	struct driver_root d;
	char path[256], out[256] = "";
	struct stat st;
	ssize_t n;

	(void)state;
	driver_root_open(&d, 1);
	driver_root_remove(&d, "driver/usr/lib64/libcuda.so." V);
	driver_root_put(&d, "driver/opt/cuda", "the right one");
	snprintf(path, sizeof(path), "%s/usr/lib64/libcuda.so." V, d.driver);
	assert_int_equal(symlink("/opt/cuda", path), 0);
	assert_int_equal(gt_gpu_inject(&d.roots, &g, 1, GT_GPU_COMPUTE, i, &err), 0);
	for (size_t k = 0; k < i->n_binds; k++) {
		if (!strstr(i->binds[k].path, "libcuda"))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", i->binds[k].fd);
		n = readlink(path, out, sizeof(out) - 1);
		out[GT_MAX(n, 0)] = '\0';
		assert_int_equal(fstat(i->binds[k].fd, &st), 0);
		assert_true(S_ISREG(st.st_mode));
	}
	assert_non_null(strstr(out, "/driver/opt/cuda"));
	driver_root_close(&d);
}

static void the_kernel_tells_of_gpus(void **state)
{
	struct gt_proc_gpu gpus[GT_NODE_GPUS_MAX];
	struct gt_err err = { 0 };
	struct driver_root d;
	size_t n;

	(void)state;
	driver_root_open(&d, 3);
	assert_int_equal(gt_proc_gpus(&d.roots, gpus, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_string_equal(gpus[2].pci, "0000:00:03.0");
	assert_string_equal(gpus[2].uuid, "GPU-00000000-0000-0000-0000-000000000002");
	assert_string_equal(gpus[2].model, "NVIDIA H100 80GB HBM3");
	assert_int_equal(gpus[2].minor, 2);
	driver_root_put(&d, "proc/driver/nvidia/gpus/0000:00:09.0/information", "Model: x\n");
	assert_int_equal(gt_proc_gpus(&d.roots, gpus, &n, &err), -EINVAL);
	assert_non_null(strstr(err.text, "there is no \"Device Minor\""));
	driver_root_close(&d);
	driver_root_open(&d, 0);
	assert_int_equal(gt_proc_gpus(&d.roots, gpus, &n, &err), 0);
	assert_int_equal(n, 0);
	driver_root_close(&d);
}

/* A container without a GPU does not see those of others. */
static void without_a_gpu_all_are_hidden(void **state)
{
	struct driver_root d;

	(void)state;
	driver_root_open(&d, 2);
	gt_auto(free) char *got = inject(&d, NULL, 0, GT_GPU_CAPABILITIES);

	assert_string_equal(got, "hide devices/pci0000:00/0000:00:01.0\n"
				 "hide devices/pci0000:00/0000:00:02.0\n");
	driver_root_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_that_one_gpu_needs),
		cmocka_unit_test(fewer_capabilities_bring_less),
		cmocka_unit_test(the_drivers_own_program_comes_first),
		cmocka_unit_test(an_image_can_only_narrow),
		cmocka_unit_test(an_instance_has_its_own_nodes),
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(links_stay_below_the_drivers_root),
		cmocka_unit_test(the_kernel_tells_of_gpus),
		cmocka_unit_test(without_a_gpu_all_are_hidden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
