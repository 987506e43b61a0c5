# SPDX-License-Identifier: GPL-2.0-only
"""Whole systems in unmodified QEMU: ACCEL=kvm (the default) runs it by `anykvm run`, ACCEL=tcg without."""
import re

import pytest
from machine import ACCEL, Failure, Machine

CONSOLE = "console=ttyS0 quiet loglevel=4 panic=-1 guest=demo"

MACHINES = {
    "pc": ["-M", "pc"],
    "q35": ["-M", "q35"],
    "microvm": ["-M", "microvm,acpi=on"],
}


def boot_kernel(guest, *arguments, **options):
    """Debian's cloud kernel by -kernel, to userland, through the demonstration, and off again."""
    with Machine("-m", "512", "-nodefaults", "-kernel", guest["kernel"], "-initrd", guest["initrd"],
                 "-append", CONSOLE, *arguments, **options) as machine:
        machine.wait_serial("GUEST-USERLAND", 120)
        machine.wait_serial("GUEST-DEMO-OK", 120)
        status = machine.wait_exit(60)
        if status != 0:
            raise Failure(f"QEMU ended with status {status}; {machine.state()}")
        return machine.serial()


@pytest.mark.parametrize("name", MACHINES)
def test_kernel(guest, name):
    boot_kernel(guest, *MACHINES[name])


@pytest.mark.parametrize("irqchip", ["split", "off"])
def test_kernel_irqchip(guest, irqchip):
    if ACCEL != "kvm":
        pytest.skip("only KVM has a kernel irqchip")
    boot_kernel(guest, accel=f"kvm,kernel-irqchip={irqchip}")


def test_kernel_virtio(guest):
    serial = boot_kernel(guest, "-drive", f"file={guest['disk']},format=raw,if=virtio,snapshot=on",
                         "-device", "virtio-rng-pci")
    assert "this file is on the virtio disk" in serial, "the disk was not read"
    assert "virtio_rng" in serial, "no entropy device"


def test_debian_disk(debian_disk):
    """SeaBIOS, GRUB from the disk's boot sector, Debian with systemd on virtio-blk, virtio-net up, ACPI off."""
    with Machine("-m", "1024", "-nodefaults", "-vga", "std",
                 "-drive", f"file={debian_disk},format=raw,if=virtio,snapshot=on",
                 "-netdev", "user,id=net,restrict=on,guestfwd=tcp:10.0.2.100:7-cmd:cat",
                 "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci") as machine:
        machine.wait_serial("GUEST-GRUB", 60)
        line = machine.wait_serial("GUEST-DISK-READY", 900)
        facts = dict(word.split("=", 1) for word in line.split()[1:])
        del facts["kernel"]
        assert facts == {"root": "/dev/vda1", "disk": "ok", "net": "virtio_net", "address": "10.0.2.15",
                         "echo": "ok"}, f"the guest says {line}"
        status = machine.wait_exit(120)
        assert status == 0, f"QEMU ended with status {status}"


def test_freedos(floppy):
    with Machine("-m", "64", *floppy("freedos722.img")) as machine:
        machine.wait_screen("A:\\>", 60)
        machine.type_line("ver")
        # The shell names itself when it starts, too; the answer comes after the question, the next prompt after that.
        machine.wait_for("the answer to VER", lambda: re.search(
            r"A:\\>ver\s+FreeCom version 0\.82 .*A:\\>\s*$", machine.text_screen()), 20)


def test_kolibrios(floppy):
    """The desktop: its task bar at the bottom with the menu button at the left, icons above."""
    with Machine("-m", "128", *floppy("kolibri.img")) as machine:
        machine.wait_for("KolibriOS's desktop", lambda: is_kolibri_desktop(*machine.picture()), 120)


def is_kolibri_desktop(width, height, pixels):
    if (width, height) != (800, 600):
        return False

    def at(x, y):
        start = (y * width + x) * 3
        return tuple(pixels[start:start + 3])

    def near(colour, wanted):
        return all(abs(a - b) <= 8 for a, b in zip(colour, wanted))
    bar = all(near(at(x, 590), (223, 219, 223)) for x in range(80, 700, 10))
    menu = near(at(8, 580), (0, 100, 0))
    # The corners hold icons on a smooth background: many colours, but none of the black of a screen being drawn.
    colours = {at(x, y) for y in range(0, 570) for x in range(0, 200)}
    return bar and menu and len(colours) > 500


def test_openbsd(floppy):
    """Kernel of 2000: its device probe over ISA, PCI and the BIOS's 32-bit services, then the installer's question."""
    with Machine("-m", "64", *floppy("openbsd.img")) as machine:
        machine.wait_screen("mainbus0 (root)", 60)
        screen = machine.wait_screen("rootdev=0x1100", 120)
        for device in ("pci0 at mainbus0", "pciide0 at pci0", "npx0 at isa0", "pccom0 at isa0", "fd0 at fdc0"):
            assert device in screen, f"no {device!r} in the device probe: {' '.join(screen.split())}"
        machine.wait_screen("(I)nstall, (U)pgrade or (S)hell?", 60)
        machine.type_line("s")
        machine.wait_screen("(S)hell? s", 20)
