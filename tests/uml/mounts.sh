# Sourced by process 1 of a guest: file systems that the host's root, read-only, does not bring.
# GT_OUT is a directory of the host for the results.
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
mount -t hostfs -o "$GT_OUT" none /tmp/out
for module in overlayfs/overlay erofs/erofs; do
	busybox insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/$module.ko"
done
ip link set lo up
