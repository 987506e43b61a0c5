# SPDX-License-Identifier: GPL-2.0-only
"""Processors and memory that come and go while the guest runs; what the balloon takes is given back to the host."""
import pytest
from machine import CPU
from migration import churn_machine, end, wait_tick

MIB = 1 << 20


def resident(machine, name="VmRSS"):
    """MiB of the host's memory that the QEMU process holds; VmHWM: the most that it ever held."""
    with open(f"/proc/{machine.process.pid}/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) >> 10 for line in stream if line.startswith(name))


def wait_resident(machine, what, condition, seconds=60):
    machine.wait_for(f"{what} (resident: {resident(machine)} MiB)", lambda: condition(resident(machine)), seconds)


def guest_says(machine, name, value, seconds=60):
    """The guest's watcher (churn-job) prints NAME=VALUE whenever VALUE changes; waits until VALUE is the last."""
    def last():
        rows = [row.split("=", 1)[1].strip() for row in machine.serial().split("\n")[:-1] if row.startswith(f"{name}=")]
        return rows and rows[-1] == str(value)
    machine.wait_for(f"{name}={value} from the guest", last, seconds)


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_processors(churn_guest, name):
    """Two processors are added to one and taken away again, twice, under load."""
    with churn_machine(churn_guest(rate=10, disk="-"), "-M", name, "-smp", "1,sockets=3,maxcpus=3") as machine:
        guest_says(machine, "CPUS", "0")
        for _ in range(2):
            free = [row for row in machine.qmp("query-hotpluggable-cpus") if "qom-path" not in row]
            assert len(free) == 2, free
            for row in free:
                number = row["props"]["socket-id"]
                machine.qmp("device_add", driver=f"{CPU}-x86_64-cpu", id=f"cpu{number}", **row["props"])
            guest_says(machine, "CPUS", "0-2")
            for number in (2, 1):
                machine.qmp("device_del", id=f"cpu{number}")
            guest_says(machine, "CPUS", "0")
            machine.wait_for("the processors to be gone", lambda: len(
                [row for row in machine.qmp("query-hotpluggable-cpus") if "qom-path" not in row]) == 2, 30)
        assert "CHURN-BAD" not in machine.serial(), machine.state()


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_dimm(churn_guest, name):
    with churn_machine(churn_guest(rate=10, disk="-"), "-M", name, "-m", "256,slots=2,maxmem=1G") as machine:
        guest_says(machine, "BLOCKS", "2")
        for _ in range(2):
            machine.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "ram1", "size": 256 * MIB})
            machine.qmp("device_add", driver="pc-dimm", id="dimm1", memdev="ram1")
            guest_says(machine, "BLOCKS", "4")
            machine.qmp("device_del", id="dimm1")
            guest_says(machine, "BLOCKS", "2")
            machine.wait_for("the DIMM to be gone", lambda: not machine.qmp("query-memory-devices"), 30)
            machine.qmp("object-del", id="ram1")
        assert "CHURN-BAD" not in machine.serial(), machine.state()


def test_virtio_mem(churn_guest):
    with churn_machine(churn_guest(rate=10, disk="-"), "-m", "256,maxmem=2G",
                       "-object", "memory-backend-ram,id=ram1,size=512M",
                       "-device", "virtio-mem-pci,id=mem1,memdev=ram1,requested-size=0") as machine:
        for size in (256, 128, 512, 0):
            machine.qmp("qom-set", path="/machine/peripheral/mem1", property="requested-size", value=size * MIB)
            machine.wait_for(f"{size} MiB plugged", lambda: machine.qmp(
                "qom-get", path="/machine/peripheral/mem1", property="size") == size * MIB, 60)
        assert "CHURN-BAD" not in machine.serial(), machine.state()


def test_balloon(churn_guest):
    """What the guest once used and the balloon takes leaves the host process; deflated, the guest uses it again."""
    with churn_machine(churn_guest(mib=300, rate=0, disk="-", more="again"), "-device", "virtio-balloon-pci",
                       memory=512) as machine:
        wait_tick(machine, 0)
        end(machine)
        full = resident(machine)
        assert full > 300, full
        machine.qmp("balloon", value=160 * MIB)
        wait_resident(machine, "memory to go back to the host", lambda now: now < full - 250)
        machine.wait_serial("SMALL", 60)
        small = resident(machine)
        machine.qmp("balloon", value=512 * MIB)
        machine.wait_for("the balloon to be empty", lambda: machine.qmp("query-balloon")["actual"] == 512 * MIB, 60)
        machine.wait_serial("AGAIN", 60)
        wait_resident(machine, "memory to come again", lambda now: now > small + 200)


def test_page_reporting(churn_guest):
    """Pages that the guest frees go back to the host by themselves."""
    with churn_machine(churn_guest(mib=300, rate=0, disk="-", more="again"),
                       "-device", "virtio-balloon-pci,free-page-reporting=on", memory=512) as machine:
        wait_tick(machine, 0)
        end(machine)
        peak = resident(machine, "VmHWM")
        assert peak > 300, peak
        wait_resident(machine, "memory to go back to the host", lambda now: now < peak - 200)
