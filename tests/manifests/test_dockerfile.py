"""`knative/Dockerfile` and `.dockerignore`, as far as they can be read; tests/images builds and runs the images."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Final

import pytest

from functions.common.config import NEEDS

ROOT: Final = Path(__file__).parents[2]
TEXT: Final = (ROOT / "knative" / "Dockerfile").read_text(encoding="utf-8")
#: Instructions without comments, each on one line: the word and the rest.
INSTRUCTIONS: Final = [
    (line.split(" ", 1)[0], line.split(" ", 1)[1].strip())
    for line in re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
    if line
]
FINAL: Final = ("functions", "convert", "gateway")
LOCKS: Final = ("requirements.lock", "requirements-images.lock", "requirements-dev.lock")


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name; the first of them is its FROM."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            name = rest.partition(" AS ")[2]
        if name:
            found.setdefault(name, []).append((word, rest))
    return found


def copied() -> list[str]:
    """What the images take from the project."""
    rests = [rest for word, rest in INSTRUCTIONS if word == "COPY" and not rest.startswith("--from")]
    return [source for rest in rests for source in rest.split()[:-1]]


def is_kept_out(path: str) -> bool:
    """Whether `.dockerignore` keeps a file out of the build: the last line decides that fits it or a folder above."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#"):
            parts = PurePosixPath(path).parts
            above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
            if any(fits(pattern, place) for place in above):
                out = not line.startswith("!")
    return out


def fits(pattern: str, place: str) -> bool:
    """Whether a pattern means just this place; a star stands for no slash, two for any folders above."""
    if pattern.startswith("**/"):
        return fnmatch(PurePosixPath(place).name, pattern.removeprefix("**/"))
    return pattern.count("/") == place.count("/") and fnmatch(place, pattern)


@pytest.mark.parametrize("target", FINAL)
def test_each_target_is_for_somebody_without_rights(target: str) -> None:
    """It ends as the user of the manifests, whose number Kubernetes can see is not root's."""
    users = [rest for word, rest in stages()[target] if word == "USER"]
    assert users == ["65532:65532"]
    last = [word for word, _ in stages()[target]].index("USER")
    assert {word for word, _ in stages()[target][last:]} <= {"USER", "ARG", "LABEL", "CMD", "STOPSIGNAL"}


def test_nothing_changes_by_itself() -> None:
    """The base has a version, packages come by hash, and nothing is fetched but by package managers."""
    bases = {rest.split(" AS ")[0] for word, rest in INSTRUCTIONS if word == "FROM"} - set(stages())
    assert bases == {"${BASE}"}
    assert re.search(r"^ARG BASE=python:3\.1[123]-slim-[a-z]+$", TEXT, re.MULTILINE)
    assert "latest" not in TEXT
    assert [rest for word, rest in INSTRUCTIONS if word == "ADD"] == []
    assert all(
        "--require-hashes" in rest
        for _, rest in INSTRUCTIONS
        if "pip " in rest and " install " in rest and "-r " in rest
    )
    assert not re.search(r"\b(curl|wget|git clone)\b|https?://", TEXT)


def test_no_builder_is_favoured() -> None:
    """Docker's older builder and buildah know no mounts and modes of BuildKit, and no documents in place."""
    assert not re.search(r"--mount|--chmod|--link|<<|^# *syntax", TEXT, re.MULTILINE)


def test_no_shell_stands_between() -> None:
    """What runs is the first process, which hears of the end."""
    commands = [rest for word, rest in INSTRUCTIONS if word in {"CMD", "ENTRYPOINT"}]
    assert commands == ['["gunicorn", "-c", "functions/gunicorn.conf.py"]', '["/srv/gateway/start"]']
    assert "\nexec nginx " in (ROOT / "knative" / "gateway" / "start").read_text(encoding="utf-8")


def test_what_is_copied_exists() -> None:
    """Each file and folder is there, and comes through `.dockerignore`."""
    assert {"functions", "local", "eventing"} < set(copied())
    for source in copied():
        assert (ROOT / source).exists(), source
        assert not is_kept_out(source), source
    for function in NEEDS:
        assert not is_kept_out(f"functions/{function}/main.py")


@pytest.mark.parametrize(
    "path",
    [
        *(".git", ".git/config", ".venv/bin/python", "tests", "tests/images/test_images.py", "local/.env", ".ci/run"),
        *(
            "docs",
            "build/lib",
            "knative/overlays",
            "functions/common/__pycache__/x.pyc",
            "functions/.env",
            "eventing/.env",
        ),
    ],
)
def test_what_stays_out(path: str) -> None:
    """No history, no secrets, no environment and no tests get to a builder."""
    assert is_kept_out(path)


def test_the_command_is_that_of_the_project() -> None:
    """`video2mp3` in an image calls what pyproject.toml says that it calls."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["video2mp3"].partition(":")
    assert f"'from {module} import {name}' '{name}()'" in TEXT
    assert {rest for word, rest in INSTRUCTIONS if word == "ARG" and "VERSION" in rest} == {
        f"VERSION={project['version']}"
    }


def test_the_locks_agree() -> None:
    """What was tested is what is shipped: same versions by the same hashes, every driver and none of the tools."""
    plain, images, everything = (locked(ROOT / name) for name in LOCKS)
    assert images.items() <= everything.items()
    assert plain.items() - {("setuptools", plain["setuptools"])} <= images.items()
    assert {"obstore", "pika", "psycopg", "psycopg-binary", "pymongo", "pymysql"} <= set(images) - set(plain)
    assert {"pytest", "mypy", "setuptools"} & set(images) == set()


def locked(lock: Path) -> dict[str, str]:
    """Names and versions with hashes, as a lock has them on any system; a name that stands there twice has both."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip()):
        name, _, rest = re.sub(r" ; [^\\\n]*", " ", entry).partition("==")
        found[name] = found.get(name, "") + rest
    return found
