"""`local/environment.py`, `local/installation.py` and `local/run`, with a stand-in for Python, pip and apt-get."""

import ast
import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from local import environment, installation

TREE = Path(__file__).parents[2]
REAL_PYTHON = sys.executable

#: Behaves as Python does towards `installation`: tells what it is, makes environments, "installs" packages. It
#: writes down what it was asked, fails where there is a file `broken`, and stops on a FIFO `gate`.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
  *find_spec*) echo "3 12 True $0"; exit ;;
  *"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && echo "version = 3.12.1" > "$4/pyvenv.cfg" ;;
esac
echo "$*" >> "$FAKES/calls"
env >> "$FAKES/env"
if [ -p "$FAKES/gate" ]; then read -r _ < "$FAKES/gate"; fi
if [ -e "$FAKES/broken" ]; then echo "ERROR: No matching distribution found for flask"; exit 1; fi
"""


def write_program(path: Path, text: str) -> Path:
    """Write an executable file."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH, with ffmpeg, ffprobe and the fake Python, which is "this Python" too."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    for name in ("ffmpeg", "ffprobe"):
        write_program(folder / name, "#!/bin/sh\n")
    python = write_program(folder / "python", FAKE_PYTHON)
    monkeypatch.setenv("FAKES", str(folder))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two locks."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\n")
    (folder / "requirements.lock").write_text("flask==3.1.3 \\\n    --hash=sha256:00\n")
    (folder / "requirements-dev.lock").write_text("flask==3.1.3 \\\n    --hash=sha256:00\npytest==9.2.0\n")
    return folder


@pytest.fixture
def calls(fakes: Path) -> Callable[[], list[str]]:
    """Return what was asked of the fake Python since the last time."""

    def take() -> list[str]:
        path = fakes / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.removeprefix("-I -m ") for line in lines]

    return take


Calls = Callable[[], list[str]]


# --- What is done when


def test_first_start_installs_the_locked_packages_and_the_project(root: Path, calls: Calls) -> None:
    """Nothing is there, so an environment is made and filled, by hashes and without looking for dependencies."""
    assert installation.install(str(root), dev=False) == 0
    assert calls() == [
        f"venv {root}/.venv",
        "pip install --compile --no-deps --require-hashes -r requirements.lock",
        "pip install --compile --no-deps --no-build-isolation --editable .",
    ]
    assert environment.is_ready(str(root), dev=False)


