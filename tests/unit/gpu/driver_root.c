/* driver_root.c */
#include "driver_root.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void make_parents(char *path)
{
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
		*at = '/';
	}
}

void driver_root_put(const struct driver_root *d, const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", d->dir, path);
	make_parents(full);
	f = fopen(full, "we");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

void driver_root_remove(const struct driver_root *d, const char *path)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", d->dir, path);
	assert_int_equal(remove(full), 0);
}

static void put_libraries(const struct driver_root *d)
{
	static const char *const names[] = {
		"libcuda.so",        "libnvidia-ml.so",      "libnvidia-ptxjitcompiler.so",
		"libnvidia-nvvm.so", "libnvidia-gpucomp.so", "libnvcuvid.so",
	};
	char path[160];

	for (size_t i = 0; i < GT_LEN(names); i++) {
		snprintf(path, sizeof(path), "driver/usr/lib64/%s." DRIVER_VERSION, names[i]);
		driver_root_put(d, path, names[i]);
	}
	driver_root_put(d, "driver/usr/lib64/libcuda.so.999.1", "of another version");
	driver_root_put(d, "driver/usr/bin/nvidia-smi", "#!/bin/sh\necho smi\n");
	snprintf(path, sizeof(path), "%s/driver/usr/bin/nvidia-smi", d->dir);
	assert_int_equal(chmod(path, 0755), 0);
}

static void put_gpu(const struct driver_root *d, unsigned n)
{
	char path[160], text[512], link[160], to[64];

	snprintf(path, sizeof(path), "proc/driver/nvidia/gpus/0000:00:%02x.0/information", n + 1);
	snprintf(text, sizeof(text),
		 "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 32\n"
		 "GPU UUID: \t GPU-00000000-0000-0000-0000-00000000000%x\n"
		 "Bus Type: \t PCIe\nBus Location: \t 0000:00:%02x.0\nDevice Minor: \t %u\n",
		 n, n + 1, n);
	driver_root_put(d, path, text);
	driver_root_put(d, "sys/bus/pci/devices/none", "");
	snprintf(link, sizeof(link), "%s/bus/pci/devices/0000:00:%02x.0", d->sys, n + 1);
	snprintf(to, sizeof(to), "../../../devices/pci0000:00/0000:00:%02x.0", n + 1);
	assert_int_equal(symlink(to, link), 0);
}

void driver_root_open(struct driver_root *d, unsigned gpus)
{
	*d = (struct driver_root){ .dir = "/tmp/gantry-driver-XXXXXX" };
	assert_non_null(mkdtemp(d->dir));
	assert_int_equal(chmod(d->dir, 0755), 0);
	snprintf(d->driver, sizeof(d->driver), "%s/driver", d->dir);
	snprintf(d->proc, sizeof(d->proc), "%s/proc", d->dir);
	snprintf(d->sys, sizeof(d->sys), "%s/sys", d->dir);
	d->roots = (struct gt_driver_roots){ d->driver, d->proc, d->sys };
	driver_root_put(d, "proc/devices",
			"Character devices:\n  1 mem\n195 nvidia-frontend\n239 nvidia-caps\n"
			"510 nvidia-uvm\n\nBlock devices:\n  7 nvidia-uvm\n");
	driver_root_put(d, "proc/driver/nvidia/version",
			"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " DRIVER_VERSION
			"  Release Build  (someone@somewhere)\nGCC version:  gcc version 12.2.0\n");
	driver_root_put(
		d, "proc/driver/nvidia/params",
		"ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileMode: 438\n");
	driver_root_put(d, "proc/driver/nvidia-caps/mig-minors",
			"config 1\nmonitor 2\ngpu0/gi3/access 30\ngpu0/gi3/ci0/access 31\n"
			"gpu0/gi4/access 39\ngpu0/gi4/ci0/access 40\n");
	driver_root_put(d, "proc/driver/nvidia/capabilities/gpu0/mig/gi3/access",
			"DeviceFileMinor: 30\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
	put_libraries(d);
	for (unsigned i = 0; i < gpus; i++)
		put_gpu(d, i);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

void driver_root_close(struct driver_root *d)
{
	nftw(d->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
