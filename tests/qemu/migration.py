# SPDX-License-Identifier: GPL-2.0-only
"""Two machines of one configuration, and the way of a guest from the one to the other."""
import os

from machine import Failure, Machine, build, job_guest, shell

HERE = os.path.dirname(os.path.abspath(__file__))

CONSOLE = "console=ttyS0 quiet loglevel=4 panic=-1 memhp_default_state=online_movable"
DONE = ("completed", "failed", "cancelled")


def churn_guests(guest, folder):
    """Makes guests that run churn.c: MiB, MiB/s to write, the disk to write ("-": none)."""
    program = build(f"{folder}/churn", f"{HERE}/churn.c")
    modules = shell(". tests/lib/fetch.sh; for m in virtio_balloon virtio_mem; do kernel_module $m; done")[:2]
    guest = job_guest(guest, folder, f"{HERE}/churn-job", program, *modules)

    def make(mib=48, rate=20, disk="/dev/vda", more=""):
        return dict(guest, append=f"churn={mib},{rate},{disk} {more}")
    return make


def churn_machine(guest, *arguments, memory=256, **options):
    """A machine that boots the guest which churns memory (churn.c); `guest` is the fixture churn_guest's answer."""
    return Machine("-m", str(memory), "-nodefaults", "-kernel", guest["kernel"], "-initrd", guest["initrd"],
                   "-append", f"{CONSOLE} {guest['append']}", *arguments, **options)


def configure(machine, capabilities=(), **parameters):
    machine.qmp("migrate-set-capabilities",
                capabilities=[{"capability": name, "state": True} for name in ("events", *capabilities)])
    if parameters:
        machine.qmp("migrate-set-parameters", **{name.replace("_", "-"): value for name, value in parameters.items()})


def status(machine):
    return machine.qmp("query-migrate").get("status", "none")


def wait_status(machine, wanted, seconds):
    return machine.wait_for(f"migration status {wanted}", lambda: status(machine) in wanted and status(machine), seconds)


def wait_migrated(source, seconds=120):
    found = wait_status(source, DONE, seconds)
    if found != "completed":
        raise Failure(f"migration {found}: {source.qmp('query-migrate')}")
    return source.qmp("query-migrate")


def wait_running(machine, seconds=60):
    machine.wait_for("the guest to run", lambda: machine.qmp("query-status")["running"], seconds)


def address(machine, kind):
    return f"unix:{machine.path('migrate')}" if kind == "unix" else "tcp:127.0.0.1:0"


def listen(target, kind):
    """Makes the target wait for a guest; the address that the source is to be told."""
    target.qmp("migrate-incoming", uri=address(target, kind))
    if kind == "unix":
        return address(target, kind)
    sockets = target.qmp("query-migrate")["socket-address"]
    return f"tcp:127.0.0.1:{sockets[0]['port']}"


def ticks(machine):
    """The numbers of the CHURN-TICK lines."""
    return [int(line.split()[1]) for line in machine.serial().split("\n")[:-1] if line.startswith("CHURN-TICK ")]


def wait_tick(machine, number, seconds=90):
    machine.wait_for(f"tick {number} of the workload", lambda: any(n >= number for n in ticks(machine)), seconds)


def end(machine, seconds=120):
    """Tells the workload to end, and waits until it has compared all it wrote."""
    machine.tell("end", "CHURN-TOLD")

    def ended():
        text = machine.serial()
        if "CHURN-BAD" in text:
            raise Failure(f"the guest lost writes: {machine.state()}")
        return "CHURN-OK" in text
    machine.wait_for("the workload's end", ended, seconds)


def no_gap(first, *others):
    """No tick is missing or told twice from machine to machine (one may be cut in two by the move)."""
    found = sorted(sum((ticks(machine) for machine in (first, *others)), []))
    missing = set(range(found[-1])) - set(found)
    assert len(missing) <= len(others), f"ticks {sorted(missing)} are missing of {found}"
    assert len(found) == len(set(found)), f"ticks were told twice: {found}"