def test_second_start_does_and_says_nothing(root: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished environment is left alone."""
    installation.install(str(root), dev=False)
    assert calls()
    assert "Setting up video2mp3 (first time only)" in capsys.readouterr().err
    assert installation.install(str(root), dev=False) == 0
    assert calls() == []
    assert capsys.readouterr().err == ""


def test_tools_for_tests_are_added_and_then_serve_for_running_too(root: Path, calls: Calls) -> None:
    """The environment grows in place, and is not shrunk again."""
    installation.install(str(root), dev=False)
    calls()
    assert not environment.is_current(str(root), dev=True)
    assert installation.install(str(root), dev=True) == 0
    assert [line.split()[-1] for line in calls()] == ["requirements-dev.lock", "."]
    assert environment.is_current(str(root), dev=True)
    assert environment.is_current(str(root), dev=False)


@pytest.mark.parametrize("changed", ["requirements-dev.lock", "pyproject.toml", ".venv/pyvenv.cfg"])
def test_change_of_what_is_wanted_refreshes_in_place(root: Path, calls: Calls, changed: str) -> None:
    """After a pull with other packages the environment follows, and stays one for development."""
    installation.install(str(root), dev=True)
    calls()
    with (root / changed).open("a") as file:
        file.write("\n")
    assert not environment.is_current(str(root), dev=False)
    assert installation.install(str(root), dev=False) == 0
    assert [line.split()[-1] for line in calls()] == ["requirements-dev.lock", "."]


def test_packages_that_left_the_lock_are_removed(root: Path, calls: Calls) -> None:
    """What is installed is what is locked: a forgotten dependency must not go on working by chance."""
    installation.install(str(root), dev=False)
    calls()
    for name in ("Flask-3.1.3", "pip-25.0", "video2mp3-0.1.0", "zope.old_thing-1.0"):
        (root / f".venv/lib/python3.12/site-packages/{name}.dist-info").mkdir(parents=True)
    (root / "requirements.lock").write_text("flask==3.1.3\n")
    installation.install(str(root), dev=False)
    assert calls()[1] == "pip uninstall -y zope-old-thing"


def test_moved_tree_gets_a_new_environment(root: Path, calls: Calls) -> None:
    """The scripts in an environment name its place, so it can't come along."""
    installation.install(str(root), dev=False)
    calls()
    moved = root.rename(root.with_name("elsewhere"))
    assert not environment.is_current(str(moved), dev=False)
    assert installation.install(str(moved), dev=False) == 0
    assert calls()[0] == f"venv {moved}/.venv"


def test_environment_whose_python_is_gone_is_made_anew(root: Path, fakes: Path, calls: Calls) -> None:
    """A system upgrade took the Python away that the environment was made on."""
    installation.install(str(root), dev=False)
    calls()
    python = root / ".venv/bin/python"
    python.unlink()
    python.symlink_to(fakes / "python3.10")
    assert installation.install(str(root), dev=False) == 0
    assert calls()[0] == f"venv {root}/.venv"


@pytest.mark.parametrize("stamp", [None, b"", b"lock requirements.lock\nsha256 0", b"\xff\n", b"nonsense\n"])
def test_environment_without_a_whole_stamp_is_made_anew(root: Path, calls: Calls, stamp: bytes | None) -> None:
    """Made by hand, half made or half written: none of them is trusted."""
    installation.install(str(root), dev=False)
    calls()
    (root / ".venv/stamp").unlink()
    if stamp is not None:
        (root / ".venv/stamp").write_bytes(stamp)
    assert not environment.is_current(str(root), dev=False)
    assert installation.install(str(root), dev=False) == 0
    assert calls()[0] == f"venv {root}/.venv"


def test_environment_is_not_current_when_a_lock_is_gone(root: Path, fakes: Path) -> None:
    """A tree without its lock is no reason for a traceback."""
    assert fakes.exists()
    installation.install(str(root), dev=False)
    (root / "requirements.lock").unlink()
    assert not environment.is_current(str(root), dev=False)


def test_python_variables_of_the_caller_do_not_reach_pip(
    root: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PYTHONDONTWRITEBYTECODE would leave every later start to compile everything again."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    installation.install(str(root), dev=False)
    assert not [line for line in (fakes / "env").read_text().splitlines() if line.startswith("PYTHON")]


# --- What goes wrong


def test_failing_pip_is_shown_and_tried_again(
    root: Path, fakes: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader gets a sentence, pip's last lines and the log; the next start makes it good."""
    installation.install(str(root), dev=False)
    (fakes / "broken").touch()
    assert installation.install(str(root), dev=True) == 3
    message = capsys.readouterr().err
    assert "Installing the packages of requirements-dev.lock with pip failed." in message
    assert "    ERROR: No matching distribution found for flask\n" in message
    assert f"{root}/.venv/setup.log" in message
    assert "No matching distribution" in (root / ".venv/setup.log").read_text()
    assert not environment.is_current(str(root), dev=False)
    (fakes / "broken").unlink()
    calls()
    assert installation.install(str(root), dev=True) == 0
    assert calls()[0].startswith("venv ")


def test_folder_that_can_not_be_written_is_a_sentence(
    root: Path, fakes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the system refuses is said without a traceback."""
    assert fakes.exists()
    (root / ".venv").write_text("in the way")
    assert installation.install(str(root), dev=False) == 3
    assert capsys.readouterr().err.splitlines()[-1].startswith("video2mp3 could not be set up: [Errno")


def start(root: Path) -> subprocess.Popen[str]:
    """Start an installation in a process of its own, on the fake Python."""
    code = (
        "import signal, sys; sys.executable, root = sys.argv[1:];"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # ignored below a shell's background job
        "from local.installation import install; sys.exit(install(root, False))"
    )
    command = [REAL_PYTHON, "-c", code, sys.executable, str(root)]
    return subprocess.Popen(command, cwd=TREE, stderr=subprocess.PIPE, text=True)


def first_words(process: subprocess.Popen[str]) -> str:
    """Wait for the first line a process writes to stderr."""
    assert process.stderr is not None
    return process.stderr.readline()


def test_two_starts_at_once_install_once(root: Path, calls: Calls) -> None:
    """Whoever comes second waits, and finds everything done."""
    lock_file = os.open(root, os.O_RDONLY)
    fcntl.flock(lock_file, fcntl.LOCK_EX)
    with start(root) as one, start(root) as two:
        assert "waiting" in first_words(one)
        assert "waiting" in first_words(two)
        os.close(lock_file)
        one.communicate(timeout=60)
        two.communicate(timeout=60)
    assert (one.returncode, two.returncode) == (0, 0)
    assert len([line for line in calls() if line.startswith("venv ")]) == 1


def test_killed_start_is_done_again_but_not_beside_its_pip(root: Path, fakes: Path, calls: Calls) -> None:
    """The pip of a start that was killed goes on alone; the next start waits for it, then begins afresh."""
    installation.install(str(root), dev=False)
    (root / "requirements.lock").write_text("flask==3.1.4\n")
    calls()
    os.mkfifo(fakes / "gate")
    with start(root) as killed:
        gate = (fakes / "gate").open("w")  # waits until the fake pip is there to read
        killed.kill()
    (fakes / "gate").unlink()
    assert len(calls()) == 1
    with start(root) as second:
        assert "waiting" in first_words(second)
        assert not environment.is_current(str(root), dev=False)
        gate.close()
        second.communicate(timeout=60)
    assert second.returncode == 0
    assert calls()[0] == f"venv {root}/.venv"
    assert environment.is_current(str(root), dev=False)


def test_interrupted_start_stops_pip_and_says_so(root: Path, fakes: Path, calls: Calls) -> None:
    """Ctrl-C ends with 130 and a sentence, and leaves nothing that looks finished."""
    os.mkfifo(fakes / "gate")
    with start(root) as process:
        gate = (fakes / "gate").open("w")
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=60)
    gate.close()
    assert process.returncode == 130
    assert message.endswith("Stopped; the next start begins again.\n")
    assert len(calls()) == 1
    assert not environment.is_current(str(root), dev=False)


# --- Python


def answer(folder: Path, name: str, says: str) -> None:
    """Put a Python on PATH that answers the question with `says`."""
    write_program(folder / name, f'#!/bin/sh\necho "{says}"\n')


def test_python_that_runs_this_is_preferred(fakes: Path) -> None:
    """No other one is looked for when this one will do."""
    answer(fakes, "python3.13", "3 13 True /elsewhere/python3.13")
    assert installation.choose_python() == (sys.executable, "3.12", True)


@pytest.mark.parametrize("mine", ["3 9 True /old/python", "3 14 True /new/python"])
def test_other_python_is_found_by_running_it(fakes: Path, mine: str) -> None:
    """Stand-ins that fail, answer nonsense or lie about their version are passed over."""
    answer(fakes, "python", mine)
    write_program(fakes / "python3.13", "#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n")
    answer(fakes, "python3.12", "this is no answer at all")
    answer(fakes, "python3.11", "3 11 True /some where/python3.11")
    assert installation.choose_python() == ("/some where/python3.11", "3.11", True)


def test_python_that_can_make_environments_is_preferred(fakes: Path) -> None:
    """Debian's Python comes without venv; another one spares the installation of it."""
    answer(fakes, "python", "3 11 False /usr/bin/python3")
    answer(fakes, "python3.13", "3 13 True /opt/python3.13")
    assert installation.choose_python() == ("/opt/python3.13", "3.13", True)


def test_no_fitting_python_is_a_clear_sentence(
    root: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person on an old system learns what is needed and what was tried."""
    answer(fakes, "python", "3 9 True /old/python")
    monkeypatch.setenv("PATH", str(fakes))
    assert installation.install(str(root), dev=False) == 1
    message = capsys.readouterr().err
    assert "video2mp3 needs Python 3.11, 3.12 or 3.13. This is Python " in message
    assert "(tried python3.13, python3.12, python3.11, python3)" in message


def test_real_python_answers_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for real, this Python is found fit, and named by where it is outside of any environment."""
    monkeypatch.setattr(sys, "executable", REAL_PYTHON)
    path, version, _ = installation.choose_python()
    assert version == f"3.{sys.version_info.minor}"
    assert Path(path).is_relative_to(sys.base_prefix)


def test_pythons_are_those_of_the_project() -> None:
    """The versions that are looked for are the ones pyproject.toml admits."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    newest, *_, oldest = installation.MINORS
    assert project["requires-python"] == f">=3.{oldest},<3.{newest + 1}"


@pytest.mark.parametrize("module", [environment, installation])
def test_modules_run_on_old_pythons(module: object) -> None:
    """Python 3.8 can parse them and has all they import."""
    source = Path(str(vars(module)["__file__"])).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "local"}
    # Parsed the new way by newer Pythons whatever feature_version says, but a syntax error for 3.8.
    assert "with (\n" not in source


# --- System packages


@pytest.mark.parametrize(
    ("platform", "os_release", "family"),
    [
        ("darwin", "", "macos"),
        ("linux", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n', "debian"),
        ("linux", "ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ("linux", 'ID=linuxmint\nID_LIKE="ubuntu debian"\n', "debian"),
        ("linux", "ID=elementary\nID_LIKE=ubuntu\n", "debian"),
        ("linux", "ID=fedora\n", "fedora"),
        ("linux", 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora"),
        ("linux", "ID=arch\n", "arch"),
        ("linux", "ID=manjaro\nID_LIKE=arch\n", "arch"),
        ("linux", "ID=alpine\n", ""),
        ("linux", "", ""),
    ],
)
def test_family_of_systems(platform: str, os_release: str, family: str) -> None:
    """The system is known by what it says of itself, or by what it says it is like."""
    assert installation.family_of(platform, os_release) == family


@pytest.mark.parametrize(
    ("family", "command"),
    [
        ("macos", "brew install ffmpeg"),
        ("debian", "sudo apt-get install ffmpeg"),
        ("fedora", "sudo dnf install ffmpeg-free"),
        ("arch", "sudo pacman -S ffmpeg"),
        ("", "Please install ffmpeg with the package manager of this system, then start again."),
    ],
)
def test_missing_ffmpeg_is_answered_with_what_to_type(
    root: Path,
    fakes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
    command: str,
) -> None:
    """Before anything is downloaded, the reader learns the command for this system."""
    (fakes / "ffprobe").unlink()
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(installation, "this_family", lambda: family)
    assert installation.install(str(root), dev=False) == 1
    assert command in [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert not (root / ".venv").exists()


def test_missing_venv_and_ffmpeg_are_one_command(
    root: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody should have to come back twice."""
    (fakes / "ffmpeg").unlink()
    answer(fakes, "python", "3 11 False /usr/bin/python3")
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(installation, "this_family", lambda: "debian")
    assert installation.install(str(root), dev=False) == 1
    assert "    sudo apt-get install ffmpeg python3.11-venv\n" in capsys.readouterr().err


#: Knows of no package before an update, like the one in a fresh container.
FAKE_APT_GET = """#!/bin/sh
echo "$DEBIAN_FRONTEND $*" >> "$FAKES/apt-calls"
case "$*" in
  *" update") : > "$FAKES/lists" ;;
  *) if [ ! -e "$FAKES/lists" ]; then echo "E: Unable to locate package ffmpeg"; exit 100; fi
     if [ -e "$FAKES/full" ]; then echo "E: You don't have enough free space"; exit 100; fi
     : > "$FAKES/ffmpeg"; chmod +x "$FAKES/ffmpeg" ;;
esac
"""


def test_root_on_debian_gets_ffmpeg_without_a_question(
    root: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a fresh container the start needs nobody: the lists are fetched when the package isn't known yet."""
    write_program(fakes / "apt-get", FAKE_APT_GET)
    (fakes / "ffmpeg").unlink()
    (fakes / "chmod").symlink_to("/bin/chmod")
    for name in ("cp", "mkdir", "env"):
        (fakes / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "this_family", lambda: "debian")
    assert installation.install(str(root), dev=False) == 0
    assert environment.is_ready(str(root), dev=False)
    calls = (fakes / "apt-calls").read_text().splitlines()
    assert [line.partition("Use-Pty=0 ")[2] for line in calls] == [
        "install --no-install-recommends ffmpeg",
        "update",
        "install --no-install-recommends ffmpeg",
    ]
    assert all(line.startswith("noninteractive -q -y -o DPkg::Lock::Timeout=300 ") for line in calls)


def test_failing_apt_get_is_shown(
    root: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader gets a sentence and apt-get's last lines."""
    write_program(fakes / "apt-get", FAKE_APT_GET)
    (fakes / "ffmpeg").unlink()
    (fakes / "full").touch()
    monkeypatch.setenv("PATH", str(fakes))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(installation, "this_family", lambda: "debian")
    assert installation.install(str(root), dev=False) == 3
    message = capsys.readouterr().err
    assert "apt-get could not install ffmpeg. Its last lines:\n    E: You don't have enough free space\n" in message


# --- What is seen meanwhile

PIP_SAYS = [
    "Ignoring colorama: markers 'sys_platform == \"win32\"' don't match your environment",
    "Collecting flask==3.1.3 (from -r requirements.lock (line 1))",
    "  Downloading flask-3.1.3-py3-none-any.whl (103 kB)",
    "Requirement already satisfied: jinja2==3.1.6 in /x (from -r requirements.lock (line 2)) (3.1.6)",
    "Installing collected packages: zope.event, flask",
    "",
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Both ends of a terminal that is 40 columns wide."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 40))
    monkeypatch.setenv("TERM", "xterm")
    return ours, theirs


def test_terminal_shows_one_line_that_changes(tmp_path: Path, terminal: tuple[int, int]) -> None:
    """Each step replaces the one before; a line never wraps, and at the end it is gone."""
    ours, theirs = terminal
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb", buffering=0) as screen:
        progress = installation.Progress("Setting up", stream)
        pip_lines = installation.PipLines(progress, tmp_path, {"colorama", "flask", "jinja2"})
        for line in PIP_SAYS:
            pip_lines(line)
        progress.show("x" * 100)
        progress.close("Done")
        shown = b""
        while not shown.endswith(b"\n"):  # a terminal hands over what it has, in pieces
            shown += screen.read(4096)
    assert shown.decode().replace("\r\033[K", "|").partition("Done in ")[0] == (
        "|Setting up  fetching 1/3 colorama|Setting up  fetching 2/3 flask|Setting up  fetching 3/3 jinja2"
        f"|Setting up  installing 1/2 zope.event|Setting up  {'x' * 27}|"
    )


def test_elsewhere_there_are_a_few_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A log file gets no control characters, and no line per package."""
    progress = installation.Progress("Setting up", sys.stderr, pause_seconds=3600)
    progress.show("fetching 1/3 colorama")
    progress.show("fetching 2/3 flask")
    progress.close()
    assert capsys.readouterr().err == "Setting up  fetching 1/3 colorama\n"


def test_silent_program_lets_time_pass_visibly() -> None:
    """Nothing is said by pip while it puts files into place; that must not look like standing still."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as stream:
        lines = installation.lines_of(stream, tick_seconds=0.01)
        assert next(lines) == ""
        os.write(writer, b"one\n\ntw")
        assert next(lines) == "one"
        os.write(writer, b"o\nthree")
        os.close(writer)
        assert [line for line in lines if line] == ["two", "three"]


# --- The commands


@pytest.fixture
def tree(root: Path, fakes: Path) -> Path:
    """A project with the scripts in it and an environment that is finished, with one program."""
    (root / "local").mkdir()
    for name in ("run", "__init__.py", "environment.py", "installation.py"):
        shutil.copy(TREE / "local" / name, root / "local" / name)
    assert fakes.exists()
    installation.install(str(root), dev=False)
    program = '#!/bin/sh\necho "$PWD: $0 $*"\n'
    write_program(root / ".venv/bin/video2mp3", program)
    (root / ".venv/bin/python").unlink()
    (root / ".venv/bin/python").symlink_to(REAL_PYTHON)
    environment.write_stamp(str(root), environment.RUNTIME_LOCK)
    return root


def call(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_command_gets_its_arguments_and_folder(tree: Path, tmp_path: Path) -> None:
    """The program of the environment takes over, where the caller stood."""
    script = tree / "local/environment.py"
    done = call(REAL_PYTHON, "-I", "-S", script, "video2mp3", "convert", "a b.mp4", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}: {tree}/.venv/bin/video2mp3 convert a b.mp4\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 0, ""),
        (["--help"], 2, "Usage: "),
        (["--dev", "-x"], 2, "Usage: "),
        (["nothing-of-that-name"], 127, "can't be started: No such file or directory"),
    ],
)
def test_exit_codes(tree: Path, arguments: list[str], code: int, words: str) -> None:
    """Scripts can tell what went wrong."""
    done = call(REAL_PYTHON, "-I", "-S", tree / "local/environment.py", *arguments, folder=tree)
    assert done.returncode == code
    assert words in done.stderr


def test_script_sees_to_what_is_missing(
    tree: Path, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script finds its other half from anywhere, and hands on its exit code."""
    (fakes / "ffmpeg").unlink()
    monkeypatch.setenv("PATH", str(fakes))  # without apt-get, so that root is told what to type as well
    done = call(REAL_PYTHON, "-I", "-S", tree / "local/environment.py", "video2mp3", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("video2mp3 needs ffmpeg.\nPlease ")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "serve"),
        (["--port", "9000"], "serve --port 9000"),
        (["-p", "9000"], "serve -p 9000"),
        (["some.mp4"], "convert some.mp4"),
        (["a.mp4", "b.mov", "--bitrate", "192"], "convert a.mp4 b.mov --bitrate 192"),
        (["--", "-odd.mp4"], "convert -- -odd.mp4"),
    ],
)
def test_run_converts_videos_and_serves_without(tree: Path, tmp_path: Path, arguments: list[str], command: str) -> None:
    """A file is converted where the caller stands; without one the page is served."""
    done = call(tree / "local/run", *arguments, folder=tmp_path)
    assert done.stdout == f"{tmp_path}: {tree}/.venv/bin/video2mp3 {command}\n"


def test_run_finds_the_project_through_links(tree: Path, tmp_path: Path) -> None:
    """A link in a folder on PATH is as good as the script itself."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/first").symlink_to("../second")
    (tmp_path / "second").symlink_to(tree / "local/run")
    done = call(tmp_path / "bin/first", folder=tmp_path)
    assert done.stdout == f"{tmp_path}: {tree}/.venv/bin/video2mp3 serve\n"


def test_run_explains_itself_without_an_environment(root: Path) -> None:
    """Asking for help must not install anything."""
    (root / "local").mkdir()
    shutil.copy(TREE / "local/run", root / "local/run")
    done = call(root / "local/run", "--help", folder=root)
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["local/run", "VIDEO..."],
        ["local/run", "[--port"],
        ["local/run", "--services"],
    ]
