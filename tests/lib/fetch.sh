# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts need from outside: Debian packages, Debian's cloud kernel, busybox.
# Source this file; it defines functions only and sets ANYKVM_CACHE.
#
# Everything fetched or built for tests lives in $ANYKVM_CACHE (default ~/.cache/anykvm), never in
# the repository. An artefact is made in a temporary directory beside its final place and renamed
# there when whole, under a lock, so an interrupted run leaves nothing half done and two runs at
# the same time do not meet. Removing the whole directory is always safe.
#
#   kernel/vmlinuz, kernel/version, kernel/modules/   Debian's cloud kernel, unpacked
#   busybox/busybox                                   the static busybox

ANYKVM_CACHE=${ANYKVM_CACHE:-$HOME/.cache/anykvm}

say()  { printf '%s\n' "$*" >&2; }
die()  { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
step() { printf '==> %s\n' "$*" >&2; }

# as_root COMMAND...: run it as root, by sudo when we are not.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo -- "$@"
    else die "root is needed for: $* (no sudo here)"; fi
}

# missing_packages NAME...: print those that are not installed.
missing_packages() {
    local name
    for name; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            printf '%s\n' "$name"
    done
}

# need_packages NAME...: install what is missing; silent and instant when nothing is.
need_packages() {
    local missing log
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    set -- $missing
    step "installing Debian packages: $*"
    log=$(mktemp)
    if ! { apt_install "$@" || { as_root apt-get -q update && apt_install "$@"; }; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "could not install: $*"
    fi
    rm -f "$log"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# cached NAME COMMAND...: make sure $ANYKVM_CACHE/NAME exists. If not, COMMAND is run with a fresh
# directory as its last argument, which becomes NAME when COMMAND succeeds. NAME never changes once
# there: put a version or a checksum into it when its recipe may.
cached() {
    local name=$1 target=$ANYKVM_CACHE/$1 tmp status
    shift
    [ ! -e "$target" ] || return 0
    mkdir -p "$(dirname "$target")" "$ANYKVM_CACHE/tmp"
    # Not "( ... ) || die": bash would ignore set -e in all of the recipe.
    set +e
    (
        set -e
        exec 9>"$ANYKVM_CACHE/tmp/${name//\//-}.lock"
        flock 9
        [ ! -e "$target" ] || exit 0
        tmp=$(mktemp -d "$ANYKVM_CACHE/tmp/new.XXXXXX")
        trap 'rm -rf "$tmp"' EXIT
        chmod 755 "$tmp"
        # Without the lock's descriptor, so that nothing the recipe leaves behind can hold it.
        "$@" "$tmp" 9>&-
        mv -T "$tmp" "$target"
    )
    status=$?
    set -e
    [ "$status" = 0 ] || die "could not make $target"
}

# download_deb PACKAGE DIR: fetch the package and unpack it into DIR. Needs no root.
download_deb() {
    local package=$1 dir=$2 debs log
    debs=$(mktemp -d)
    log=$debs/log
    if ! (cd "$debs" && apt-get -q download "$package") >"$log" 2>&1; then
        as_root apt-get -q update >>"$log" 2>&1 || true
        (cd "$debs" && apt-get -q download "$package") >>"$log" 2>&1 ||
            { tail -n 5 "$log" >&2; rm -rf "$debs"; say "cannot download $package"; return 1; }
    fi
    dpkg -x "$debs"/*.deb "$dir"
    rm -rf "$debs"
}

cloud_kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*-cloud-amd64\)$/\1/p' | head -n 1
}

make_kernel() {
    local dir=$1 package version
    package=$(cloud_kernel_package)
    if [ -z "$package" ]; then
        as_root apt-get -q update >/dev/null 2>&1 || true
        package=$(cloud_kernel_package)
    fi
    [ -n "$package" ] || { say "apt knows no linux-image-cloud-amd64"; return 1; }
    step "fetching $package"
    download_deb "$package" "$dir/deb"
    version=${package#linux-image-}
    mv "$dir/deb/boot/vmlinuz-$version" "$dir/vmlinuz"
    mv "$dir/deb/boot/config-$version" "$dir/config"
    mv "$dir/deb/lib/modules/$version" "$dir/modules"
    printf '%s\n' "$version" >"$dir/version"
    rm -rf "$dir/deb"
}

make_busybox() {
    local dir=$1
    step "fetching busybox-static"
    download_deb busybox-static "$dir/deb"
    mv "$dir/deb/bin/busybox" "$dir/busybox" 2>/dev/null || mv "$dir/deb/usr/bin/busybox" "$dir/busybox"
    rm -rf "$dir/deb"
}

fetch_kernel()  { cached kernel make_kernel; }
fetch_busybox() { cached busybox make_busybox; }

# kernel_module NAME: path of the module in the fetched kernel.
kernel_module() {
    local path
    path=$(find "$ANYKVM_CACHE/kernel/modules" -name "$1.ko" -print -quit)
    [ -n "$path" ] || die "the cloud kernel has no module $1"
    printf '%s\n' "$path"
}

# pack_initramfs DIR FILE: the tree as a cpio archive the kernel takes, owned by root.
pack_initramfs() {
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --null --quiet -o -H newc -R 0:0) >"$2.new.$$"
    mv "$2.new.$$" "$2"
}

# busybox_tree DIR: an initramfs tree with busybox under all of its names and the usual folders.
busybox_tree() {
    local dir=$1 applet
    mkdir -p "$dir"/bin "$dir"/sbin "$dir"/proc "$dir"/sys "$dir"/dev "$dir"/tmp "$dir"/root "$dir"/etc "$dir"/lib
    ln -sfn . "$dir/usr"
    cp "$ANYKVM_CACHE/busybox/busybox" "$dir/bin/busybox"
    for applet in $("$ANYKVM_CACHE/busybox/busybox" --list); do
        [ "$applet" = busybox ] || ln -sf busybox "$dir/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$dir/etc/passwd"
    printf 'root:x:0:\n' >"$dir/etc/group"
}
