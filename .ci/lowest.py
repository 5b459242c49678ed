"""Print the lowest release of every direct dependency that `pyproject.toml` allows, as a constraints file for pip.

torch is left out: `constraints.txt` holds it at the one release of which a CPU build is at hand.
"""

import re
from pathlib import Path

PROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
DEPENDENCIES = re.search(r"^dependencies = \[\n(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL).group(1)
for name, lowest in re.findall(r'"([\w-]+)>=([\w.]+)"', DEPENDENCIES):
    if name != "torch":
        print(f"{name}=={lowest}")
