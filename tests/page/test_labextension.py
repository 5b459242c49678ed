"""The labextension's files: what JupyterLab is told of them, and that its server finds them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fim_magic.page.comms import TARGET
from fim_magic.version import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "fim_magic" / "labextension"
STATIC = FOLDER / "static"


def read(name):
    return json.loads((FOLDER / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """What `jupyter labextension list` says where the folder is shared data."""
    folder = tmp_path_factory.mktemp("share") / "labextensions"
    folder.mkdir()
    (folder / "fim-magic").symlink_to(FOLDER, target_is_directory=True)
    environment = {**os.environ, "JUPYTER_PATH": str(folder.parent)}
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=True)
    return re.sub(r"\x1b\[\d*m", "", ran.stdout + ran.stderr)


def test_jupyterlab_lists_it(listed):
    assert re.search(rf"fim-magic v{re.escape(__version__)} enabled OK \(python, fim-magic\)", listed), listed


def test_its_version_is_the_packages_and_its_entry_has_it_in_its_name():
    package = read("package.json")
    assert package["version"] == __version__
    assert package["jupyterlab"]["_build"]["load"] == f"static/remoteEntry.{__version__}.js"
    assert (FOLDER / package["jupyterlab"]["_build"]["load"]).is_file()


def test_its_entry_loads_all_modules_and_no_others():
    (names,) = re.findall(r"const FILES = \[(.*)\]", (STATIC / f"remoteEntry.{__version__}.js").read_text("utf-8"))
    files = {path.stem for path in STATIC.glob("*.js")} - {f"remoteEntry.{__version__}"}
    assert set(re.findall(r"'(\w+)'", names)) == files


def test_its_shortcuts_and_menus_are_of_its_commands():
    schema = read("schemas/fim-magic/plugin.json")
    commands = {each["command"] for each in schema["jupyter.lab.shortcuts"]}
    commands |= {
        item["command"] for menu in schema["jupyter.lab.menus"]["main"] for item in menu["items"] if "command" in item
    }
    plugin = (STATIC / "plugin.js").read_text("utf-8")
    assert commands == set(re.findall(r"'(fim-magic:(?:fill|accept-\w+))'", plugin))


def test_page_and_kernel_have_the_same_target():
    assert f"const TARGET = '{TARGET}';" in (STATIC / "channel.js").read_text("utf-8")
