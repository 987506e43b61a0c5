# SPDX-License-Identifier: GPL-2.0-only
"""Prints the suite protocol of tests/README.md, a line for each test; run pytest with -s -p no:terminal --assert=plain
(its explanations of a failed assertion want the terminal plugin)."""
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import machine  # noqa: E402
import migration  # noqa: E402

reported = set()


def line(text):
    print(text, flush=True)


def pytest_runtest_logreport(report):
    name = "qemu/" + report.nodeid.split("::", 1)[-1].replace("test_", "", 1)
    if report.when == "call" and report.passed:
        line(f"ok {name} [{report.duration:.0f} s]")
    elif report.skipped and name not in reported:
        line(f"skip {name} - {report.longrepr[2].replace('Skipped: ', '', 1)}")
        reported.add(name)
    elif report.failed:
        # The log keeps all; the result line says the last line of the traceback.
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash else str(report.longrepr)
        line(f"not ok {name} - {' '.join(why.split())[:800]}")
        print(report.longreprtext, file=sys.stderr, flush=True)


def pytest_collectreport(report):
    if report.failed:
        line(f"not ok qemu/collect - {' '.join(str(report.longrepr).split())[-400:]}")


def shell(script):
    try:
        return machine.shell(script)
    except machine.Failure as failure:
        pytest.fail(str(failure), pytrace=False)


@pytest.fixture(scope="session")
def guest():
    """Kernel, initramfs and small disk of the guest that ./run boots too."""
    try:
        return machine.small_guest()
    except machine.Failure as failure:
        pytest.fail(str(failure), pytrace=False)


@pytest.fixture(scope="session")
def churn_guest(guest, tmp_path_factory):
    """Makes guests that run churn.c: MiB and MiB/s to write, seconds until it compares all."""
    return migration.churn_guests(guest, tmp_path_factory.mktemp("churn"))


@pytest.fixture(scope="session")
def debian_disk():
    return shell("tests/qemu/disk.sh")[0]


@pytest.fixture
def floppy():
    def find(name):
        path = os.path.join(machine.TOP, "..", "shared", "guests", name)
        if not os.path.exists(path):
            pytest.skip(f"no ../shared/guests/{name} here")
        return ["-drive", f"file={path},format=raw,if=floppy,snapshot=on", "-boot", "a"]
    return find
