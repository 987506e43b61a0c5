#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds the disk of the whole-system tests into the cache and prints its path: an MBR disk with GRUB,
# one ext4 partition, and a minimal Debian with systemd, which asks for an address by DHCP, talks to the echo
# service at 10.0.2.100:7 (a guestfwd of the test's), says GUEST-DISK-READY on ttyS0 and powers off.
#
# Services and drivers that the tests do not need are masked: under an interpreter each costs seconds.
#
# No loop device and no mount: the file system is made from a folder (mke2fs -d) inside the image file,
# and GRUB is put into the gap before the partition by hand. debootstrap needs root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/fetch.sh"

# The mirror and suite that this machine's apt uses for Debian itself.
debian_suite() { . /etc/os-release; printf '%s' "$VERSION_CODENAME"; }
debian_mirror() {
    apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
        sed -n "s/^Packages $1 main //p" | head -n 1
}

write_root_files() {
    local root=$1 kernel module
    printf 'anykvm-guest\n' >"$root/etc/hostname"
    printf '/dev/vda1 / ext4 defaults 0 1\n' >"$root/etc/fstab"
    printf '[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' >"$root/etc/systemd/network/10-all.network"
    cat >"$root/usr/local/sbin/guest-ready" <<'GUEST'
#!/bin/bash
# Proves disk and network, says so on the serial line, and powers off.
question="hello-$$-$RANDOM"
exec 3<>/dev/tcp/10.0.2.100/7 && echo "$question" >&3 && read -r -t 30 answer <&3
exec 3>&-
address=$(ip -4 -o addr show scope global | sed 's/.* inet \([0-9.]*\).*/\1/' | head -n 1)
driver=$(basename "$(readlink /sys/class/net/"$(ip -o route get 10.0.2.2 | sed 's/.* dev \([^ ]*\).*/\1/')"/device/driver)")
echo written >/var/tmp/probe && sync && [ "$(cat /var/tmp/probe)" = written ] && disk=ok
[ "$answer" = "$question" ] && echo=ok
printf '\nGUEST-DISK-READY kernel=%s root=%s disk=%s net=%s address=%s echo=%s\n' "$(uname -r)" \
    "$(findmnt -n -o SOURCE /)" "${disk:-bad}" "$driver" "${address:-none}" "${echo:-bad}" >/dev/ttyS0
GUEST
    chmod 755 "$root/usr/local/sbin/guest-ready"
    cat >"$root/etc/systemd/system/guest-ready.service" <<'GUEST'
[Unit]
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/guest-ready
ExecStartPost=/usr/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
GUEST
    mkdir -p "$root/boot/grub" "$root/etc/initramfs-tools/conf.d"
    kernel=$(basename "$root"/boot/vmlinuz-*)
    cat >"$root/boot/grub/grub.cfg" <<GUEST
serial --unit=0 --speed=115200
terminal_output console serial
set timeout=1
echo GUEST-GRUB
menuentry Debian {
    linux /boot/$kernel root=/dev/vda1 ro console=tty0 console=ttyS0 quiet loglevel=4 mitigations=off systemd.show_status=0
    initrd /boot/initrd.img-${kernel#vmlinuz-}
}
GUEST
    # Drivers that udev would load for the processor and the chipset, and nothing here uses.
    for module in kvm kvm_amd kvm_intel aesni_intel sha256_ssse3 sha512_ssse3 ghash_clmulni_intel crct10dif_pclmul \
        crc32_pclmul crc32c_intel ata_piix ata_generic button parport_pc evdev; do
        echo "install $module /bin/true"
    done >"$root/etc/modprobe.d/small.conf"
    # Only the drivers that this disk needs: the smaller the archive, the sooner it is unpacked.
    echo MODULES=list >"$root/etc/initramfs-tools/conf.d/small"
    printf 'virtio_pci\nvirtio_blk\n' >>"$root/etc/initramfs-tools/modules"
}

make_disk() {
    local dir=$1 suite mirror root=$1/root image=$1/disk.img grub=/usr/lib/grub/i386-pc
    suite=$(debian_suite)
    mirror=$(debian_mirror "$suite")
    [ -n "$mirror" ] || { say "apt has no source for $suite main"; return 1; }
    step "building the Debian disk image (a few minutes)"
    as_root debootstrap --variant=minbase \
        --include=systemd-sysv,udev,iproute2,kmod,dbus,initramfs-tools,linux-image-cloud-amd64 \
        "$suite" "$root" "$mirror" >"$dir/log" 2>&1 || { tail -n 5 "$dir/log" >&2; return 1; }
    as_root bash -euc "$(declare -f write_root_files); write_root_files '$root'
        chroot '$root' systemctl -q enable systemd-networkd systemd-networkd-wait-online guest-ready
        chroot '$root' systemctl -q mask apt-daily.timer apt-daily-upgrade.timer man-db.timer dpkg-db-backup.timer \
            e2scrub_all.timer e2scrub_reap modprobe@configfs modprobe@dm_mod modprobe@drm modprobe@efi_pstore modprobe@fuse \
            modprobe@loop dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
            sys-fs-fuse-connections.mount sys-kernel-config.mount systemd-journal-flush systemd-update-utmp \
            systemd-update-utmp-runlevel systemd-pstore systemd-random-seed systemd-sysctl systemd-binfmt
        chroot '$root' update-initramfs -u
        chroot '$root' apt-get clean
        rm -rf '$root'/var/lib/apt/lists/* '$root'/usr/share/doc '$root'/usr/share/man '$root'/usr/share/locale" \
        >>"$dir/log" 2>&1 || { tail -n 5 "$dir/log" >&2; return 1; }

    truncate -s 1G "$image"
    printf 'label: dos\nstart=2048, type=83, bootable\n' | /sbin/sfdisk -q "$image"
    as_root /sbin/mke2fs -q -t ext4 -d "$root" -E offset=$((2048 * 512)) "$image" $((1024 * 1024 - 1024))K
    as_root rm -rf "$root"
    grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$dir/core.img" \
        biosdisk part_msdos ext2 normal linux echo serial terminal configfile
    [ "$(stat -c %s "$dir/core.img")" -lt $((2047 * 512)) ] || { say "GRUB does not fit before the partition"; return 1; }
    # boot.img looks for the rest in sector 1 unless told otherwise; bytes 440 to 511 are the partition table's.
    dd if="$grub/boot.img" of="$image" bs=440 count=1 conv=notrunc status=none
    dd if="$dir/core.img" of="$image" bs=512 seek=1 conv=notrunc status=none
    rm -f "$dir/core.img"
}

need_packages debootstrap e2fsprogs fdisk grub-pc-bin grub-common
name=disk-$(sha256sum <"$here/disk.sh" | cut -c1-12)
cached "$name" make_disk
printf '%s\n' "$ANYKVM_CACHE/$name/disk.img"
