from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import import_module
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fim_magic.candidate import Candidate, Ending
from fim_magic.checks import CheckSpec, names_defined
from fim_magic.document import Document
from fim_magic.imports import Import, conventions, import_lines, missing_imports
from fim_magic.placing import import_place, with_imports
from fim_magic.selection.judging import in_place

KNOWN = {"a", "df", "f", "x", "xs"}


def lines_for(text, sources=()):
    undefined = names_defined(text, KNOWN).names
    return [each.line for each in missing_imports(text, undefined, sources)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("c = Counter(xs)", "from collections import Counter"),
        ("d = defaultdict(list)", "from collections import defaultdict"),
        ("np.zeros(3)", "import numpy as np"),
        ("def f():\n    return np.zeros(3)", "import numpy as np"),
        ("plt.plot(xs)", "import matplotlib.pyplot as plt"),
        ("pd.DataFrame()", "import pandas as pd"),
        ("nn.Linear(1, 2)", "from torch import nn"),
        ("F.relu(x)", "import torch.nn.functional as F"),
        ("torch.zeros(1)", "import torch"),
        ("math.sqrt(2)", "import math"),
        ("os.path.join(a)", "import os"),
        ("time.sleep(1)", "import time"),
        ("Path('x')", "from pathlib import Path"),
        ("datetime.now()", "from datetime import datetime"),
        ("datetime(2020, 1, 1) - timedelta(1)", "from datetime import datetime, timedelta"),
        ("datetime.datetime.now()", "import datetime"),
        ("date.today()", "from datetime import date"),
        ("tqdm(xs)", "from tqdm import tqdm"),
        ("tqdm.tqdm(xs)", "import tqdm"),
        ("y: List[Optional[int]] = []", "from typing import List, Optional"),
        ("@dataclass\nclass A:\n    x: int = field(default=1)", "from dataclasses import dataclass, field"),
        ("map(sqrt, xs)", "from math import sqrt"),
        ("sorted(xs, key=itemgetter(1))", "from operator import itemgetter"),
        ("glob('*')", "from glob import glob"),
        ("glob.glob('*')", "import glob"),
        ("deepcopy(x)", "from copy import deepcopy"),
        ("concurrent.futures.ThreadPoolExecutor()", "import concurrent.futures"),
        ("xml.etree.ElementTree.parse(x)", "import xml.etree.ElementTree"),
        ("urllib.request.urlopen(x), urllib.parse.quote(x)", "import urllib.request, urllib.parse"),
        ("string.ascii_letters", "import string"),
        ("ascii_letters[0]", "from string import ascii_letters"),
        ("%matplotlib inline\nnp.zeros(3)", "import numpy as np"),
        ("decimal.Decimal(1)", "import decimal"),
        ("Image.open('x.png')", "from PIL import Image"),
    ],
)
def test_a_name_that_one_module_clearly_means(text, line):
    found = missing_imports(text, names_defined(text, KNOWN).names)
    assert import_lines(found) == (line,)
    exec(line, {})


@pytest.mark.parametrize(
    "text",
    [
        "result",
        "result.head()",
        "data.append(1)",
        "code.split()",
        "queue.append(1)",
        "string.upper()",
        "signal.shape",
        "token.text",
        "email.send()",
        "requests.append(1)",
        "cache['x']",
        "print(cache)",
        "field.name",
        "partial.x",
        "time()",
        "random()",
        "math",
        "np",
        "np + 1",
        "F * 9.81",
        "F.magnitude",
        "stats['mean']",
        "datetime",
        "datetime.now() - datetime.timedelta(1)",
        "Image('x.png')",
        "Queue()",
        "log(x)",
        "this.that",
        "mean(xs)",
        "not_installed.x",
        "Counter(xs)\nCounter = 1",
        "def f(:",
        "%%bash\nnp.zeros",
    ],
)
def test_nothing_is_offered_for_a_name_that_is_not_clear(text):
    assert (
        missing_imports(
            text, {"np", *names_defined(text, KNOWN).names} if "%%" in text else names_defined(text, KNOWN).names
        )
        == ()
    )


