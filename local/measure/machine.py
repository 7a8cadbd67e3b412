"""The machine that figures were measured on: ratios travel, but not to every kind of machine alike."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """Cores, versions, and how busy the machine is at this moment."""
    return {
        "cores": os.cpu_count() or 1,
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ffmpeg": first_line_of_ffmpeg(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def first_line_of_ffmpeg() -> str:
    """What ffmpeg says that it is."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return said.partition("\n")[0].partition(" Copyright")[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
