# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The small guest: Debian's cloud kernel, and an initramfs of busybox, virtio drivers and guest-init.
# Source after fetch.sh. make_guest sets:
#   GUEST_KERNEL  GUEST_INITRD  GUEST_DISK (a small ext4 image, for reading and writing)

_guest_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# In the order in which they must be loaded.
GUEST_MODULES="virtio_ring virtio virtio_mmio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci
    virtio_blk virtio-rng failover net_failover virtio_net"

make_guest_files() {
    local dir=$1 module
    busybox_tree "$dir/tree"
    cp "$_guest_lib/guest-init" "$dir/tree/init"
    chmod 755 "$dir/tree/init"
    for module in $GUEST_MODULES; do
        cp "$(kernel_module "$module")" "$dir/tree/lib/"
        echo "$module" >>"$dir/tree/lib/load-order"
    done
    pack_initramfs "$dir/tree" "$dir/initrd"
    rm -rf "$dir/tree"
    mkdir "$dir/disk"
    echo "this file is on the virtio disk" >"$dir/disk/README"
    truncate -s 16M "$dir/disk.img"
    /sbin/mke2fs -q -t ext4 -O ^has_journal -L anykvm -d "$dir/disk" "$dir/disk.img"
    rm -rf "$dir/disk"
}

make_guest() {
    local name
    need_packages cpio e2fsprogs
    fetch_kernel
    fetch_busybox
    name=guest-$(cat "$_guest_lib/guest-init" "$_guest_lib/guest.sh" "$ANYKVM_CACHE/kernel/version" | sha256sum | cut -c1-12)
    cached "$name" make_guest_files
    GUEST_KERNEL=$ANYKVM_CACHE/kernel/vmlinuz
    # shellcheck disable=SC2034
    GUEST_INITRD=$ANYKVM_CACHE/$name/initrd GUEST_DISK=$ANYKVM_CACHE/$name/disk.img
}

# guest_job_initrd OUT JOB [FILES...]: OUT becomes the guest's initramfs with JOB (a shell fragment) to
# run and the files in /work.
guest_job_initrd() {
    local out=$1 job=$2 tree
    shift 2
    tree=$(mktemp -d)
    mkdir "$tree/work"
    cp "$job" "$tree/job"
    [ $# = 0 ] || cp -rL "$@" "$tree/work/"
    pack_initramfs "$tree" "$out.overlay"
    cat "$GUEST_INITRD" "$out.overlay" >"$out"
    rm -rf "$tree" "$out.overlay"
}
