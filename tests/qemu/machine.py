# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU under test: started by a launcher, watched and told things through its serial line, QMP and its screen."""
import json
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# "kvm" is what is tested. "tcg" runs the same tests on QEMU's own emulation, to prove the tests themselves.
ACCEL = os.environ.get("ACCEL", "kvm")
LAUNCHER = shlex.split(os.environ.get("LAUNCHER", f"{TOP}/build/anykvm run --" if ACCEL == "kvm" else ""))
CPU = {"kvm": "host", "tcg": "max"}[ACCEL]
# Time-outs are for the slowest engine, an interpreter; SLOW multiplies them (sanitizers, busy machines).
SLOW = float(os.environ.get("SLOW", "1"))

# A host with working KVM must not answer in our place.
ENVIRONMENT = dict(os.environ, ANYKVM_ENGINE=os.environ.get("ANYKVM_ENGINE", "soft"))

VGA_TEXT, VGA_TEXT_SIZE = 0xB8000, 0x8000


class Failure(AssertionError):
    """The machine did not do what was awaited; says what it did instead."""


def shell(script):
    """The lines that a script in the repository's top directory prints."""
    done = subprocess.run(["bash", "-euc", script], cwd=TOP, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failure(f"preparation failed: {script}")
    return done.stdout.split("\n")


def small_guest():
    """Kernel, initramfs and small disk of the guest that ./run boots too."""
    kernel, initrd, disk = shell(". tests/lib/fetch.sh; . tests/lib/guest.sh; make_guest; "
                                 "printf '%s\\n' $GUEST_KERNEL $GUEST_INITRD $GUEST_DISK")[:3]
    return {"kernel": kernel, "initrd": initrd, "disk": disk}


def job_guest(guest, folder, job, *files):
    """That guest, with the shell fragment in the file job as its task and more files in /work."""
    shell(f". tests/lib/fetch.sh; . tests/lib/guest.sh; GUEST_INITRD={guest['initrd']}; "
          f"guest_job_initrd {folder}/initrd {job} {' '.join(map(str, files))}")
    return dict(guest, initrd=f"{folder}/initrd")


def build(program, *sources):
    """A static program of the guest's."""
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-I", TOP, "-static", "-o", program, *sources, "-lpthread"],
                   check=True)
    return program


