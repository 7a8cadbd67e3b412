"""The rooms of the house: who may import whom, what a main.py may hold, and what a cold start may not load."""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from functions.common.config import NEEDS

ROOT: Final = Path(__file__).parents[2]
STEPS: Final = tuple(NEEDS)
#: Clients that take long to import; a function has them only once a request asks for them.
HEAVY: Final = (
    *("alembic", "argon2", "cryptography", "email_validator", "jwt", "multipart", "mutagen", "obstore"),
    *("passlib", "pika", "psycopg", "pymongo", "pymysql", "requests", "smtplib", "sqlalchemy", "typer", "urllib3"),
)


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """The dotted name of a file's module."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


#: Alembic loads these by their paths; nobody imports them.
REVISIONS: Final = ROOT / "functions" / "common" / "migrations"
#: The files of the product's modules by their names.
MODULES: Final = {
    name_of(path): path
    for path in python_files("functions", "local")
    if REVISIONS not in path.parents or path == REVISIONS / "__init__.py"
}
MAINS: Final = {step: ROOT / "functions" / step / "main.py" for step in STEPS}


@cache
def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def names_imported(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, at its head, inside a function or for type checkers alone."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imported(module: str) -> frozenset[str]:
    """The product's own modules that one of them imports directly."""
    return frozenset(name for name in names_imported(MODULES[module]) if name in MODULES)


def closure(modules: set[str]) -> set[str]:
    """These modules and all that they import, directly or not."""
    found: set[str] = set()
    while modules:
        found |= modules
        modules = {name for module in modules for name in imported(module)} - found
    return found


def room_of(module: str) -> str:
    """The room of a module: local, common, one of the steps, or the empty text for `functions` itself."""
    first, _, rest = module.partition(".")
    return "local" if first == "local" else rest.partition(".")[0]


def below(module: str, package: str) -> bool:
    """Whether a module is a package or lies in it."""
    return module == package or module.startswith(f"{package}.")


def test_every_folder_of_functions_is_a_room() -> None:
    """The folders of functions are the steps of the settings' table, common, and files for the gateway."""
    folders = {path.name for path in (ROOT / "functions").iterdir() if path.is_dir()} - {"__pycache__", "web"}
    assert folders == {*STEPS, "common"}
    assert {room_of(module) for module in MODULES} == {*STEPS, "common", "local", "", "gunicorn"}


@pytest.mark.parametrize("module", MODULES)
def test_arrows_of_import(module: str) -> None:
    """Imports go from local to the steps to common, never back, never from step to step, never to a main.py."""
    room = room_of(module)
    for target in imported(module):
        to = room_of(target)
        assert to in {room, "common", ""} or room == "local", f"{module} imports {target}"
        assert target.rpartition(".")[2] != "main", f"{module} imports {target}"


def test_nothing_but_local_and_tests_imports_local() -> None:
    """No file outside of local and tests names it in an import."""
    files = [path for path in python_files("functions") if any(below(name, "local") for name in names_imported(path))]
    assert files == []


def test_all_imports_are_absolute() -> None:
    """functions-framework loads main.py by its path, so a relative import would fail there."""
    for path in python_files("functions", "local", "tests"):
        for node in ast.walk(tree(path)):
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path}:{node.lineno}"


def test_imports_of_the_product_exist() -> None:
    """Whatever is imported of the product, even where only a rare request comes by, is there."""
    for module, path in MODULES.items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and below(node.module or "", "functions") | below(
                node.module or "", "local"
            ):
                assert node.module in MODULES, f"{module} imports {node.module}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if below(name, "functions.common")))
def test_common_is_common(module: str) -> None:
    """A module of common is one that at least two steps need: what only one needs lives with that one."""
    users = [
        step for step in STEPS if module in closure({name for name in MODULES if below(name, f"functions.{step}")})
    ]
    assert len(users) >= 2 or below("functions.common", module), f"{module} is used by {users}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if below(name, "functions.common")))
def test_common_is_asked_for_twice(module: str) -> None:
    """A module of common is imported by two steps themselves, or by common's own modules for all of them.

    The closure of the app factory and the composition root reaches nearly everything, so that alone proves little.
    """
    direct = {room_of(name) for name in MODULES if module in imported(name)}
    assert len(direct & set(STEPS)) >= 2 or "common" in direct or MODULES[module].name == "app.py"


