# SPDX-License-Identifier: GPL-2.0-only
"""Debian's own programs as workloads: what each does, and a tree of the files it needs.

The same binaries run on the bare machine and in the guests, where the tree is the root directory. {n} in a command is the
amount of work: 2 takes one to three tenths of a second natively.
"""
import os
import random
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))

PACKAGES = ["coreutils", "dash", "findutils", "gcc", "grep", "gzip", "libc-bin", "openssl", "perl-base", "python3", "sed",
            "sqlite3", "xz-utils"]
BINARIES = ["cat", "cut", "dash", "find", "grep", "gzip", "head", "ls", "mkdir", "openssl", "perl", "python3", "rm",
            "sed", "sort", "sqlite3", "tr", "wc", "xz"]

PROGRAMS = {
    "python3": "python3 -S -s work.py {n}0",
    "perl": "perl work.pl {n}0",
    "sqlite3": "sqlite3 -cmd '.parameter set @rows {n}0000' :memory: <work.sql",
    "cc1": "cc1 -fpreprocessed -O2 -quiet source.i -o -",
    "xz": "head -c {n}00000 text | xz -6 -T1 -c",
    "gzip": "head -c {n}000000 text | gzip -6 -c",
    "sha256": "head -c {n}0000000 /dev/zero >zero; for i in 1 2 3 4 5; do openssl dgst -sha256 zero; done",
    "aes": "head -c {n}0000000 /dev/zero | openssl enc -aes-128-cbc -K 0123456789abcdef0123456789abcdef "
           "-iv 00000000000000000000000000000000 | wc -c",
    "sort": "head -c {n}000000 lines | LC_ALL=C sort --parallel=1",
    "walk": "i=0; while [ $i -lt $(({n} * 4)) ]; do find tree -type f -name '*7' | sort; ls -gGR --time-style=+ tree; "
            "find tree -newer work.sh -size -3 | wc -l; i=$((i + 1)); done",
    "shell": "sh work.sh {n}",
}

# Run once before, in the same directory.
PREPARE = """
mkdir tree
for a in 0 1 2 3 4 5 6 7; do
    for b in 0 1 2 3 4 5 6 7; do
        mkdir -p tree/dir$a/sub$b
        for c in 0 1 2 3 4 5 6 7 8 9; do echo $a $b $c >tree/dir$a/sub$b/file$c; done
    done
done
"""


def write_text(path, size):
    """Words of a small language of our own, the frequent ones short; the same at each run."""
    rng = random.Random(1)
    words = ["".join(rng.choice("etaoinshrdlu") for _ in range(1 + i // 150)) for i in range(1500)]
    with open(path, "w") as text:
        written = 0
        while written < size:
            line = " ".join(words[int(len(words) * rng.random() ** 2)] for _ in range(12))
            written += text.write(line + "\n")


def write_lines(path, size):
    rng = random.Random(2)
    with open(path, "w") as lines:
        while size > 0:
            size -= lines.write(f"{rng.getrandbits(40):011x} {rng.getrandbits(16)}\n")


def make_work(folder, driver):
    """The directory in which the programs run."""
    os.makedirs(folder)
    for name in os.listdir(f"{HERE}/programs"):
        shutil.copy(f"{HERE}/programs/{name}", folder)
    shutil.copy(driver, folder)
    write_text(f"{folder}/text", 4000000)
    write_lines(f"{folder}/lines", 4000000)
    subprocess.run(["gcc", "-O2", "-E", "-o", f"{folder}/source.i", f"{HERE}/compute.c"], check=True)


def path_of(program):
    if program == "cc1":
        return subprocess.run(["gcc", "-print-prog-name=cc1"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()
    return "/usr/bin/" + program


def libraries(path):
    listing = subprocess.run(["ldd", path], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return re.findall(r"(/\S+) \(0x", listing)


def python_files():
    script = "import json, re, sys; print(*(f for m in sys.modules.values() for f in [getattr(m, '__file__', 0)] if f))"
    return subprocess.run(["/usr/bin/python3", "-S", "-s", "-c", script], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.split()


def perl_files():
    script = "use strict; use warnings; print join ' ', values %INC"
    return subprocess.run(["/usr/bin/perl", "-e", script], check=True, text=True, stdout=subprocess.PIPE).stdout.split()


def make_root(root, driver):
    """A root directory of the programs, their libraries and modules, and /work."""
    files = {path_of(name): f"/usr/bin/{name}" for name in [*BINARIES, "cc1"]}
    for path in list(files):
        files.update((library, library) for library in libraries(path))
    files.update((path, path) for path in python_files() + perl_files())
    files.update({"/etc/ssl/openssl.cnf": "/usr/lib/ssl/openssl.cnf"} if os.path.exists("/etc/ssl/openssl.cnf") else {})
    for path, place in files.items():
        if os.path.exists(path):
            os.makedirs(os.path.dirname(root + place), exist_ok=True)
            shutil.copy(path, root + place)
    # Compiled modules that do not depend on a file's time, which the initramfs may not keep.
    subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", root + "/usr/lib"],
                   check=True)
    for directory in ("bin", "proc", "dev", "tmp"):
        os.makedirs(f"{root}/{directory}", exist_ok=True)
    for shell in ("bin/sh", "usr/bin/sh"):
        shutil.copy("/usr/bin/dash", f"{root}/{shell}")
    make_work(f"{root}/work", driver)


def script(names, amount, repeat, seconds):
    """Shell commands that run them in the current directory, with the driver's lines on standard output."""
    cc1 = os.path.dirname(path_of("cc1"))
    lines = [f"export PATH=/usr/bin:/bin:{cc1} PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 LC_ALL=C", PREPARE]
    for name in names:
        command = PROGRAMS[name].replace("{n}", str(amount)).replace("'", "'\\''")
        lines.append(f"./program {name} {repeat} {seconds} sh -c '{command}' 2>program.err || cat program.err")
    return "\n".join(lines) + "\n"
