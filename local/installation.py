"""Makes the virtual environment and gets ffmpeg, for `local/environment.py` when it finds something missing.

Like that one it runs on whatever Python started it, back to 3.8, with the standard library only.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from local import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

#: The Pythons that the project runs on, the preferred one first; pyproject.toml says the same.
MINORS = (13, 12, 11)
#: What a candidate interpreter is asked: its version, whether it can make environments, and where it really is
#: (an environment made from an environment should outlive it).
QUESTION = (
    "import sys; from importlib.util import find_spec;"
    "complete = all(getattr(find_spec(name), 'origin', None) for name in ('venv', 'ensurepip'));"
    "print(*sys.version_info[:2], complete, getattr(sys, '_base_executable', '') or sys.executable)"
)
INSTALL_COMMANDS = {
    "macos": "brew install",
    "debian": "sudo apt-get install",
    "fedora": "sudo dnf install",
    "arch": "sudo pacman -S",
}


class SetupError(Exception):
    """The environment can't be prepared."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def install(root: str, dev: bool) -> int:
    """Make sure that everything is there, say on stderr what goes wrong, and return the exit code.

    Args:
        root: The folder of the project.
        dev: Whether the tools for tests are wanted too.
    """
    try:
        # The lock is on the folder itself: it is there before everything else and leaves no file behind.
        lock_file = os.open(root, os.O_RDONLY)
        try:
            wait_for_lock(lock_file)
            if not environment.is_ready(root, dev):
                refresh(root, dev, lock_file)
        finally:
            os.close(lock_file)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; the next start begins again.\n")
        return 130
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"video2mp3 could not be set up: {error}\n")
        return 3
    return 0


def wait_for_lock(lock_file: int) -> None:
    """Become the only one who installs."""
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("Another start is setting up video2mp3; waiting for it.\n")
        fcntl.flock(lock_file, fcntl.LOCK_EX)


def refresh(root: str, dev: bool, lock_file: int) -> None:
    """Do what is left to do: system packages first, since a person may have to act, then the environment."""
    stamp = environment.read_stamp(root)
    current, usable = environment.is_current(root, dev), environment.is_usable(root, stamp)
    lock = environment.RUNTIME_LOCK
    if dev or (usable and stamp.get("lock") == environment.DEV_LOCK):
        lock = environment.DEV_LOCK
    packages = [] if all(environment.which(program) for program in environment.PROGRAMS) else ["ffmpeg"]
    python = None
    if not usable:
        python, version, complete = choose_python()
        packages += [] if complete else [f"python{version}-venv"]
    title = "Updating the packages of video2mp3" if usable else "Setting up video2mp3 (first time only)"
    progress = Progress(title, sys.stderr)
    try:
        if packages:
            install_packages(packages, this_family(), progress)
        if not current:
            build(Path(root), lock, python, progress, lock_file)
    except BaseException:
        progress.close()
        raise
    progress.close("Done")


# --- What the machine has to have


def choose_python() -> tuple[str, str, bool]:
    """Return path and version of the Python to build on, and whether it can make environments as it is.

    Candidates are run, not only found: a version manager's stand-in may be on PATH with nothing behind it.

    Raises:
        SetupError: There is none.
    """
    fitting = []
    for candidate in (sys.executable, *(f"python3.{minor}" for minor in MINORS), "python3"):
        try:
            answer = subprocess.run(
                [candidate, "-I", "-c", QUESTION], capture_output=True, text=True, timeout=30, check=True
            )
            major, minor, complete, path = answer.stdout.strip().split(" ", 3)
        except (OSError, ValueError, subprocess.SubprocessError):
            continue
        if major == "3" and int(minor) in MINORS:
            fitting.append((path, f"3.{minor}", complete == "True"))
    if fitting:
        return next((found for found in fitting if found[2]), fitting[0])
    tried = ", ".join(f"python3.{minor}" for minor in MINORS)
    mine = ".".join(str(part) for part in sys.version_info[:2])
    raise SetupError(
        f"video2mp3 needs Python 3.11, 3.12 or 3.13. This is Python {mine}, and PATH has no other one that runs"
        f" (tried {tried}, python3).",
        exit_code=1,
    )