class Machine:
    """QEMU with the arguments given; what the serial line says goes to a file, QMP to a socket. A context manager."""

    def __init__(self, *arguments, accel=ACCEL, cpu=CPU):
        self.directory = tempfile.TemporaryDirectory(prefix="anykvm-qemu-")
        self.path = lambda name: os.path.join(self.directory.name, name)
        # One end is QEMU's from birth, so there is no path to race for.
        ours, theirs = socket.socketpair()
        # The kernel ends the machine with us, however we end.
        self.command = ["setpriv", "--pdeathsig", "KILL", *LAUNCHER, "qemu-system-x86_64", "-accel", accel, "-cpu", cpu, "-display", "none",
                                   "-no-user-config", "-no-reboot",
                                   "-chardev", f"socket,id=serial,path={self.path('line')},server=on,wait=off,logfile={self.path('serial')}",
                                   "-serial", "chardev:serial",
                                   "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
                                   *arguments]
        self.log = open(self.path("log"), "wb")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        pass_fds=[theirs.fileno()], env=ENVIRONMENT, start_new_session=True)
        theirs.close()
        self.socket = ours
        self.replies = ours.makefile("rb")
        self.events = []

    def __enter__(self):
        self.socket.settimeout(60 * SLOW)
        try:
            self._reply("QMP")
            self.qmp("qmp_capabilities")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.replies.close()
        self.socket.close()
        self.log.close()
        self.directory.cleanup()

    # -- QMP

    def _reply(self, *wanted):
        while True:
            try:
                line = self.replies.readline()
            except (TimeoutError, ConnectionError) as error:
                raise Failure(f"QMP: {error}; {self.state()}") from None
            if not line:
                raise Failure(f"QEMU closed QMP; {self.state()}")
            message = json.loads(line)
            if "event" in message:
                at = message["timestamp"]
                self.events.append((message["event"], at["seconds"] + at["microseconds"] / 1e6))
            if "error" in message:
                raise Failure(f"QMP: {message['error'].get('desc')}")
            for key in wanted:
                if key in message:
                    return message[key]

    def qmp(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return self._reply("return")

    def event_time(self, name):
        """When the event came last, in seconds, of those that arrived before an answer."""
        return [when for event, when in self.events if event == name][-1]

    def monitor(self, line):
        """What the human monitor answers."""
        return self.qmp("human-monitor-command", **{"command-line": line}).strip()

    def type_line(self, text):
        """Types lower-case letters, digits, spaces and Return on the machine's keyboard."""
        names = {" ": "spc", "\n": "ret", ".": "dot", ":": "shift-semicolon", "\\": "backslash"}
        for letter in text + "\n":
            keys = [{"type": "qcode", "data": key} for key in names.get(letter, letter).split("-")]
            self.qmp("send-key", keys=keys)
            time.sleep(0.1)

    # -- what it shows

    def serial(self):
        return self._read("serial")

    def tell(self, line, answer):
        """Types a line on the serial line, and waits until the guest has said answer."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(60 * SLOW)
            stream.connect(self.path("line"))
            stream.sendall(line.encode() + b"\n")
            heard = b""
            while answer.encode() not in heard:
                try:
                    more = stream.recv(4096)
                except TimeoutError:
                    more = b""
                if not more:
                    raise Failure(f"told {line!r}, the guest did not answer {answer!r}; {self.state()}")
                heard += more

    def _read(self, name):
        try:
            with open(self.path(name), errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def text_screen(self):
        """The characters in all of VGA text memory as one string: a long line goes on in the next row, and a
        driver that scrolls by moving the start address leaves the rows at any place."""
        target = self.path("vga")
        self.qmp("pmemsave", val=VGA_TEXT, size=VGA_TEXT_SIZE, filename=target)
        with open(target, "rb") as stream:
            return stream.read()[::2].decode("cp437").replace("\0", " ")

    def picture(self):
        """(width, height, RGB bytes) of the screen."""
        target = self.path("screen.ppm")
        self.qmp("screendump", filename=target)
        with open(target, "rb") as stream:
            magic, width, height, _, pixels = _ppm(stream)
        assert magic == b"P6"
        return width, height, pixels

    # -- waiting

    def running(self):
        return self.process.poll() is None

    def state(self):
        if not self.running():
            return f"QEMU ended with status {self.process.returncode}: {self._read('log').strip()[-600:]!r}, serial {self.serial()[-600:]!r}"
        return f"serial ends with {self.serial()[-400:]!r}"

    def wait_for(self, what, condition, seconds):
        """Polls until condition() gives something true, and returns that."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            alive = self.running()
            found = condition()
            if found:
                return found
            if not alive or time.monotonic() > deadline:
                why = "QEMU is gone" if not alive else f"not within {seconds * SLOW:.0f} s"
                raise Failure(f"{what}: {why}; {self.state()}")
            time.sleep(0.2)

    def wait_serial(self, text, seconds):
        """Waits for a line with text on the serial line, and returns that line."""
        def line():
            return next((row.strip() for row in self.serial().split("\n")[:-1] if text in row), None)
        return self.wait_for(f"{text!r} on the serial line", line, seconds)

    def wait_screen(self, text, seconds):
        """Waits for text on the text screen, and returns all of the screen's text."""
        last = ""

        def screen():
            nonlocal last
            last = self.text_screen()
            return last if text in last else None
        try:
            return self.wait_for(f"{text!r} on the screen", screen, seconds)
        except Failure as failure:
            raise Failure(f"{failure}; screen {' '.join(last.split())[-600:]!r}") from None

    def wait_exit(self, seconds):
        """Waits until QEMU ends by itself, and returns its status."""
        self.wait_for("the machine to turn itself off", lambda: not self.running(), seconds)
        return self.process.returncode


def _ppm(stream):
    fields = []
    while len(fields) < 4:
        line = stream.readline()
        if not line.startswith(b"#"):
            fields += line.split()
    magic, width, height, depth = fields
    return magic, int(width), int(height), int(depth), stream.read()
