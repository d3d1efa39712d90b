#!/bin/bash
# Process 1 of the guest that run.sh starts. The root is the host's, read-only; GT_DIR is the source
# tree, GT_TESTS the programs to run, GT_BIN where gantryd is.
# shellcheck source=tests/uml/mounts.sh
. "$GT_DIR/tests/uml/mounts.sh"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd "$GT_DIR" || exit 1
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
# shellcheck disable=SC2086
scripts/run-tests.sh /tmp/out/counts ${GT_TESTS//,/ }
bad=$?
GT_RESULTS=/tmp/out/e2e.txt BIN=$GT_BIN scripts/e2e.sh tests/e2e/test_old_kernels.py tests/e2e/test_gpu_many.py -q \
	> /tmp/out/e2e.log 2>&1 || bad=1
echo "$bad" > /tmp/out/status
busybox poweroff -f
