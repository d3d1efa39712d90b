#!/bin/bash
# Process 1 of the guest that run.sh starts. The root is the host's, read-only; GT_DIR is the source
# tree, GT_OUT a directory of the host for the results, GT_TESTS the programs to run,
# GT_BIN where gantryd is.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# What is unpacked needs a file system that maps ids, which tmpfs does since 6.3 only.
mount -t tmpfs tmpfs /tmp
mknod /tmp/ubda b 98 0
mount -t ext4 /tmp/ubda /tmp
mkdir -p /dev/pts /dev/shm /tmp/out
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t hostfs -o "$GT_OUT" none /tmp/out
for module in overlayfs/overlay erofs/erofs; do
	busybox insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/$module.ko"
done
ip link set lo up
cd "$GT_DIR" || exit 1
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
# shellcheck disable=SC2086
scripts/run-tests.sh /tmp/out/counts ${GT_TESTS//,/ }
bad=$?
GT_RESULTS=/tmp/out/e2e.txt BIN=$GT_BIN scripts/e2e.sh tests/e2e/test_old_kernels.py -q \
	-p no:cacheprovider > /tmp/out/e2e.log 2>&1 || bad=1
echo "$bad" > /tmp/out/status
busybox poweroff -f
