"""A lab for real cluster launches on one machine: a laptop and hosts, all made of Linux namespaces, with no uplink.

    with Lab() as lab:
        lab.add("10.77.0.10"), lab.add("10.77.0.11", shm="64m")
        lab.run("ray", "up", "-y", "local.yaml")        # on the laptop
        lab["10.77.0.11"].run("ray status")             # on a host, in the shell of whoever logs in there
        lab["10.77.0.11"].vanish()                      # its cable first, then all its processes

A host has its own network, processes, /tmp, /dev/shm and home, and sshd as its first process. It looks like a machine
with a prepared image: `~/raes-venv` is there and holds what the tests' own environment holds, but for RAES itself.
Killing the lab's first process ends everything in it; it ends by itself after TTL_SECONDS. Needs Linux, root with the
capabilities SYS_ADMIN and NET_ADMIN, and the programs of `PROGRAMS`.

The fixture `local_cluster` of conftest.py is what most tests want: three hosts and a Ray cluster brought up on them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PYTHON_ENV = Path(sys.prefix)
PROGRAMS = ("/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync", "ip", "nft", "nsenter", "unshare", "setsid")
TTL_SECONDS = 1800
USER = "ubuntu"
HOME = "/srv/home"
"""A host's home folder, as its processes see it."""
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
SYS_ADMIN, NET_ADMIN = 21, 12


def what_is_missing() -> str | None:
    """Why no lab can be built here, in words for whoever reads that its tests were skipped."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a lab of network namespaces needs Linux and root"
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    if not all(effective >> number & 1 for number in (SYS_ADMIN, NET_ADMIN)):
        return "a lab of network namespaces needs the capabilities SYS_ADMIN and NET_ADMIN"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(missing)}; tests/setup-system.sh does it" if missing else None


class Host:
    """One host of the lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self.name = lab, name

    @property
    def _first(self) -> int:
        """Its first process (sshd), as seen from outside of the lab."""
        [inside] = (self._lab.folder / "hosts" / self.name / "pid").read_text().split()
        outer = self._lab.outer_pid(int(inside))
        [child] = psutil.Process(outer).children()
        return child.pid

    @property
    def home(self) -> Path:
        """Its user's home folder, as it is seen from outside of the lab."""
        return Path(f"/proc/{self._first}/root{HOME}")

    def run(self, line: str, timeout: float = 120, check: bool = True) -> str:
        """Run a shell line there as its user, without ssh; what it printed, on both streams."""
        words = ("env", "-i", f"HOME={HOME}", "TERM=dumb", *self._lab.host_variables, "bash", "--login", "-c")
        return _run(
            [*_enter(self._first, HOME), *words, f"source ~/.bashrc 2>/dev/null || true; {line}"], timeout, check
        )

    def pretend(self, package: str, version: str) -> None:
        """Let `importlib.metadata` say another version of an installed package there."""
        self.run(
            f"cd ~/raes-venv/lib/python*/site-packages && mkdir -p {package}-{version}.dist-info && "
            f"printf 'Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n' "
            f">{package}-{version}.dist-info/METADATA"
        )

    def vanish(self) -> None:
        """The cable first: the machine is gone without a packet, as a spot machine goes."""
        self._lab.run("ip", "link", "del", f"v-{self.name[-11:]}")
        os.kill(psutil.Process(self._first).parent().pid, 9)
        self._lab.run("ip", "netns", "del", self.name)
        self._lab.hosts.pop(self.name, None)


