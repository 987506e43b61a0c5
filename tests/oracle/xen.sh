# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Builds the oracle's kvm.ko and kvm-amd.ko once more from Debian's linux-source-6.1, with CONFIG_KVM_XEN, which Debian
# leaves out. Source after lib/fetch.sh; build_xen_kvm sets XEN_KVM to the directory with both.

make_xen_kvm() {
    local dir=$1 headers log=$1/build.log
    headers=/usr/src/linux-headers-$(cat "$ANYKVM_CACHE/kernel/version")
    step "building KVM with Xen's interface (two minutes)"
    tar -C "$dir" -xf /usr/src/linux-source-6.1.tar.xz --strip-components=1 \
        linux-source-6.1/arch/x86/kvm linux-source-6.1/virt/kvm
    # The makefiles want to be in a kernel's source; the headers' tree, which they call srctree, has no such folders.
    sed -i "s,\$(srctree)/virt/kvm/Makefile.kvm,$dir/virt/kvm/Makefile.kvm,
        s,-I \$(srctree)/arch/x86/kvm,-I$dir/arch/x86/kvm -I$dir/virt/kvm -I$dir/arch/x86 -DCONFIG_KVM_XEN=1," \
        "$dir/arch/x86/kvm/Makefile"
    make -C "$headers" "M=$dir/arch/x86/kvm" CONFIG_KVM_XEN=y CONFIG_KVM_INTEL= CONFIG_KVM_WERROR= modules \
        >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
    strip -g -o "$dir/kvm.ko" "$dir/arch/x86/kvm/kvm.ko"
    strip -g -o "$dir/kvm-amd.ko" "$dir/arch/x86/kvm/kvm-amd.ko"
    rm -rf "$dir/arch" "$dir/virt"
}

build_xen_kvm() {
    local version
    need_packages linux-source-6.1 "linux-headers-$(cat "$ANYKVM_CACHE/kernel/version")" gcc make xz-utils binutils
    version=$(dpkg-query -W -f '${Version}' linux-source-6.1)
    cached "xen-kvm-$version-$(cat "$ANYKVM_CACHE/kernel/version")" make_xen_kvm
    # shellcheck disable=SC2034
    XEN_KVM=$ANYKVM_CACHE/xen-kvm-$version-$(cat "$ANYKVM_CACHE/kernel/version")
}
