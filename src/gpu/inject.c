/* inject.c - from the GPUs that a container was granted to the list of what it gets. */
#include <gantry/gpu/inject.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/base/buf.h>

#include "driver_files.h"
#include "procfs.h"

#define SLUG        "device_unavailable"
#define CTL_MINOR   255
#define UVM_MINOR   0
#define TOOLS_MINOR 1

/* ---- capabilities ---- */

static const struct {
	const char *word;
	unsigned bits;
} words[] = {
	{ "compute", GT_GPU_COMPUTE },
	{ "utility", GT_GPU_UTILITY },
	{ "video", GT_GPU_VIDEO },
	{ "all", GT_GPU_CAPABILITIES },
};

unsigned gt_gpu_capabilities(const char *text)
{
	unsigned bits = 0;

	if (!text || !*text)
		return GT_GPU_CAPABILITIES;
	for (const char *at = text; *at; at += *at == ',') {
		size_t len = strcspn(at, ",");

		for (size_t i = 0; i < GT_LEN(words); i++) {
			if (strlen(words[i].word) == len && strncmp(words[i].word, at, len) == 0)
				bits |= words[i].bits;
		}
		at += len;
	}
	return bits;
}

void gt_gpu_capabilities_text(unsigned capabilities, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < GT_LEN(words) - 1 && len < size; i++) {
		if (capabilities & words[i].bits)
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? "," : "",
						words[i].word);
	}
}

/* ---- device nodes ---- */

static int add_node(struct gt_inject *i, const char *path, uint32_t major, uint32_t minor,
		    struct gt_err *err)
{
	struct gt_inject_node node = {
		.type = 'c', .read = true, .write = true, .major = major, .minor = minor
	};

	gt_strcopy(node.path, sizeof(node.path), path);
	return gt_inject_node_add(i, &node, err);
}

/* All that programs open whatever GPU they use. nvidia-modeset is for displays. */
static int add_common(const struct gt_driver_roots *roots, uint32_t major, unsigned capabilities,
		      struct gt_inject *i, struct gt_err *err)
{
	static const char *const uvm[] = { "nvidia-uvm", NULL };
	uint32_t uvm_major;
	int r = add_node(i, "/dev/nvidiactl", major, CTL_MINOR, err);

	if (r < 0 || !(capabilities & GT_GPU_COMPUTE))
		return r;
	r = gt_proc_major(roots, uvm, &uvm_major, err);
	if (r == 0)
		r = add_node(i, "/dev/nvidia-uvm", uvm_major, UVM_MINOR, err);
	return r < 0 ? r : add_node(i, "/dev/nvidia-uvm-tools", uvm_major, TOOLS_MINOR, err);
}

/* ---- files of /proc/driver ---- */

/* The driver's libraries must not try to make or change nodes: here they can not, and some take
 * that for an error. */
static void no_modify(char *text)
{
	static const char *const names[] = { "ModifyDeviceFiles: ", "DeviceFileModify: " };

	for (size_t k = 0; k < GT_LEN(names); k++) {
		char *at = strstr(text, names[k]);

		if (at && at[strlen(names[k])] == '1')
			at[strlen(names[k])] = '0';
	}
}

/* A file that is not there on the node is not there in the container. */
static int add_text(const struct gt_driver_roots *roots, const char *path, struct gt_inject *i,
		    struct gt_err *err)
{
	gt_auto(free) char *below = gt_asprintf("driver/%s", path);
	gt_auto(free) char *text = NULL;
	int r = gt_proc_read(roots, below, &text, err);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	no_modify(text);
	return gt_inject_text_add(i, path, text, err);
}

/* ---- instances of a GPU ---- */

/* The line "gpu0/gi3/access 30" of mig-minors. */
static int mig_minor(const char *minors, const char *name, uint32_t *ret, struct gt_err *err)
{
	size_t len = strlen(name);

	for (const char *line = minors; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == ' ') {
			*ret = (uint32_t)strtoul(line + len + 1, NULL, 10);
			return 0;
		}
	}
	return gt_err_set(err, ENOENT, SLUG,
			  "driver/nvidia-caps/mig-minors has no %s: the instance is gone", name);
}

static int add_access(const char *minors, const char *name, uint32_t major, struct gt_buf *seen,
		      struct gt_inject *i, struct gt_err *err)
{
	uint32_t minor = 0;
	char path[64];
	int r = mig_minor(minors, name, &minor, err);

	if (r < 0)
		return r;
	gt_buf_addf(seen, "%s %u\n", name, minor);
	snprintf(path, sizeof(path), "/dev/nvidia-caps/nvidia-cap%u", minor);
	return add_node(i, path, major, minor, err);
}

static int add_instance(const struct gt_driver_roots *roots, const struct gt_inject_gpu *g,
			const char *minors, uint32_t major, struct gt_buf *seen,
			struct gt_inject *i, struct gt_err *err)
{
	char name[64], path[128];
	int r;

