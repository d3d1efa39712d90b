/* procfs.c - the driver by the kernel's own word: which GPUs there are, which version is loaded,
 * which numbers its devices have. */
#include "procfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>

#define SLUG "device_unavailable"

static const char *proc_root(const struct gt_driver_roots *roots)
{
	return roots && roots->proc && *roots->proc ? roots->proc : "/proc";
}

int gt_proc_read(const struct gt_driver_roots *roots, const char *path, char **ret,
		 struct gt_err *err)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	gt_auto(free) char *full = gt_asprintf("%s/%s", proc_root(roots), path);
	gt_auto(fd) int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char part[1024];
	ssize_t n = 0;

	if (fd < 0)
		return gt_err_set(err, errno, SLUG, "%s: %s", full, strerror(errno));
	gt_buf_init(&text, GT_INJECT_TEXT_MAX);
	while (!text.failed && (n = read(fd, part, sizeof(part))) > 0)
		gt_buf_add(&text, part, (size_t)n);
	if (n < 0)
		return gt_err_set(err, errno, SLUG, "%s: %s", full, strerror(errno));
	if (text.failed || memchr(gt_buf_str(&text), '\0', text.len))
		return gt_err_set(err, EINVAL, SLUG, "%s: no text of at most %d bytes", full,
				  GT_INJECT_TEXT_MAX);
	*ret = gt_buf_steal(&text);
	return 0;
}

/* "195 nvidia-frontend" among the character devices. */
int gt_proc_major(const struct gt_driver_roots *roots, const char *const *names, uint32_t *ret,
		  struct gt_err *err)
{
	gt_auto(free) char *text = NULL;
	char *at = NULL;
	int r = gt_proc_read(roots, "devices", &text, err);

	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		unsigned major;
		char name[64];

		if (gt_starts_with(line, "Block"))
			break;
		if (sscanf(line, "%u %63s", &major, name) != 2)
			continue;
		for (const char *const *w = names; *w; w++) {
			if (gt_streq(*w, name)) {
				*ret = major;
				return 0;
			}
		}
	}
	return gt_err_set(err, ENOENT, SLUG,
			  "%s/devices has no character device \"%s\": is the kernel module loaded "
			  "(nvidia-modprobe -u -c 0)?",
			  proc_root(roots), names[0]);
}

static bool is_version(const char *word)
{
	size_t dots = 0;

	if (!isdigit((unsigned char)*word))
		return false;
	for (const char *c = word; *c; c++) {
		if (*c == '.' && isdigit((unsigned char)c[1]))
			dots++;
		else if (!isdigit((unsigned char)*c))
			return false;
	}
	return dots >= 1;
}

/* "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build ..." */
int gt_proc_driver_version(const struct gt_driver_roots *roots, char *out, size_t size,
			   struct gt_err *err)
{
	gt_auto(free) char *text = NULL;
	char *at = NULL;
	int r = gt_proc_read(roots, "driver/nvidia/version", &text, err);

	if (r == -ENOENT)
		return gt_err_set(err, ENODEV, SLUG,
				  "no NVIDIA driver is loaded: there is no %s/driver/nvidia",
				  proc_root(roots));
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	for (char *word = strtok_r(text, " \t", &at); word; word = strtok_r(NULL, " \t", &at)) {
		if (is_version(word) && gt_strcopy(out, size, word))
			return 0;
	}
	return gt_err_set(err, ENODEV, SLUG, "%s/driver/nvidia/version names no version",
			  proc_root(roots));
}

int gt_pci_name(const char *pci, char out[GT_GPU_PCI_SIZE], struct gt_err *err)
{
	unsigned domain, bus, device, function;
	int end = 0;

	if (!pci ||
	    sscanf(pci, "%8x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) != 4 ||
	    pci[end] != '\0' || domain > 0xffff)
		return gt_err_set(err, EINVAL, SLUG, "\"%.40s\" is no bus id such as 0000:c6:00.0",
				  pci ? pci : "");
	snprintf(out, GT_GPU_PCI_SIZE, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
		 device & 0xff, function & 0xf);
	return 0;
}

int gt_sys_pci_path(const struct gt_driver_roots *roots, const char *pci, char *out, size_t size,
		    struct gt_err *err)
{
	const char *root = roots && roots->sys && *roots->sys ? roots->sys : "/sys";
	gt_auto(free) char *link = gt_asprintf("%s/bus/pci/devices/%s", root, pci);
	char to[PATH_MAX];
	ssize_t n = readlink(link, to, sizeof(to) - 1);
	const char *below;

	if (n < 0)
		return gt_err_set(err, errno, SLUG, "%s: %s", link, strerror(errno));
	to[n] = '\0';
	/* "../../../devices/pci0000:00/..." */
	for (below = to; gt_starts_with(below, "../"); below += 3)
		;
	if (!gt_starts_with(below, "devices/") || !gt_strcopy(out, size, below))
		return gt_err_set(err, ENOENT, SLUG, "%s leads to %.200s, which is no device", link,
				  to);
	return 0;
}

/* ---- driver/nvidia/gpus/<bus id>/information ---- */

static void field(const char *text, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	out[0] = '\0';
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) != 0 || line[len] != ':')
			continue;
		line += len + 1;
		line += strspn(line, " \t");
		snprintf(out, size, "%.*s", (int)strcspn(line, "\n"), line);
		for (size_t n = strlen(out); n > 0 && isspace((unsigned char)out[n - 1]);)
			out[--n] = '\0';
		return;
	}
}

static int read_gpu(const struct gt_driver_roots *roots, const char *name, struct gt_proc_gpu *ret,
		    struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("driver/nvidia/gpus/%s/information", name);
	gt_auto(free) char *text = NULL;
	char minor[16], *end;
	int r = gt_pci_name(name, ret->pci, err);

	if (r == 0)
		r = gt_proc_read(roots, path, &text, err);
	if (r < 0)
		return r;
	field(text, "GPU UUID", ret->uuid, sizeof(ret->uuid));
	field(text, "Model", ret->model, sizeof(ret->model));
	field(text, "Device Minor", minor, sizeof(minor));
	ret->minor = (uint32_t)strtoul(minor, &end, 10);
	if (end == minor || *end)
		return gt_err_set(err, EINVAL, SLUG, "%s/%s: there is no \"Device Minor\"",
				  proc_root(roots), path);
	return 0;
}

static int by_pci(const void *a, const void *b)
{
	return strcmp(((const struct gt_proc_gpu *)a)->pci, ((const struct gt_proc_gpu *)b)->pci);
}

int gt_proc_gpus(const struct gt_driver_roots *roots, struct gt_proc_gpu ret[GT_NODE_GPUS_MAX],
		 size_t *n, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/driver/nvidia/gpus", proc_root(roots));
	DIR *d = opendir(path);
	struct dirent *e;
	int r = 0;

	*n = 0;
	if (!d)
		return errno == ENOENT
			       ? 0
			       : gt_err_set(err, errno, SLUG, "%s: %s", path, strerror(errno));
	while (r == 0 && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (*n == GT_NODE_GPUS_MAX)
			r = gt_err_set(err, E2BIG, SLUG, "%s: more than %d GPUs", path,
				       GT_NODE_GPUS_MAX);
		else
			r = read_gpu(roots, e->d_name, &ret[(*n)++], err);
	}
	closedir(d);
	if (r == 0)
		qsort(ret, *n, sizeof(*ret), by_pci);
	return r;
}
