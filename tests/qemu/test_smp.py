# SPDX-License-Identifier: GPL-2.0-only
"""Guests of many processors: memory order, code and page tables that change under others, start-up. LONG=1: more of it."""
import glob
import os

import pytest
from machine import TOP, Failure, Machine, build, job_guest

LONG = bool(os.environ.get("LONG"))
CONSOLE = "console=ttyS0 quiet loglevel=4 panic=-1"


def boot(guest, processors, *arguments, append=""):
    return Machine("-m", "512", "-nodefaults", "-kernel", guest["kernel"], "-initrd", guest["initrd"],
                   "-append", f"{CONSOLE} {append}", "-smp", str(processors), *arguments)


@pytest.fixture(scope="session")
def litmus_guest(guest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("litmus")
    program = build(folder / "litmus", *glob.glob(f"{TOP}/tests/litmus/*.c"))
    (folder / "job").write_text(f"/work/litmus {20 if LONG else 1}\n")
    return job_guest(guest, folder, folder / "job", program)


@pytest.mark.parametrize("processors", [2, 4])
def test_litmus(litmus_guest, processors):
    with boot(litmus_guest, processors) as machine:
        machine.wait_serial("LITMUS-END", 3600 if LONG else 300)
        found = [row.strip() for row in machine.serial().split("\n") if "ok litmus/" in row]
        print("\n".join(f"| {row}" for row in found))
        wrong = [row for row in found if not row.startswith("ok ")]
        if wrong or len(found) != 14:
            raise Failure(f"{wrong or found}")


@pytest.fixture(scope="session")
def counting_guest(guest, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counting")
    (folder / "job").write_text('echo "CPUS-ONLINE $(cat /sys/devices/system/cpu/online)"\n')
    return job_guest(guest, folder, folder / "job")


@pytest.mark.parametrize("processors", [8, 64])
def test_boot_processors(counting_guest, processors):
    with boot(counting_guest, processors) as machine:
        line = machine.wait_serial("CPUS-ONLINE", 900)
        assert line == f"CPUS-ONLINE 0-{processors - 1}", line
        assert machine.wait_exit(120) == 0
