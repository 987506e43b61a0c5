# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Builds Linux's KVM selftests from Debian's linux-source-6.1 into the cache. Source after lib/fetch.sh;
# build_selftests sets SELFTESTS to the directory with the programs, named as the kernel names them.

make_selftests() {
    local dir=$1 src log program
    step "building Linux's KVM selftests (a minute or two)"
    log=$dir/build.log
    src=$dir/src/linux-source-6.1
    mkdir -p "$dir/src"
    tar -C "$dir/src" -xf /usr/src/linux-source-6.1.tar.xz \
        --exclude='*/drivers' --exclude='*/sound' --exclude='*/Documentation' --exclude='*/fs'
    # A round has 68 busy threads, which takes a second on two processors: 32 of them instead of 512.
    sed -i 's/^#define FORK_NUM (1ULL << 9)$/#define FORK_NUM (1ULL << 5)/' \
        "$src/tools/testing/selftests/kvm/hardware_disable_test.c"
    make -C "$src" ARCH=x86 headers_install >"$log" 2>&1 || { tail -n 20 "$log" >&2; return 1; }
    # Debian's stable tree carries tests that use a macro its headers do not define. -k: what does
    # not build is seen as missing when its verdict is due.
    make -C "$src/tools/testing/selftests/kvm" -k -j"$(nproc)" \
        EXTRA_CFLAGS='-DTEST_ASSERT_EQ=ASSERT_EQ -include linux/stddef.h' >>"$log" 2>&1 || true
    (cd "$src/tools/testing/selftests/kvm" && find . -type f -perm -u+x ! -name '*.sh' ! -name '*.o' -printf '%P\n') |
        while read -r program; do
            install -D -m 755 "$src/tools/testing/selftests/kvm/$program" "$dir/$program"
        done
    rm -rf "$dir/src"
    [ -x "$dir/set_memory_region_test" ] || { tail -n 20 "$log" >&2; return 1; }
}

build_selftests() {
    local version
    need_packages linux-source-6.1 gcc libc6-dev make flex bison rsync xz-utils binutils
    version=$(dpkg-query -W -f '${Version}' linux-source-6.1)
    cached "selftests-$version-2" make_selftests
    # shellcheck disable=SC2034
    SELFTESTS=$ANYKVM_CACHE/selftests-$version-2
}