def test_what_is_not_installed_is_not_offered(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert lines_for("np.zeros(3)") == lines_for("tqdm(xs)") == lines_for("KMeans()") == []
    assert lines_for("Counter(xs)") == ["from collections import Counter"]


def test_a_line_of_the_notebook_comes_first():
    sources = ["import numpy.matlib as np, os", "%matplotlib inline\nfrom mine import Counter as C, Path", "x ="]
    assert lines_for("np.zeros(3)", sources) == ["import numpy.matlib as np"]
    assert lines_for("C(xs), Path('x')", sources) == ["from mine import Counter as C", "from mine import Path"]
    assert lines_for("np.zeros(3)\nimport cupy as np") == ["import cupy as np"]
    assert lines_for("np.zeros(3)", ["import cupy as np", "import numpy as np"]) == ["import numpy as np"]
    assert lines_for("Counter(xs)", ["from mine import *", "from __future__ import annotations"]) == [
        "from collections import Counter"
    ]
    assert lines_for("Counter(xs)", ["from . import Counter"]) == ["from . import Counter"]


def test_nothing_is_imported_to_find_out():
    program = (
        "import sys\nfrom fim_magic.imports import missing_imports\n"
        "for text in ('np.zeros(3)', 'pd.DataFrame()', 'plt.plot()', 'torch.ones(1)', 'turtle.forward(1)'):\n"
        "    assert missing_imports(text, [text.partition('.')[0]]), text\n"
        "assert not {'numpy', 'pandas', 'matplotlib', 'torch', 'turtle', 'IPython'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_users_own_files_are_not_meant(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("raise SystemExit('was imported')\nvalue = 1\n")
    (tmp_path / "random.py").write_text("raise SystemExit('was imported')\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert lines_for("mine.value") == []


def test_no_name_has_two_meanings():
    tables = (conventions.FROM_STANDARD_LIBRARY, conventions.FROM_LIBRARIES)
    names = Counter(name for table in tables for words in table.values() for name in words.split())
    names.update([*conventions.MODULE_ALIASES])
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("module", sorted({*conventions.FROM_STANDARD_LIBRARY, *conventions.FROM_LIBRARIES}))
def test_the_modules_have_the_names(module):
    words = conventions.FROM_STANDARD_LIBRARY.get(module) or conventions.FROM_LIBRARIES[module]
    if module in conventions.FROM_LIBRARIES and find_spec(module.partition(".")[0]) is None:
        assert missing_imports(f"{words.split()[0]}()", words.split()) == ()
        return
    there = dir(import_module(module))
    new = {"StrEnum"} if sys.version_info < (3, 11) else set()
    assert set(words.split()) - set(there) <= new


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("np.=()[] \n%'\"os\0\ud800#*"), max_size=30))
def test_no_text_raises(text):
    missing_imports(text, ["np", "os", ""], [text])
    assert with_imports(text, ["import os"]).replace("import os\n", "", 1).rstrip("\n") == text.rstrip("\n")
    assert 0 <= import_place(text) <= len(text)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("x()", "+\nx()"),
        ("# Title\n\nx()", "# Title\n\n+\nx()"),
        ("%%time\nx()", "%%time\n+\nx()"),
        ("%%capture out\n%%time\n# why\nx()", "%%capture out\n%%time\n# why\n+\nx()"),
        ('"""Title."""\nx()', '"""Title."""\n+\nx()'),
        ("from __future__ import annotations\n\nx()", "from __future__ import annotations\n+\n\nx()"),
        ("import os\nfrom a import (\n    b,\n)\n\nx()", "import os\nfrom a import (\n    b,\n)\n+\n\nx()"),
        ("%matplotlib inline\nimport os\nx()", "%matplotlib inline\nimport os\n+\nx()"),
        ("%matplotlib inline\nx()", "%matplotlib inline\n+\nx()"),
        ("import os; x()", "+\nimport os; x()"),
        ("@x\ndef f(): pass", "+\n@x\ndef f(): pass"),
        ("x()\nimport os\n", "+\nx()\nimport os\n"),
        ("# only this", "# only this\n+\n"),
        ("", "+\n"),
        ("def f(:", "+\ndef f(:"),
        ("'''a\u2028b'''\nx()", "'''a\u2028b'''\n+\nx()"),
    ],
)
def test_where_an_import_goes(text, whole):
    assert with_imports(text, ["+"]) == whole
    assert with_imports(text, []) == text


def answer(middle, prefix="", suffix="", **given):
    return in_place(Document(prefix, suffix), Candidate(middle, Ending.STOP_TOKEN), **given)


def names_check(candidate):
    return next(check for check in candidate.checks if check.name == "names")


def test_an_answer_gets_the_imports_that_it_lacks():
    candidate = answer("Counter(xs), np.zeros(3)", "c = ", "\n", known=KNOWN)
    assert candidate.imports == ("from collections import Counter", "import numpy as np")
    check = names_check(candidate)
    assert (check.passed, check.names) == (True, ())
    assert check.detail == "adds from collections import Counter, import numpy as np"
    assert candidate.text_in(Document("c = ", "\n")) == (
        "from collections import Counter\nimport numpy as np\nc = Counter(xs), np.zeros(3)\n"
    )
    assert candidate.text_in(Document("c = ", "\n"), imports=False) == "c = Counter(xs), np.zeros(3)\n"


def test_what_is_left_undefined_fails():
    check = names_check(answer("Counter(mine)", "c = ", "\n"))
    assert (check.passed, check.names) == (False, ("mine",))
    assert check.detail == "undefined: mine; adds from collections import Counter"


def test_only_the_answers_own_names_are_mended():
    candidate = answer("np.ones(3)", "x = np.zeros(3)\ny = ", "\nCounter(y)")
    assert candidate.imports == ("import numpy as np",)
    assert names_check(candidate).names == ("Counter",)
    assert answer("1", "x = np.zeros(3)\ny = ", "\n").imports == ()
    assert answer("ter(xs)", "x = Coun", "\n", known=KNOWN).imports == ("from collections import Counter",)
    assert answer("x  # or np.ones", "y = ", "\nz = np.zeros(3)", known=KNOWN).imports == ()


def test_what_is_defined_needs_no_import():
    assert answer("np.ones(3)", "x = ", "\n", known={"np"}).imports == ()
    assert answer("np.ones(3)", "import numpy as np\nx = ", "\n").imports == ()
    assert answer("import numpy as np\nnp.ones(3)").imports == ()
    assert answer("np.ones(", "x = ", "\n").imports == ()


def test_tests_run_with_the_imports():
    asked = CheckSpec(("c['a'] == 2",))
    candidate = answer("Counter('aab')", "c = ", "\n", check_spec=asked)
    assert [(check.name, check.passed) for check in candidate.checks] == [
        ("parses", True),
        ("names", True),
        ("c['a'] == 2", True),
    ]


def test_several_names_of_one_module_are_one_line():
    found = [Import("a", "from m import a"), Import("n", "import n"), Import("b", "from m import b")]
    assert import_lines(found) == ("from m import a, b", "import n")
