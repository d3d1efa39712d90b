#!/bin/bash
# Process 1 of the guest that run.sh starts. The root is the host's, read-only; GT_DIR is the source
# tree, GT_OUT a directory of the host for the results, GT_TESTS the programs to run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm /tmp/out
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t hostfs -o "$GT_OUT" none /tmp/out
busybox insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
ip link set lo up
cd "$GT_DIR" || exit 1
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
# shellcheck disable=SC2086
scripts/run-tests.sh /tmp/out/counts ${GT_TESTS//,/ }
echo "$?" > /tmp/out/status
busybox poweroff -f