def family_of(platform: str, os_release: str) -> str:
    """Return which family of systems this is, by `sys.platform` and os-release(5); empty when unknown."""
    if platform == "darwin":
        return "macos"
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = " ".join(fields.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")).split()
    return next((name for name in names if name in INSTALL_COMMANDS), "debian" if "ubuntu" in names else "")


def this_family() -> str:
    """Return the family of the system this runs on."""
    try:
        return family_of(sys.platform, Path("/etc/os-release").read_text(encoding="utf-8"))
    except OSError:
        return family_of(sys.platform, "")


def advice(family: str, packages: Sequence[str]) -> str:
    """Return the sentence that says what to type to get packages, which go by their Debian names."""
    if family not in INSTALL_COMMANDS:
        return f"Please install {' and '.join(packages)} with the package manager of this system, then start again."
    names = ["ffmpeg-free" if family == "fedora" and name == "ffmpeg" else name for name in packages]
    return f"Please type this, then start again:\n\n    {INSTALL_COMMANDS[family]} {' '.join(names)}\n"


def install_packages(packages: Sequence[str], family: str, progress: Progress) -> None:
    """Install system packages where that needs no question: as root with apt-get.

    Raises:
        SetupError: A person has to do it, or apt-get failed.
    """
    if family != "debian" or os.geteuid() != 0 or not environment.which("apt-get"):
        raise SetupError(f"video2mp3 needs {' and '.join(packages)}.\n{advice(family, packages)}", exit_code=1)

    def apt_get(*arguments: str) -> tuple[int, str]:
        command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", *arguments]
        extra = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        return run(command, lambda line: progress.show(f"apt-get: {line}") if line else None, extra=extra)

    command = ("install", "--no-install-recommends", *packages)
    status, output = apt_get(*command)
    if status != 0:  # the lists of packages are missing or old
        apt_get("update")
        status, output = apt_get(*command)
    if status != 0:
        raise SetupError(f"apt-get could not install {' '.join(packages)}. Its last lines:\n{output}", exit_code=3)


# --- The environment


def build(root: Path, lock: str, python: str | None, progress: Progress, lock_file: int) -> None:
    """Bring the environment to what a lock says; `python` makes it anew, None keeps the one that is there."""
    venv = root / ".venv"
    log = venv / "setup.log"
    calm = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_USER": "0"}

    def step(what: str, command: list[str], on_line: Callable[[str], None] = lambda _: None) -> None:
        with log.open("a", encoding="utf-8") as copy:

            def both(line: str) -> None:
                copy.write(f"{line}\n" if line else "")
                on_line(line)

            status, output = run(command, both, extra=calm, folder=root, lock_file=lock_file)
        if status != 0:
            message = f"{what} failed. Its last lines, the others are in {log}:\n{output}"
            raise SetupError(f"{message}\nThe next start tries it again.", exit_code=3)

    if python is None:
        (venv / "stamp").unlink()
    else:
        progress.show("a new virtual environment")
        if venv.exists():
            shutil.rmtree(venv)
        venv.mkdir()
        step("Making the virtual environment", [python, "-I", "-m", "venv", str(venv)])
    pip = [str(venv / "bin/python"), "-I", "-m", "pip"]
    install = [*pip, "install", "--compile", "--no-deps"]
    packages = [*install, "--require-hashes", "-r", lock]
    step(f"Installing the packages of {lock} with pip", packages, PipLines(progress, venv, locked_names(root / lock)))
    strays = installed_names(venv) - locked_names(root / lock) - {"pip", "video2mp3"}
    if strays:
        step("Removing packages with pip", [*pip, "uninstall", "-y", *sorted(strays)])
    progress.show("video2mp3 itself")
    step("Installing video2mp3 itself with pip", [*install, "--no-build-isolation", "--editable", "."])
    environment.write_stamp(str(root), lock)


def locked_names(lock: Path) -> set[str]:
    """Return the names of the packages in a lock."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return {line.split("==")[0] for line in lines if "==" in line and line[:1].isalnum()}


def installed_names(venv: Path) -> set[str]:
    """Return the names of the packages in an environment, spelt as in a lock (PEP 503)."""
    found = venv.glob("lib/python3*/site-packages/*.dist-info")
    names = (path.name.split("-")[0] for path in found)
    return {name.lower().replace("_", "-").replace(".", "-") for name in names}


# --- Running programs, and saying how far they are


class Progress:
    """One line that says how far the work is: rewritten on a terminal, a new one now and then elsewhere."""

    def __init__(self, title: str, stream: IO[str], pause_seconds: float = 5.0) -> None:
        self._title, self._stream, self._pause_seconds = title, stream, pause_seconds
        self._live = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._started = self._next_line_at = time.monotonic()

    def show(self, text: str) -> None:
        """Say what is being done."""
        line = f"{self._title}  {text}"
        if self._live:
            columns = os.get_terminal_size(self._stream.fileno()).columns or 80
            self._stream.write(f"\r\033[K{line[: columns - 1]}")
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + self._pause_seconds
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def close(self, text: str = "") -> None:
        """Take the line away, and leave `text` with the seconds since the start where there is one."""
        self._stream.write("\r\033[K" if self._live else "")
        self._stream.write(f"{text} in {time.monotonic() - self._started:.0f} s.\n" if text else "")
        self._stream.flush()


class PipLines:
    """Shows what pip is doing, by what it says and by what it has put into place (of which it says nothing)."""

    def __init__(self, progress: Progress, venv: Path, names: set[str]) -> None:
        self._progress, self._venv = progress, venv
        self._fetched, self._total = 0, len(names)
        self._before = len(installed_names(venv))
        self._order: list[str] = []

    def __call__(self, line: str) -> None:
        """Take one line of pip's output, or an empty one as a sign that some time passed."""
        words = line.replace("already satisfied:", "").split()
        if words[:1] in (["Collecting"], ["Requirement"], ["Ignoring"]) and len(words) > 1:
            self._fetched = min(self._fetched + 1, self._total)
            name = words[1].split("=")[0].rstrip(":")
            self._progress.show(f"fetching {self._fetched}/{self._total} {name}")
        elif line.startswith("Installing collected packages:"):
            self._order = [word.rstrip(",") for word in words[3:]]
        elif not line and self._order:
            done = min(max(len(installed_names(self._venv)) - self._before, 1), len(self._order))
            self._progress.show(f"installing {done}/{len(self._order)} {self._order[done - 1]}")


def run(
    command: Sequence[str],
    on_line: Callable[[str], None],
    *,
    extra: dict[str, str],
    folder: Path | None = None,
    lock_file: int | None = None,
) -> tuple[int, str]:
    """Run a program to its end and return its exit status and the last lines it wrote.

    Args:
        command: Program and arguments.
        on_line: Called with each line of output, and with an empty one while there is none.
        extra: Additions to the environment; what tells Python how to behave is left out of it.
        folder: The working directory.
        lock_file: A file descriptor to hand on: a program that outlives us (kill -9) keeps others waiting.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    tail: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**env, **extra},
        cwd=folder,
        pass_fds=() if lock_file is None else (lock_file,),
    ) as child:
        try:
            assert child.stdout is not None  # noqa: S101 - it was asked for
            for line in lines_of(child.stdout):
                on_line(line)
                if line:
                    tail.append(f"    {line}")
            return child.wait(), "\n".join(tail)
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


def lines_of(stream: IO[bytes], tick_seconds: float = 0.3) -> Iterator[str]:
    """Yield each line of a program's output, and an empty one whenever it is silent for a while."""
    rest = b""
    while True:
        if not select.select([stream], [], [], tick_seconds)[0]:
            yield ""
            continue
        data = os.read(stream.fileno(), 65536)
        *whole, rest = (rest + data).split(b"\n") if data else (rest, b"")
        yield from (line.decode("utf-8", "replace").rstrip() for line in whole if line.strip())
        if not data:
            return
