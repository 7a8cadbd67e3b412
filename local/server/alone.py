"""One function as a process: how gunicorn is started for it, by `video2mp3 serve FUNCTION` and by `--services`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]


def command(function: str, *, reload: bool = False) -> list[str]:
    """The program and its arguments.

    Args:
        function: its folder below `functions`.
        reload: whether it is started again when its files change.
    """
    gunicorn = [str(Path(sys.executable).with_name("gunicorn")), "--chdir", str(_ROOT)]
    # The name is for those who look at the processes.
    gunicorn += ["-c", str(_ROOT / "functions/gunicorn.conf.py"), "--name", f"video2mp3-{function}"]
    return [*gunicorn, *(["--reload"] if reload else [])]


def settings(function: str, given: Mapping[str, str], *, port: int) -> dict[str, str]:
    """Its environment: what it is told, and what gunicorn has to know."""
    return {**given, "FUNCTION_TARGET": function, "PORT": str(port)}
