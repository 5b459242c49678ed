"""What functions are made of is noted and put back: by `definitions.py` alone, without a process."""

from __future__ import annotations

import pytest

from fim_magic.sandbox import definitions


def made_in(file):
    names = {}
    exec(compile("def function(x, y=1, *, z=2): return 0", file, "exec"), names)
    return names["function"]


@pytest.mark.parametrize(
    ("file", "package", "changed"),
    [
        # networkx makes its functions anew when they are first called.
        ("<class 'networkx.utils.decorators.argmap'> compilation 4", "networkx", False),
        ("<class 'networkx.utils.decorators.argmap'> compilation 4", "statistics", True),
        ("<class 'networkx.utils.decorators.argmap'> compilation 4", "", True),
        ("<cell>", "networkx", True),
    ],
)
def test_a_function_that_makes_itself_is_not_the_answers(file, package, changed):
    function = made_in("networkx/utils/decorators.py")
    code = function.__code__
    made = definitions.made_of(function)
    function.__code__ = made_in(file).__code__
    assert definitions.remade(function, made, package) is changed
    assert function.__code__ is code


def test_what_a_function_falls_back_on_is_put_back():
    function = made_in("a.py")
    made = definitions.made_of(function)
    function.__defaults__, function.__kwdefaults__["z"] = (9,), 9
    assert definitions.remade(function, made, "a")
    assert (function.__defaults__, function.__kwdefaults__) == ((1,), {"z": 2})
    assert not definitions.remade(function, made, "a")
