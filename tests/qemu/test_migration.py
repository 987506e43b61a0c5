# SPDX-License-Identifier: GPL-2.0-only
"""Guests that move between QEMU processes, and snapshots, while the guest writes memory, disk and network."""
import subprocess

import pytest
from machine import ACCEL
from migration import (churn_machine, configure, end, listen, no_gap, ticks, wait_migrated, wait_running, wait_status,
                       wait_tick)

NETWORK = ["-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="]


def devices(disk):
    return ["-drive", f"file={disk},format=raw,if=none,id=disk,cache=none", "-device", "virtio-blk-pci,drive=disk",
            *NETWORK]


@pytest.fixture
def disk(tmp_path):
    path = tmp_path / "disk"
    with open(path, "wb") as stream:
        stream.truncate(16 << 20)
    return path


def move(guest, disk, *arguments, kind="unix", capabilities=(), **options):
    """Boots, migrates in the middle of the workload, and ends it on the other side; returns query-migrate's answer."""
    parameters = options.pop("parameters", {"downtime_limit": 300})
    arguments = [*devices(disk), *arguments]
    with churn_machine(guest, *arguments, **options) as source, \
            churn_machine(guest, *arguments, "-incoming", "defer", **options) as target:
        wait_tick(source, 2)
        for machine in (source, target):
            configure(machine, capabilities, **parameters)
        source.qmp("migrate", uri=listen(target, kind))
        if "postcopy-ram" in capabilities:
            source.qmp("migrate-start-postcopy")
        info = wait_migrated(source)
        wait_running(target)
        if "postcopy-ram" in capabilities:
            assert info["ram"]["postcopy-requests"], f"the target asked for no page: {info}"
        end(target)
        no_gap(source, target)
        return info


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_migrate(churn_guest, disk, kind):
    move(churn_guest(), disk, kind=kind)


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_migrate_smp(churn_guest, disk, name):
    move(churn_guest(), disk, "-M", name, "-smp", "2")


@pytest.mark.skipif(ACCEL != "kvm", reason="only KVM has a dirty ring")
@pytest.mark.parametrize("processors", [1, 2])
def test_migrate_dirty_ring(churn_guest, disk, processors):
    move(churn_guest(), disk, "-smp", str(processors), accel="kvm,dirty-ring-size=4096")


def test_migrate_multifd(churn_guest, disk):
    move(churn_guest(), disk, capabilities=["multifd"], parameters={"multifd_channels": 3}, kind="tcp")


def test_migrate_auto_converge(churn_guest, disk):
    move(churn_guest(rate=0), disk, capabilities=["auto-converge"],
         parameters={"max_bandwidth": 200 << 20, "downtime_limit": 100})


@pytest.mark.parametrize("processors", [1, 2])
def test_migrate_postcopy(churn_guest, disk, processors):
    move(churn_guest(rate=0), disk, "-smp", str(processors), capabilities=["postcopy-ram"],
         parameters={"max_bandwidth": 30 << 20})


def test_migrate_cancelled(churn_guest, disk):
    """Cancelled half-way, the guest goes on where it is; and moves when it is asked to again."""
    guest, arguments = churn_guest(rate=0), devices(disk)
    with churn_machine(guest, *arguments) as source:
        wait_tick(source, 1)
        configure(source, max_bandwidth=10 << 20)
        for _ in range(2):
            with churn_machine(guest, *arguments, "-incoming", "defer") as target:
                source.qmp("migrate", uri=listen(target, "unix"))
                wait_status(source, ["active"], 30)
                source.qmp("migrate_cancel")
                wait_status(source, ["cancelled"], 30)
        with churn_machine(guest, *arguments, "-incoming", "defer") as target:
            configure(source, max_bandwidth=1 << 40, downtime_limit=1000)
            source.qmp("migrate", uri=listen(target, "unix"))
            wait_migrated(source)
            end(target)
            no_gap(source, target)


def test_migrate_target_killed(churn_guest, disk):
    """The target dies half-way: the source carries on to its end."""
    guest, arguments = churn_guest(rate=0), devices(disk)
    with churn_machine(guest, *arguments) as source:
        wait_tick(source, 1)
        with churn_machine(guest, *arguments, "-incoming", "defer") as target:
            configure(source, max_bandwidth=10 << 20)
            source.qmp("migrate", uri=listen(target, "unix"))
            wait_status(source, ["active"], 30)
            source.wait_for("memory to have moved", lambda: source.qmp("query-migrate")["ram"]["transferred"] > 5 << 20, 30)
        wait_status(source, ["failed"], 30)
        end(source)
        no_gap(source)


def test_snapshot(churn_guest, tmp_path):
    """savevm while the guest works, which goes on; then loadvm, twice: the guest finds memory and disk as they were."""
    image = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "16M"], check=True)
    arguments = ["-drive", f"file={image},format=qcow2,if=virtio"]
    with churn_machine(churn_guest(), *arguments, "-smp", "2") as machine:
        wait_tick(machine, 2)
        for command in ("savevm one", "loadvm one", "loadvm one"):
            answer = machine.monitor(command)
            assert answer == "", answer
            before = len(ticks(machine))
            machine.wait_for("the guest to go on", lambda: len(ticks(machine)) > before + 1, 30)
        end(machine)
        told = ticks(machine)
        assert max(map(told.count, told)) == 3, told


def test_snapshot_background(churn_guest, tmp_path):
    """A snapshot of the guest as it was when it began, taken by write protection while it runs; another machine loads it."""
    guest, arguments = churn_guest(rate=0, disk="-"), NETWORK
    saved = tmp_path / "saved"
    with churn_machine(guest, *arguments) as source:
        configure(source, ["background-snapshot"])
        wait_tick(source, 2)
        source.qmp("migrate", uri=f"exec:cat >{saved}")
        # Pages are saved: the machine has stopped, and goes on.
        source.wait_for("memory to be saved", lambda: source.qmp("query-migrate").get("ram", {}).get("transferred", 0) > 1 << 20,
                        30)
        begun = ticks(source)[-1]
        wait_migrated(source)
        end(source)
        no_gap(source)
    with churn_machine(guest, *arguments, "-incoming", "defer") as target:
        target.qmp("migrate-incoming", uri=f"exec:cat {saved}")
        wait_running(target)
        end(target)
        assert ticks(target)[0] <= begun + 1, (ticks(target), begun)
