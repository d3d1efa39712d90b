#!/bin/bash
# Process 1 of a guest whose service manager is systemd, with the unit that `make install` puts in place:
# what its reload does to the devices of containers (test_reload.py). Variables as in init.sh.
# shellcheck source=tests/uml/mounts.sh
. "$GT_DIR/tests/uml/mounts.sh"
mount -t tmpfs tmpfs /run
units=/run/systemd/system
mkdir -p $units/gantryd.service.d
cp "$GT_DIR/scripts/gantryd.service" $units/
# Nothing of the host's own services is wanted.
cat > $units/gantryd.service.d/test.conf <<UNIT
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart=$GT_DIR/$GT_BIN/gantryd run --state /tmp/state --listen 127.0.0.1:8080 --config /tmp/gantryd.conf
UNIT
# A container of a runtime that changes the rules of a group of systemd's.
cat > $units/other.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/sleep 100000
DevicePolicy=closed
UNIT
cat > $units/check.service <<UNIT
[Unit]
DefaultDependencies=no
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
WorkingDirectory=$GT_DIR
Environment=GT_RESULTS=/tmp/out/e2e.txt BIN=$GT_BIN PYTHONPATH=tests/e2e HOME=/tmp
ExecStart=/bin/sh -c 'scripts/e2e.sh tests/uml/test_reload.py -q > /tmp/out/e2e.log 2>&1; echo \$? > /tmp/out/status'
UNIT
cat > $units/check.target <<UNIT
[Unit]
DefaultDependencies=no
Wants=check.service
UNIT
exec /lib/systemd/systemd --unit=check.target --log-target=kmsg --show-status=no