class Lab:
    """The lab; see the head of this file.

    Attributes:
        folder: what laptop and hosts share with the tests, `laptop/` (the laptop's home) among it.
        checkout: the project's files on the laptop, where its commands run.
        hosts: the hosts that `add` has started, by name.
        gateway: the hosts' default route.
    """

    def __init__(
        self,
        networks: str = "10.77.0.1/24",
        gateway: str = "10.77.0.1",
        routes: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start the laptop.

        Args:
            networks: its addresses on the bridge that all hosts hang on.
            gateway: the hosts' default route.
            routes: further networks that lie behind the bridge.
            variables: in the environment of the laptop's commands and of every session on a host.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="raes-lab-", dir="/tmp"))
        self.home = self.folder / "laptop"
        self.checkout = self.home / "raes"
        self.hosts: dict[str, Host] = {}
        self.gateway = gateway
        self._variables = {"RAY_USAGE_STATS_ENABLED": "0", **(variables or {})}
        for name in ("laptop/.ssh", "hosts", "image"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        self._keys()
        self._image()
        keep = [str(path) for path in (self.folder, REPOSITORY, PYTHON_ENV)]
        self._keep = [one for one in keep if one.startswith("/tmp/")]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", str(HERE / "lab-init.sh"),
                 str(TTL_SECONDS), *self._keep],
                env={"PATH": _path(), "LAB": str(self.folder), "NETS": networks, "ROUTES": routes},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            self._await_start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts.get(name) or Host(self, name)

    @property
    def host_variables(self) -> tuple[str, ...]:
        """What every session on a host has in its environment, as `name=value`."""
        return tuple(f"{name}={value}" for name, value in self._variables.items())

    def words(self, *words: str, folder: Path | None = None, **variables: str) -> list[str]:
        """The command line that runs `words` on the laptop, in its checkout or another folder."""
        environment = {"PATH": _path(), "HOME": str(self.home), "LAB": str(self.folder), "TERM": "dumb",
                       "RAY_COLOR": "0", **self._variables, **variables}  # fmt: skip
        folder = folder or (self.checkout if self.checkout.exists() else self.home)
        return [*_enter(self._first, str(folder)), "env", "-i", *(f"{k}={v}" for k, v in environment.items()), *words]

    def run(
        self, *words: str, timeout: float = 240, check: bool = True, folder: Path | None = None, **variables: str
    ) -> str:
        """Run a command on the laptop; what it printed, on both streams."""
        return _run(self.words(*words, folder=folder, **variables), timeout, check)

    def start(self, *words: str, log: Path, folder: Path | None = None, **variables: str) -> subprocess.Popen[bytes]:
        """Start a command on the laptop; what it prints goes to a file."""
        with log.open("wb") as out:
            return subprocess.Popen(
                self.words(*words, folder=folder, **variables), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def add(
        self, *addresses: str, name: str = "", shm: str = "8g", tmp: str = "8g", keys: tuple[Path, ...] = ()
    ) -> Host:
        """Start a host and wait for its sshd.

        Args:
            addresses: its addresses, `/24` where no length is given; the first one is its name too, if it has none.
            name: what it is called.
            shm, tmp: how large its /dev/shm and /tmp are.
            keys: files of public keys that may log in, besides the laptop's own.
        """
        name = name or addresses[0]
        settings = self.settings(shm, tmp)
        settings["AUTHORIZED"] += "".join(f" {path}" for path in keys)
        lengths = (one if "/" in one else f"{one}/24" for one in addresses)
        self.run(str(HERE / "host-up.sh"), name, self.gateway, *lengths, **settings)
        self.hosts[name] = Host(self, name)
        return self.hosts[name]

    def settings(self, shm: str = "8g", tmp: str = "8g") -> dict[str, str]:
        """What host-up.sh reads from its environment."""
        return {
            "KEEP": " ".join(self._keep), "PYTHON_ENV": str(PYTHON_ENV), "IMAGE": str(self.folder / "image"),
            "HOST_USER": USER, "HOST_SHM": shm, "HOST_TMP": tmp, "HOST_ENV": " ".join(self.host_variables),
            "AUTHORIZED": str(self.home / ".ssh" / "id_ed25519.pub"),
        }  # fmt: skip

    def bring(self, checkout: Path) -> None:
        """Put a copy of the project's files on the laptop."""
        shutil.copytree(checkout, self.checkout)

    def close(self) -> None:
        """End everything in the lab; that nothing is left is checked."""
        spaces = {_space(process.pid) for process in self._processes()} - {_space(os.getpid()), None}
        self._process.kill()
        self._process.wait(30)
        end = time.monotonic() + 30
        while left := [pid for pid in psutil.pids() if _space(pid) in spaces]:
            assert time.monotonic() < end, f"still running after the lab's end: {left}"
            time.sleep(0.05)
        assert str(self.folder) not in Path("/proc/self/mounts").read_text(), "still mounted after the lab's end"
        shutil.rmtree(self.folder)

    def outer_pid(self, inside: int) -> int:
        """The process that the laptop knows by this number."""
        for process in self._processes():
            status = Path(f"/proc/{process.pid}/status").read_text()
            numbers = status.split("NSpid:")[1].split("\n")[0].split()
            if len(numbers) == 2 and int(numbers[1]) == inside:
                return process.pid
        raise ProcessLookupError(f"no process {inside} in the lab")

    @property
    def _first(self) -> int:
        [child] = psutil.Process(self._process.pid).children()
        return child.pid

    def _processes(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _await_start(self) -> None:
        end = time.monotonic() + 30
        while not (self.folder / "ready").exists():
            running = self._process.poll() is None and time.monotonic() < end
            assert running, (self.folder / "log").read_text()
            time.sleep(0.02)

    def _keys(self) -> None:
        for path, comment in ((self.home / ".ssh" / "id_ed25519", "laptop"), (self.folder / "hostkey", "host")):
            _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), "-C", comment], 30, True)

    def _image(self) -> None:
        """What a host's home holds at first: an environment with all packages but RAES, and no way to an index."""
        image = self.folder / "image"
        venv.create(image / "raes-venv", with_pip=False, symlinks=True)
        [site] = (image / "raes-venv" / "lib").glob("python*/site-packages")
        # A path of its own line: .pth files there, the editable raes among them, stay unread.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        for name in ("ray", "tensorboard"):
            script = (PYTHON_ENV / "bin" / name).read_text().split("\n", 1)[1]
            (image / "raes-venv" / "bin" / name).write_text(f"#!{HOME}/raes-venv/bin/python\n{script}")
            (image / "raes-venv" / "bin" / name).chmod(0o755)
        (image / ".config" / "pip").mkdir(parents=True)
        (image / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\n")
        (image / ".bashrc").write_text("")


def _enter(pid: int, folder: str) -> list[str]:
    return ["nsenter", "-t", str(pid), *NAMESPACES, f"--wdns={folder}", "--"]


def _path() -> str:
    return f"{PYTHON_ENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _space(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None


def _run(words: list[str], timeout: float, check: bool) -> str:
    command = " ".join(words[words.index("--") + 1 :] if "--" in words else words)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f"still running after {timeout} s: {command}\n{out[-8000:]}") from None
    assert not check or process.returncode == 0, f"exit code {process.returncode}: {command}\n{out[-8000:]}"
    return out