def public_names(path: Path) -> list[str]:
    """The functions and classes of a file that do not begin with an underscore."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith("_")]


@pytest.mark.parametrize("step", STEPS)
def test_main_is_one_function(step: str) -> None:
    """A main.py has one public function, named like its folder, which takes the request alone."""
    assert public_names(MAINS[step]) == [step]
    [function] = [node for node in tree(MAINS[step]).body if isinstance(node, ast.FunctionDef) and node.name == step]
    assert [argument.arg for argument in function.args.args] == ["request"]
    assert function.decorator_list == []


def is_constant(value: ast.expr) -> bool:
    """Whether a value at the head of a main.py cannot change: literals, sums, patterns, a route table, a logger."""
    if isinstance(value, ast.Constant):
        return True
    if isinstance(value, ast.BinOp):
        return is_constant(value.left) and is_constant(value.right)
    if isinstance(value, ast.Tuple):
        return all(map(is_constant, value.elts))
    return isinstance(value, ast.Call) and ast.unparse(value.func) in (
        "Map",
        "logging.getLogger",
        "frozenset",
        "re.compile",
    )


@pytest.mark.parametrize("step", STEPS)
def test_main_holds_no_state(step: str) -> None:
    """At its top level a main.py has imports, functions, and constants: literals, a route table, a logger."""
    for node in tree(MAINS[step]).body:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) == "TYPE_CHECKING"
            assert all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in (*node.body, *node.orelse))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            assert node.value is not None
            [target] = node.targets if isinstance(node, ast.Assign) else [node.target]
            name = ast.unparse(target)
            assert name == "_log" or re.fullmatch(r"_?[A-Z][A-Z_0-9]*", name), f"{step}: {name}"
            assert is_constant(node.value), f"{step}: {name}"
        else:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert docstring or isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef), ast.unparse(node)
    assert not any(isinstance(node, ast.Global) for node in ast.walk(tree(MAINS[step])))


@pytest.mark.parametrize("step", STEPS)
def test_main_loads_alone(step: str) -> None:
    """functions-framework finds its target by FUNCTION_TARGET: the folder, the file and the name agree."""
    spec = importlib.util.spec_from_file_location(f"main_of_{step}", MAINS[step])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(getattr(module, step))


def read_at_import(node: ast.AST) -> Iterator[str]:
    """What a module asks the process for as it is loaded: reads of the environment and of the working directory."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, (ast.Subscript, ast.Call)):
            asked = ast.unparse(child.value if isinstance(child, ast.Subscript) else child.func)
            if re.match(r"os\.(environ|getenv|getcwd)|Path\.(cwd|home)", asked):
                yield ast.unparse(child)
        yield from read_at_import(child)


@pytest.mark.parametrize(
    "name",
    sorted(name for name in MODULES if re.match(r"functions(\.(?!gunicorn)|$)|local\.(cli|delivery|server)\b", name)),
)
def test_an_import_reads_nothing_of_the_process(name: str) -> None:
    """Settings come with the call: a process may load the house first and be told its environment afterwards."""
    assert list(read_at_import(tree(MODULES[name]))) == []


COLD_START: Final = """
import sys
from functions.common.app import create_app
from functions.common.backends import Backends
from functions.common.config import load

app = create_app(sys.argv[1], Backends(load({})))
assert app.test_client().get("/healthz").status_code == 200
print(*sorted({name.partition(".")[0] for name in sys.modules} & set(sys.argv[2:])))
"""


@pytest.fixture(scope="module")
def cold_starts() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """A new process for each step, which answers /healthz and tells which heavy clients it has loaded by then."""
    processes = {
        step: subprocess.Popen(
            [sys.executable, "-W", "error", "-c", COLD_START, step, *HEAVY],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for step in STEPS
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("step", STEPS)
def test_a_cold_start_loads_no_heavy_client(step: str, cold_starts: dict[str, "subprocess.Popen[str]"]) -> None:
    """A function answers its first /healthz before any client of a database, store, broker or cipher is loaded."""
    out, err = cold_starts[step].communicate(timeout=50)
    assert (out.split(), err, cold_starts[step].returncode) == ([], "", 0)


def test_heavy_clients_are_installed() -> None:
    """The names that a cold start is searched for are real ones."""
    missing = {name for name in HEAVY if importlib.util.find_spec(name) is None}
    assert missing == set()


def test_listed_packages_are_those_on_disk() -> None:
    """Every package of the product is listed in pyproject.toml, and nothing else is."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert listed == sorted(found)


def test_every_folder_of_python_is_a_package() -> None:
    """A folder that holds modules has its __init__.py, so that it is listed, typed and found from everywhere."""
    for path in set(python_files("functions", "local", "tests")) - set(REVISIONS.glob("versions/*.py")):
        assert (path.parent / "__init__.py").is_file(), path


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that git knows or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            yield path, path.read_bytes().decode(errors="replace")


def test_nobody_is_told_to_install_it_from_an_index() -> None:
    """The project's name on package indexes is not ours, so no page tells anybody to install it from there."""
    found = [path for path, text in texts() if re.search(r"pip3?\s+install\s+(-\S+\s+)*['\"]?video2mp3\b", text)]
    assert found == []


def test_texts_are_found() -> None:
    """The search above looks at the files it is about."""
    names = {path.relative_to(ROOT).as_posix() for path, _ in texts()}
    assert {"README.md", "pyproject.toml", "local/run", "functions/common/app.py"} <= names
    assert not any(name.startswith(".venv") for name in names)


@pytest.mark.parametrize("folder", ["functions", "local", "tests"])
def test_every_module_says_what_it_is(folder: str) -> None:
    """Each Python file begins with a docstring whose first line is a sentence."""
    for path in python_files(folder):
        first = (ast.get_docstring(tree(path)) or "").partition("\n")[0]
        assert re.search(r"\w.*[.:;,)\w]$", first), path


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_hashes_and_no_addresses(name: str) -> None:
    """Each requirement of a lock is one version with its hashes, and no index or address is named."""
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|^-e |^-f |^-i | @ ", text, re.MULTILINE)
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if not entry.startswith("#")]
    assert len(entries) > 30
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^\s;]+( ;[^\\]+)? \\\n", entry), entry
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", entry, re.MULTILINE), entry


def test_the_development_lock_holds_the_other() -> None:
    """Tests run against the very versions that the images have."""

    def pins(name: str) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-dev.lock")