	snprintf(name, sizeof(name), "gpu%u/gi%d/access", g->minor, g->gi);
	r = add_access(minors, name, major, seen, i, err);
	snprintf(path, sizeof(path), "nvidia/capabilities/gpu%u/mig/gi%d/access", g->minor, g->gi);
	if (r == 0)
		r = add_text(roots, path, i, err);
	if (r < 0 || g->ci < 0)
		return r;
	snprintf(name, sizeof(name), "gpu%u/gi%d/ci%d/access", g->minor, g->gi, g->ci);
	r = add_access(minors, name, major, seen, i, err);
	snprintf(path, sizeof(path), "nvidia/capabilities/gpu%u/mig/gi%d/ci%d/access", g->minor,
		 g->gi, g->ci);
	return r < 0 ? r : add_text(roots, path, i, err);
}

static int add_instances(const struct gt_driver_roots *roots, const struct gt_inject_gpu *gpus,
			 size_t n, struct gt_inject *i, struct gt_err *err)
{
	static const char *const caps[] = { "nvidia-caps", NULL };
	gt_auto(free) char *minors = NULL;
	gt_auto(buf) struct gt_buf seen = { 0 };
	uint32_t major = 0;
	int r = 0;

	gt_buf_init(&seen, GT_INJECT_TEXT_MAX);
	for (size_t k = 0; r == 0 && k < n; k++) {
		if (gpus[k].gi < 0)
			continue;
		if (!minors) {
			r = gt_proc_major(roots, caps, &major, err);
			if (r == 0)
				r = gt_proc_read(roots, "driver/nvidia-caps/mig-minors", &minors,
						 err);
		}
		if (r == 0)
			r = add_instance(roots, &gpus[k], minors, major, &seen, i, err);
	}
	if (r < 0 || !minors)
		return r;
	return gt_inject_text_add(i, "nvidia-caps/mig-minors", gt_buf_str(&seen), err);
}

/* ---- what is to be seen in /proc and /sys ---- */

static bool is_granted(const char *pci, const struct gt_inject_gpu *gpus, size_t n)
{
	char name[GT_GPU_PCI_SIZE];

	for (size_t k = 0; k < n; k++) {
		if (gt_pci_name(gpus[k].pci, name, NULL) == 0 && gt_streq(name, pci))
			return true;
	}
	return false;
}

static int add_views(const struct gt_driver_roots *roots, const struct gt_inject_gpu *gpus,
		     size_t n, struct gt_inject *i, struct gt_err *err)
{
	struct gt_proc_gpu all[GT_NODE_GPUS_MAX];
	char path[GT_INJECT_PATH_MAX + 1];
	size_t n_all;
	int r = gt_proc_gpus(roots, all, &n_all, err);

	for (size_t k = 0; r == 0 && k < n_all; k++) {
		snprintf(path, sizeof(path), "nvidia/gpus/%.15s/information", all[k].pci);
		if (is_granted(all[k].pci, gpus, n))
			r = add_text(roots, path, i, err);
		else if (gt_sys_pci_path(roots, all[k].pci, path, sizeof(path), NULL) == 0)
			r = gt_inject_hide_add(i, path, err);
	}
	return r;
}

int gt_gpu_inject_texts(const struct gt_driver_roots *roots, struct gt_inject *ret,
			struct gt_err *err)
{
	static const char *const texts[] = { "nvidia/version", "nvidia/params", "nvidia/registry" };
	int r = 0;

	for (size_t k = 0; r == 0 && k < GT_LEN(texts); k++)
		r = add_text(roots, texts[k], ret, err);
	return r;
}

/* ---- all of it ---- */

static int add_devices(const struct gt_driver_roots *roots, const struct gt_inject_gpu *gpus,
		       size_t n, unsigned capabilities, struct gt_inject *i, struct gt_err *err)
{
	static const char *const frontend[] = { "nvidia-frontend", "nvidia", "nvidiactl", NULL };
	uint32_t major;
	char path[32];
	int r = gt_proc_major(roots, frontend, &major, err);

	if (r == 0)
		r = add_common(roots, major, capabilities, i, err);
	for (size_t k = 0; r == 0 && k < n; k++) {
		snprintf(path, sizeof(path), "/dev/nvidia%u", gpus[k].minor);
		r = gpus[k].minor < CTL_MINOR - 1
			    ? add_node(i, path, major, gpus[k].minor, err)
			    : gt_err_set(err, EINVAL, SLUG, "GPU %s has the minor number %u",
					 gpus[k].uuid, gpus[k].minor);
	}
	return r < 0 ? r : add_instances(roots, gpus, n, i, err);
}

int gt_gpu_inject(const struct gt_driver_roots *roots, const struct gt_inject_gpu *gpus, size_t n,
		  unsigned capabilities, struct gt_inject *ret, struct gt_err *err)
{
	char version[32], text[32];
	int r;

	capabilities &= GT_GPU_CAPABILITIES;
	if (n == 0)
		return add_views(roots, NULL, 0, ret, err);
	r = gt_proc_driver_version(roots, version, sizeof(version), err);
	if (r == 0)
		r = add_devices(roots, gpus, n, capabilities, ret, err);
	if (r == 0)
		r = gt_gpu_inject_texts(roots, ret, err);
	if (r == 0)
		r = add_views(roots, gpus, n, ret, err);
	if (r == 0)
		r = gt_driver_files(roots, version, capabilities, ret, err);
	gt_gpu_capabilities_text(capabilities, text, sizeof(text));
	return r < 0 ? r : gt_inject_env_add(ret, "NVIDIA_DRIVER_CAPABILITIES", text, err);
}
