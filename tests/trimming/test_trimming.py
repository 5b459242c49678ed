"""Where the hole ends, one table a rule.

In each case `│` stands in the model's text where it is cut; a text without one must be kept whole. Every case is run as
it is lived: character by character, until a rule ends it or the model does.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parsed_rules import PARSED

from fim_magic.document import Document, parse
from fim_magic.languages import parsing
from fim_magic.languages.parsed_hole import parse_hole
from fim_magic.trimming import RULES, Hole, trim


def stream(document, text):
    """The first cut while `text` comes, or the one at its end."""
    hole = Hole(document.for_model())
    for end in range(1, len(text) + 1):
        cut = trim(hole, text[:end], final=False)
        if cut is not None:
            return cut
    return trim(hole, text, final=True)


def check(rule, document, answer):
    text = answer.replace("│", "")
    cut = stream(parse(document), text)
    if "│" not in answer:
        assert cut is None, f"{cut.rule} kept only {text[: cut.at]!r}"
        return
    assert cut is not None, "nothing was cut"
    assert (text[: cut.at] + "│" + text[cut.at :], cut.rule) == (answer, rule)


MEAN = "def mean(xs):\n    <cursor>\n    return total / len(xs)\n"
FLUSH = "def mean(xs):\n<cursor>    return total / len(xs)\n"

REPEATS_SUFFIX = {
    "the next line, with other quotes": ("<cursor>\nprint('total', x)\n", 'x = 1│\nprint("total", x)\n'),
    "the next line, with a comma": ("f(\n    <cursor>\n    second\n)\n", "first,│\n    second,\n    third\n"),
    "type parameters": ("<cursor>\ndef f[T](x: T) -> T:\n    return x\n", "T = 1│\ndef f[T](x: T) -> T:\n"),
    "a chain of calls": (
        "x = (\n    rows\n    <cursor>\n    .sorted(key)\n)\n",
        ".where(ok)│\n    .sorted(key)\n    .first()\n)\n",
    ),
    "the next line": (MEAN, "total = sum(xs)│\n    return total / len(xs)\n"),
    "the next line, with a comment added": (MEAN, "total = sum(xs)│\n    return total / len(xs)  # done\n"),
    "the next line, with other spaces": (MEAN, "total = sum(xs)│\n    return total/len( xs )\n"),
    "the next line after a blank one": (MEAN, "total = sum(xs)│\n\n    return total / len(xs)\n"),
    "at the end of a block": (MEAN, "total = 0\n    for x in xs:\n        total += x│\n    return total / len(xs)\n"),
    "broken off inside a word": (MEAN, "total = sum(xs)│\n    return total / le"),
    "broken off inside a bracket": (MEAN, "total = sum(xs)│\n    return total / len("),
    "the marker in column 0": (FLUSH, "    total = sum(xs)\n│    return total / len(xs)\n"),
    "the marker before an indented line": (
        "def f(x):\n    <cursor>return x + offset\n",
        "offset = 1\n    │return x + offset\n",
    ),
    "a weak line and the one after it": (
        "for x in xs:\n    <cursor>\n    i += 1\n    use(i)\n",
        "go(x)│\n    i += 1\n    use(i)\n",
    ),
    "a weak line, then out of the block": (
        "for x in xs:\n    <cursor>\n    i += 1\nprint(i)\n",
        "use(x)│\n    i += 1\nprint(i)\n",
    ),
    "at once, and two lines of it": (
        "def f():\n    <cursor>\n    first()\n    second()\n",
        "│first()\n    second()\n",
    ),
    "the rest of the line": ("x = <cursor> + offset\n", "start + 1│ + offset\n"),
    "the rest of the line, at the model's end": ("x = <cursor> + offset\n", "start + 1│ + offset"),
    "the rest of the line, with a comment added": ("x = <cursor> + offset\n", "start + 1│ + offset  # now\n"),
    "the rest of the line, not where it is nested": (
        "x = <cursor> + f(\n    key)\n",
        "g(a, b + f(\n    c))│ + f(\n    key)\n",
    ),
    "the rest of the line, which closes a bracket of the middle": (
        "return copy.copy<cursor>ms)\n",
        "(ite│ms)\n",
    ),
    "the rest of the line, only a bracket": ("self.fil<cursor>)\n", "l(│)\n"),
    "the rest of a line that opens a bracket": ("x = ''.join<cursor>[part\n  for part in parts])\n", "(│[part\n"),
    "the rest of a line in a tuple": ("x = a, <cursor>, d\n", "b, c│, d\n"),
    "the rest of the line in a comment": ("# the <cursor> of all things\n", "end│ of all things\n"),
    "the line after, where the rest was left out": ("f(<cursor>, b)\nuse_them(a)\n", "[\n  a│\nuse_them(a)\n  q]\n"),
    "with tabs": ("def f():\n\t<cursor>\n\treturn count\n", "count = 1│\n\treturn count\n"),
    "中文": (
        "def 平均(數):\n    <cursor>\n    return 總和 / 個數\n",
        "總和, 個數 = sum(數), len(數)│\n    return 總和 / 個數\n",
    ),
    "in a docstring": (
        'def f():\n    """One.\n    <cursor>\n    Three of them.\n    """\n',
        "Two.│\n    Three of them.\n",
    ),
    "decorators": ("<cursor>\n@property\ndef size(self):\n    return 1\n", "@cached│\n@property\ndef size(self):\n"),
    "match": (
        "match x:\n    case 1:\n        pass\n    <cursor>\n    case 'c':\n        print('two')\n",
        "case 'b':\n        print('b')│\n    case 'c':\n        print('two')\n",
    ),
    "async": ("async def f():\n    <cursor>\n    await sleep(1)\n", "await start()│\n    await sleep(1)\n"),
    "except": (
        "try:\n    a()\n<cursor>\nexcept OSError:\n    b()\n",
        "except KeyError:\n    pass│\nexcept OSError:\n    b()\n",
    ),
    "a shell cell": ("%%bash\nfor f in *; do\n  <cursor>\n  echo done\ndone\n", "wc $f│\n  echo done\n"),
    "magic lines": ("<cursor>\n%matplotlib inline\n", "import numpy│\n%matplotlib inline\n"),
    "shell lines": ("<cursor>\n!pip install it\n", "import sys│\n!pip install it\n"),
    "a continued line": ("x = first + \\\n<cursor>\nprint(x)\n", "second│\nprint(x)\n"),
    "an empty prefix": ("<cursor>\nprint(total)\n", "total = 1│\nprint(total)\n"),
}
KEPT_REPEATS_SUFFIX = {
    "the same line, further in": ("for x in xs:\n    <cursor>\n    log(item)\n", "if x:\n        log(item)\n"),
    "the same line, further out": (
        "if a:\n    if b:\n        <cursor>\n        log(item)\n",
        "pass",
    ),
    "a weak line alone": ("for x in xs:\n    <cursor>\n    i += 1\n    use(i)\n", "i += 1\n    skip(i)\n    go()\n"),
    "at once, and something else": ("def f():\n    <cursor>\n    step()\n    rest()\n", "step()\n    other()\n"),
    "only the start of the next line": ("<cursor>\nimport os.path\n", "import sys\nimport os"),
    "a shorter expression": ("a = 1\n<cursor>\nresult = x + y\n", "b = 2\nresult = x"),
    "the line's rest is part of a word": ("        retu<cursor>n\n", "rn "),
    "the line's rest inside the middle": ("    self._<cursor>root\n", "root = "),
    "the line's rest inside a call": ("x = f(<cursor>, key)\n", "g(a, key), h(b)"),
    "rows of a table": ("rows = [\n    (1, 2),\n    <cursor>\n    (1, 2),\n]\n", "(3, 4),\n    (1, 3),"),
    "another branch": ("if a:\n    <cursor>\nelse:\n    c()\n", "if b:\n        d()\n    else:\n        e()"),
}

REWRITES_SUFFIX = {
    "without its first line, up to its return": (
        (
            "def f(xs):\n<cursor>    best = None\n    for x in xs:\n        if x.ok and x.size > 3:\n"
            "            keep(x, best)\n    return best\n"
        ),
        (
            "    found = []\n│    for x in xs:\n        if x.ok and x.size > 3:\n"
            "            keep(x, found)\n    return found\n\n\ndef g():\n"
        ),
    ),
    "with other names": (
        (
            "def f(xs):\n    <cursor>\n    for x in xs:\n        total += x * x\n        count += 1\n"
            "    return total / count\n"
        ),
        (
            "total = count = 0│\n    for value in values:\n        s += value * value\n        n += 1\n"
            "    return s / n\n\n\nprint(f([1]))\n"
        ),
    ),
    "with one line of another kind": (
        (
            "def f(ns, d):\n<cursor>    for n in ns[:-1]:\n        out.append(n)\n        out.append(d)\n"
            "    out.append(ns[-1])\n    out.append(None)\n    return out\n"
        ),
        (
            "    out = []\n│    for n in ns[1:]:\n        out.append(n)\n        out.append(d)\n"
            "    out.append(ns[-1])\n    out.append(None)\n    return out\n\n\nf([1], 2)\n"
        ),
    ),
    "with other quotes": (
        "def f(xs):\n    <cursor>\n    for x in xs:\n        print('a', x)\n        print('b', x)\n    return xs\n",
        'xs = [*xs]│\n    for y in ys:\n        print("a", y)\n        print("b", y)\n    return ys\n\nf(1)\n',
    ),
    "中文": (
        "def f(數):\n    <cursor>\n    for x in 數:\n        總和 += x * x\n        個數 += 1\n    return 總和 / 個數\n",
        "總和 = 0│\n    for y in 值:\n        s += y * y\n        n += 1\n    return s / n\n\n\nprint(f([1]))\n",
    ),
}
KEPT_REWRITES_SUFFIX = {
    "a twin of what follows": (
        "def f(xs, ys):\n    <cursor>\n    for y in ys:\n        total += y * y\n        count += 1\n    return total\n",
        "a = b = 0\n    for x in xs:\n        a += x * x\n        b += 1\n",
    ),
    "branches alike": (
        "def f(x):\n    if x:\n        <cursor>\n    else:\n        a = g(x, 1)\n        b = h(a, 2)\n        c = k(b, 3)\n",
        "y = 1\n        a = g(x, 1)\n        b = h(a, 2)\n        c = k(b, 3)",
    ),
    "in another language": (
        "%%bash\n<cursor>\na $x y z\nb $x y z\nc $x y z\nd $x\n",
        "q\na $y y z\nb $y y z\nc $y y z\n",
    ),
}

CLOSES_OUTER = {
    "a brace": ("%%javascript\nif (a) {\n  <cursor>\n}\n", "b()│\n}\nc()\n"),
    "a brace after a block": ("%%cpp\nint f() {\n  <cursor>\n}\n", "for (;;) {\n    b();\n  }│\n}\nint g();\n"),
    "the outer of two braces": ("%%cpp\nint f() {\n  if (a) {\n    <cursor>\n}\n", "b();\n  }│\n}\nint g();\n"),
    "a brace in R": ("%%R\nf <- function(x) {\n  <cursor>\n}\n", "x # don't }│\n}\nf(1)\n"),
    "a call": ("print(<cursor>)\n", "f(x)│)\n"),
    "a call with the line's rest": ("x = max(<cursor>, key=len)\n", "names│, key=len)\n"),
    "a call within the middle": ("x = pick(<cursor>, key)\n", "one(a, key), two(b, key)│, key)\n"),
    "a call, at the model's end": ("print(<cursor>)\n", "f(x)│)"),
    "two brackets": ("print(f(<cursor>))\n", "x│))\n"),
    "a bracket on a line of its own": ("call(\n    <cursor>\n)\n", "a,\n    b,│\n)\n"),
    "a bracket after what the suffix has": ("call(\n    <cursor>\n    c,\n)\n", "a,\n    b,│\n    c,\n)\n"),
    "a bracket after the line's rest": ("x = '%s' % (name, <cursor>lue)\n", "va│lue)\n"),
    "the middle opens one of two": ("call(<cursor>))\n", "a, f(b│))\n"),
    "a list over lines": ("xs = [\n    1,\n    <cursor>\n]\n", "2,\n    3,│\n]\nprint(xs)\n"),
    "a dictionary comprehension": ("d = {k: <cursor>}\n", "v for k, v in pairs│}\n"),
    "a set": ("s = {<cursor>}\n", "1, 2│}\n"),
    "a subscript": ("x = xs[<cursor>]\n", "i + 1│]\n"),
    "a lambda": ("xs.sort(key=lambda x: <cursor>)\n", "x[0]│)\n"),
    "a string": ("x = 'to <cursor>'\n", "be│'\n"),
    "a string after what the suffix has": ("x = 'to <cursor> be'\n", "be or not to│ be'\n"),
    "a string with an escaped quote": ("x = 'don<cursor>'\n", "\\'t│'\n"),
    "a docstring": ('def f():\n    """<cursor>"""\n', 'Do it.│"""\n    return 1\n'),
    "a docstring over lines": ('def f():\n    """\n    <cursor>\n    """\n', 'Do it.│\n    """\n    return 1\n'),
    "中文": ('print("<cursor>")\n', '你好│")\n'),
}
KEPT_CLOSES_OUTER = {
    "a brace of the middle's own": ("%%cpp\nint f() {\n  <cursor>\n}\n", "if (a) {\n    b();\n  }\n  c();"),
    "braces in strings and comments": ("%%js\nif (a) {\n  <cursor>\n}\n", "b('}') // }\n  c(`}`) /* } */\n  d(\"}\")"),
    "a brace that the suffix leaves open": ("%%R\nf <- function(x) {\n  <cursor>\n", "x\n}\n"),
    "a brace in a language without": ("%%bash\nf() {\n  <cursor>\n}\n", "echo ${a}\n  b }\n"),
    "a bracket of the middle's own": ("print(<cursor>)\n", "f(x)"),
    "closers in a string": ("print(<cursor>)\n", "')]}'"),
    "closers in a comment": ("call(\n    <cursor>\n)\n", "a,  # :-)\n    b,"),
    "what the suffix leaves open": ("print(<cursor>\n", "x)"),
    "one bracket of two": ("print(f(<cursor>)\n", "x)"),
    "a string that the suffix leaves open": ("x = 'to <cursor>\ny = 1\n", "be'"),
    "a smaller string in a docstring": ('def f():\n    """<cursor>"""\n', 'Say "hello" to \'em.'),
    "closers in a docstring": ('def f():\n    """<cursor>"""\n', "Do it :-)"),
    "an apostrophe in a comment": ("# don't <cursor>\n", "you 'dare' :)"),
    "nested calls": ("x = f(g(<cursor>))\n", "a(b(1), c(2))"),
    "a repeated closer": ("x = [[1], <cursor>]\n", "[2], [3]"),
}

END_OF_LINE = {
    "an assignment": ("x = <cursor> + 1\n", "len(y)│\nz = 2\n"),
    "after a bracket closes": ("x = <cursor> + 1\n", "f(\n    1,\n)│\nz = 2\n"),
    "after a string closes": ("x = <cursor> + 1\n", '"""a\nb"""│\nz = 2\n'),
    "a dictionary's key": ("x = {<cursor>: 1}\n", "a:│\nb"),
    "a comment": ("# the <cursor>, I say\n", "end│\n# or not\n"),
    "a shell cell": ("%%bash\necho <cursor> | sort\n", "a (b│\necho c\n"),
    "a shell line": ("!echo <cursor> | sort\n", "don't│\nx = 1\n"),
    "a slice": ("y = x[<cursor>][0]\n", "1:│\nz = 2\n"),
    "中文": ("print('總和', <cursor>, sep='')\n", "總和│\n\nprint(1)\n"),
}
KEPT_END_OF_LINE = {
    "nothing stands after the hole": ("<cursor>\n", "x = 1\ny = 2\n"),
    "nothing stands before the hole": ("<cursor>x = 1\n", "y = 2\nz = 3\n"),
    "an open bracket": ("x = <cursor> + 1\n", "f(\n    1,\n    2,\n)"),
    "a continued line": ("x = <cursor> + 1\n", "2 \\\n    + 3"),
    "a block": ("if <cursor> and done\n", "a:\n    b()\nelif c"),
    "a triple-quoted string": ("x = <cursor> + 1\n", '"""a\nb"""'),
}

DEDENT = {
    "a file of Python": ("%%writefile src/mean.py\ndef f(x):\n    <cursor>\n", "return x│\n\nprint(f(1))\n"),
    "a branch of its own, then out of the function": (
        "def f(x):\n    if x:\n<cursor>        return 2\n",
        "        y = 1\n│    else:\n        y = 2\n    return y\n\nprint(f(1))\n",
    ),
    "out of the function, at a line's end": (
        "def f(x):\n    return x<cursor>\n\nprint(f(2))\n",
        " + 1│\n\ndef g(x):\n    return 2\n",
    ),
    "out of the inner function, at a line's end": (
        "def f(x):\n    def g(y):\n        if y:\n            return y<cursor>\n    return g\n",
        " + 1\n        return 0│\n    g.x = 1\n",
    ),
    "the next function": ("def f(x):\n    <cursor>\n", "return x│\n\n\ndef g(x):\n    return 1\n"),
    "a comment": ("def f(x):\n    <cursor>\n", "return x│\n\n# Test it\n"),
    "to the outer block": ("for x in y:\n    if x:\n        <cursor>\n", "break│\n    print(x)\n"),
    "the marker in column 0": ("def f(x):\n<cursor>", "    return x│\n\ndef g(x):\n"),
    "the end of a line": ("def f(x):\n    return <cursor>\n", "x│\n\ndef g(x):\n"),
    "a block that the line opens": ("if a:\n    pass\n    for <cursor>\n", "x in y:\n        pass│\nz\n"),
    "a line right of the statement that opened a block": ("for <cursor>\n", "x in y:\n    pass│\nprint(y)\n"),
    "after a comment that ends in a backslash": ("def f(x):\n    <cursor>\n", "x  # \\│\nprint(x)\n"),
    "a bracket that the candidate closes": ("def f():\n    return [\n        <cursor>\n", "a,\n    ]│\n\ndef g():\n"),
    "a call at a line's end": ("def f():\n    return g(<cursor>\n", "x)│\n\ndef h():\n"),
    "a docstring that the candidate closes": (
        'def f():\n    """Do it.\n    <cursor>\n',
        'Now."""\n    go()│\nprint(f())\n',
    ),
    "with tabs": ("def f(x):\n\t<cursor>\n", "return x│\nprint(f(1))\n"),
    "中文": ("def 平均(數):\n    <cursor>\n", "return sum(數) / len(數)│\n\n印出 = print\n"),
    "before else": ("if a:\n    <cursor>\nelse:\n    fall_back()\n", "go()│\nelse:\n    fall_back()\n"),
    "before except": ("try:\n    <cursor>\nexcept OSError:\n    pass\n", "work()│\nexcept OSError:\n    pass\n"),
    "before case": ("match x:\n    case 1:\n        <cursor>\n    case 2:\n        y()\n", "z()│\n    case 2:\n"),
    "after a continued line": ("total = first + \\\n    <cursor>\nprint(total)\n", "second│\nprint(total)\n"),
    "a method": ("class A:\n    def f(self):\n        <cursor>\n", "return 1│\n\n    def g(self):\n"),
    "a magic line": ("def f(x):\n    <cursor>\n", "return x│\n%timeit f(1)\n"),
    "a cell that is timed": ("%%time\ndef f(x):\n    <cursor>\n", "return x│\nf(1)\n"),
}
KEPT_DEDENT = {
    "out to where the suffix stands": (
        "def f(x):\n    if x < 2:\n        return False<cursor>\n    return True\n",
        "\n    for k in range(2, x):\n        if x % k == 0:\n            return False",
    ),
    "out of a block that the line opened": (
        "def f(s):\n    for c in s:<cursor>\n    return t.split()\n",
        "\n        t.append(c)\n\n    t = ''.join(t)",
    ),
    "a branch that the suffix is in": (
        "def f(x):\n    if x:\n<cursor>        return 2\n",
        "        return 1\n    else:\n",
    ),
    "a branch before the suffix's": (
        "def f(x):\n    if x:\n<cursor>    else:\n        c()\n",
        "        a()\n    elif y:\n        b()\n",
    ),
    "the end of a docstring": (
        'def f():\n    """One.\n<cursor>def g():\n    """Two."""\n    return 2\n',
        '    """\n    return 1\n\n\n',
    ),
    "a nested function": (
        "def f(x):\n    <cursor>\n    return g\n",
        "def g(y):\n        return x + y\n\n    g.x = x",
    ),
    "lines of a call": ("def f(x):\n    <cursor>\n", "g(\n  1,\n2,\n)\n    return 1"),
    "lines of a string": ("def f(x):\n    <cursor>\n", 'y = """\na\n"""\n    return y'),
    "a continued line": ("def f(x):\n    <cursor>\n", "y = x + \\\n  1\n    return y"),
    "blank lines": ("def f(x):\n    <cursor>\n", "y = 1\n\n  \n    return y"),
    "a dictionary": ("def f(x):\n    y = <cursor>\n", "{'a':\n     1}\n    return y"),
    "a comment with a colon": ("def f(x):\n    y = <cursor>\n", "1  # as in:\n    return y"),
    "a slice over lines": ("def f(x):\n    y = <cursor>\n", "x[1:\n      2]\n    return y"),
    "else": ("def f(x):\n    if <cursor>\n", "x:\n        y()\n    else:\n        z()"),
    "elif": ("def f(x):\n    if <cursor>\n", "x:\n        y()\n    elif x + 1:\n        z()"),
    "except": ("def f(x):\n    try<cursor>\n", ":\n        y()\n    except OSError:\n        z()"),
    "finally": ("def f(x):\n    with <cursor>\n", "x:\n        y()\n    finally:\n        z()"),
    "a cell of another language": ("%%javascript\n  if (a) {\n    <cursor>\n", "b()\n  }\nc()"),
    "in the top level": ("<cursor>\n", "def f():\n    pass\n\nf()"),
    "in brackets": ("x = [\n        <cursor>\n]\n", "1,\n    2,\n3,"),
    "in a docstring": ('def f():\n    """\n    <cursor>\n    """\n', "a\n  b\nc"),
}

DEMONSTRATION = {
    "a main block": ("<cursor>", "def f(x):\n    return x│\n\n\nif __name__ == '__main__':\n    f(1)\n"),
    "test cases": ("# The mean.\n<cursor>\n", "def f(x):\n    return x│\n\n# Test cases\nf(1)\n"),
    "an example": ("<cursor>\n", "def f(x):\n    return x│\n\n# Example usage:\nf(1)\n"),
    "a call that is printed": ("<cursor>\n", "async def f(x):\n    return x│\n\nprint(f(1))\n"),
    "a call that is checked": ("<cursor>\n", "class A:\n    x = 1│\n\nassert A().x == 1\n"),
    "of the first of two": ("<cursor>\n", "def f():\n    pass\n\ndef g():\n    pass│\n\nprint(f())\n"),
    "type parameters": ("<cursor>\n", "def f[T](x: T) -> T:\n    return x│\n\nprint(f(1))\n"),
    "中文": ("<cursor>\n", "def 平均(數):\n    return 數│\n\nprint(平均(1))\n"),
}
KEPT_DEMONSTRATION = {
    "it is asked for": ("# f, and a test of it\n<cursor>\n", "def f(x):\n    return x\n\nprint(f(1))\n"),
    "something follows": ("<cursor>\nx = 1\n", "def f(x):\n    return x\n\nprint(f(1))\n"),
    "of something else": ("<cursor>\n", "def f(x):\n    return x\n\nprint(g(1))\n"),
    "nothing is defined": ("<cursor>\n", "# Example\nx = 1\nprint(x)\n"),
    "in the function": ("<cursor>\n", "def f(x):\n    # Test it\n    print(f)\n    return x"),
    "in a string": ("<cursor>\n", 'def f(x):\n    return x\n\ny = """\nprint(f(1))\n# Test\n"""\n'),
    "a name that goes on": ("<cursor>\n", "def f(x):\n    return x\n\nprint(f1)\n# Testament\n"),
    "another language": ("%%cpp\n<cursor>\n", "class A\n# Example\n"),
}

CODE_FENCE = {
    "a file of Python": ("%%file 'my mean.py'\n<cursor>\n", "x = 1│\n```\nThis is one.\n"),
    "a shell cell": ("%%bash\n<cursor>\n", "ls│\n```\nThis lists.\n"),
    "a query": ("%%sql\n<cursor>\n", "SELECT 'a'│\n```\n"),
    "after the code": ("<cursor>\n", "x = 1│\n```\nThis sets x.\n"),
    "with a language": ("y = 0\n<cursor>\n", "x = 1│\n```python\n"),
    "at once": ("<cursor>\n", "│```python\nx = 1\n"),
    "after a docstring": ("<cursor>\n", '"""Do it."""│\n```\n'),
}
KEPT_CODE_FENCE = {
    "in a docstring of the user's": ('"""\n<cursor>\n"""\n', "```\nx = 1\n```"),
    "in a string of the middle": ("<cursor>\n", 'x = """\n```\ny\n```\n"""'),
    "in a comment": ("<cursor>\n", "# ```\n# x\n# ```"),
    "within a line": ("x = <cursor>\n", "'```'"),
    "a Markdown cell": ("%%markdown\n<cursor>\n", "```\nx\n```"),
    "a Markdown file": ("%%writefile README.md\n<cursor>\n", "```\nx\n```"),
}

REPETITION = {
    "one line": ("<cursor>\n", "print(x)│\nprint(x)\nprint(x)\nprint(x)\n"),
    "two lines": ("<cursor>\n", "a = b()\nprint(a)│\na = b()\nprint(a)\na = b()\nprint(a)\n"),
    "after something else": ("<cursor>\n", "x = 1\ny = 2\nuse(x)│\nuse(x)\nuse(x)\nuse(x)\n"),
    "with blank lines": ("<cursor>\n", "use(x)│\n\nuse(x)\n\nuse(x)\n\nuse(x)\n"),
    "characters": ("x = <cursor>\n", "total + │" + "total + " * 14),
    "rows without an end": ("x = [\n<cursor>\n]\n", "    0,│\n" + "    0,\n" * 15),
    "中文": ("# <cursor>\n", "非常好，│" + "非常好，" * 29),
}
KEPT_REPETITION = {
    "a table of equal rows": ("board = [\n<cursor>\n]\n", "    [0, 0, 0],\n" * 8),
    "a table of two rows": ("board = [\n<cursor>\n]\n", "    [0, 1, 0],\n    [1, 0, 1],\n" * 4),
    "a list of equal numbers": ("zeros = [<cursor>]\n", "0, " * 63 + "0"),
    "a line three times": ("<cursor>\n", "next(lines)\nnext(lines)\nnext(lines)\nuse(lines)"),
    "lines that differ in indentation": ("<cursor>\n", "  x\n    x\n      x\n        x\n          x\n"),
    "two lines twice": ("<cursor>\n", "a()\nb()\na()\nb()\nc()"),
    "a separator": ("print('<cursor>')\n", "=" * 200),
    "a line of dashes": ("<cursor>\n", "# " + "- " * 80),
    "blank lines": ("<cursor>\n", "a = 1" + "\n" * 9 + "b = 2"),
}

OPENS_BLOCK = {
    "the marker in column 0": (
        "def f(xs):\n    ys = []\n<cursor>        ys.append(x)\n    return ys\n",
        "    for x in xs:\n│        ys.append(x + 1)\n    return\n\n\nprint(f([1]))\n",
    ),
    "a block in a block": (
        "for x in xs:\n    y = x\n<cursor>        print(x)\n",
        "    if x:\n│        log(x)\n\nprint(y)\n",
    ),
    "a comment after the colon": ("x = 1\n<cursor>    print(x)\n", "if x:  # yes\n│    y = 2\nz = 3\n"),
    "on its own line": ("for x in xs:\n    <cursor>\n        print(x)\n", "if x:│\n        log(x)\n\nz = 3\n"),
    "at the end of a line": ("for x in <cursor>\n    print(x)\n", "range(9):│\n    log(x)\nz = 3\n"),
    "after statements": ("<cursor>\n    print(x)\n", "xs = [1]\nfor x in xs:│\n    log(x)\nz = 3\n"),
    "with a statement over lines": ("<cursor>\n    print(x)\n", "for x in f(\n    a,\n):│\n    log(x)\nz = 3\n"),
    "after a function's head over lines": (
        "def f(\n    a,\n):\n<cursor>        print(a)\n",
        "    if a:\n│        log(a)\n\n\nf(1)\n",
    ),
    "中文": ("若 = 1\n<cursor>    印(若)\n", "while 若:\n│    加(若)\n若 = 2\n"),
    "else": ("def f():\n    if a:\n        b()\n    <cursor>\n        c()\n", "else:│\n        d()\n\nf()\n"),
    "except": (
        "def f():\n    try:\n        b()\n    <cursor>\n        c()\n",
        "except OSError:│\n        d()\n\nf()\n",
    ),
    "a comment with a colon": ("<cursor>\n    return a\n", "def f(a):  # why:│\n    return b\n\nf(1)\n"),
    "with tabs": ("def f(xs):\n\t<cursor>\n\t\tprint(x)\n", "for x in xs:│\n\t\tuse(x)\n\nf(1)\n"),
}
KEPT_OPENS_BLOCK = {
    "the opened block has lines of the candidate's": (
        "def f(xs):\n<cursor>        ys.append(x)\n    return ys\n",
        "    ys = []\n    for x in xs:\n        x = g(x)\n",
    ),
    "a block ends and another begins": (
        "def f(n):\n<cursor>\n        if n % i == 0:\n            return False\n    return True\n",
        "    if n == 0:\n        return False\n    for i in range(2, n):",
    ),
    "a branch follows": (
        "def f(xs):\n<cursor>        elif x:\n            c()\n    return d\n",
        "    for x in xs:\n        if y:\n            b()\n",
    ),
    "the line below is as deep as the hole": (MEAN, "total = 0\n    for x in xs:\n        total += x"),
    "the block is open": ("for x in xs:\n<cursor>    print(x)\n", "    if x:\n        log(x)\n"),
    "the colon is a slice's": ("<cursor>\n    print(x)\n", "x = xs[1:\n  2]\n"),
    "the colon is a dictionary's": ("<cursor>\n    print(x)\n", "x = {1:\n  2}\n"),
    "another language": ("%%bash\n<cursor>\n    echo done\n", "case a in x:\n  b"),
    "the block is opened on the hole's line": (
        "for n in numbers:<cursor>\n    total += n\n",
        "\n    if n is None:\n        continue",
    ),
    "a line of the block around it": (
        "for x in xs:\n    if x:\n        <cursor>\n    print(x)\n",
        "while x:\n            x -= 1",
    ),
    "in brackets": ("x = {\n    <cursor>\n        1: 2}\n", "'a':\n        3,"),
    "nothing below": ("def f(xs):\n    <cursor>\n", "for x in xs:\n        print(x)"),
}

UNREACHABLE = {
    "in a branch that the candidate began": (
        "def f(x):\n    if x:\n        return 1\n<cursor>        return 0\n",
        "    else:\n│        return x\n\n# Test cases\n",
    ),
    "and the block goes on": ("def f(x):\n    <cursor>\n    return y\n", "y = x│\n    return x\n    z = 1\n"),
    "and the function ends": ("def f(x):\n    <cursor>\n    return y\n", "y = x│\n    return x\n\ndef g():\n"),
    "return": ("def f(x):\n    <cursor>\n    return y\n", "y = x + 1│\n    return x\n"),
    "raise": ("def f(x):\n    <cursor>\n    g(x)\n", "y = x + 1│\n    raise E\n"),
    "break": ("for x in xs:\n    <cursor>\n    print(x)\n", "x += 1│\n    break\n"),
    "continue": ("for x in xs:\n    <cursor>\n    print(x)\n", "x += 1│\n    continue\n"),
    "at the model's end": ("def f(x):\n    <cursor>\n    return y\n", "y = x + 1│\n    return x"),
    "the marker in column 0": ("def f(x):\n<cursor>    return y\n", "    y = x + 1\n│    return x\n"),
    "a return over lines": ("def f(x):\n    <cursor>\n    return y\n", "y = x│\n    return g(\n        x,\n    )\n"),
    # Of a statement whose branches all leave, the last way out goes, so that its branch goes on with what follows.
    "the other branch of the user's own": (
        "def f(x):\n    if x:\n        return x\n    <cursor>\n    y = g(x)\n    return y\n",
        "else:\n        z = x│\n        return z\n",
    ),
    "the other branch, and the function ends": (
        "def f(x):\n    if x:\n        return x\n    <cursor>\n    y = g(x)\n    return y\n",
        "else:\n        z = x│\n        return z\n\ndef g():\n",
    ),
    "both branches": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "if x:\n        return 1│\n    else:\n        return 2\n",
    ),
    "all of three": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "if x:\n        return 1\n    elif y:\n        raise E\n    else:\n        z = 2│\n        return z\n",
    ),
    "both branches, and the block goes on": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "if x:\n        return 1│\n    else:\n        return 2\n    print(3)\n",
    ),
    "branches in a branch": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "if x:\n        return 1\n    else:\n        if y:\n            return 2│\n        else:\n            return 3\n",
    ),
    "of a loop": (
        "for x in xs:\n    <cursor>\n    go(x)\n",
        "if x:\n        continue\n    else:\n        y = 1│\n        break\n",
    ),
    "of a method": (
        "class A:\n    def f(self):\n        <cursor>\n        go()\n",
        "if x:\n            return 1\n        else:\n            y = 2│\n            return y\n",
    ),
    "try and except": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "try:\n        return 1\n    except E:\n        y = 2│\n        return y\n",
    ),
    "try, except and else": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "try:\n        y = 1\n    except E:\n        return 2\n    else:\n        z = y│\n        return z\n",
    ),
    "finally": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "try:\n        y = 1\n    finally:\n        z = y│\n        return z\n",
    ),
    "with": ("def f(x):\n    <cursor>\n    go(x)\n", "with open(x) as g:\n        y = g.read()│\n        return y\n"),
    "match, to its last case": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "match x:\n        case 1:\n            return 1\n        case _:\n            y = 2│\n            return y\n",
    ),
    "a loop without an end": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "y = 1│\n    while True:\n        y += g(y)\n        if y > x:\n            return y\n",
    ),
    "else of a loop": (
        "def f(x):\n    <cursor>\n    go(x)\n",
        "for y in x:\n        g(y)\n    else:\n        z = 1│\n        return z\n",
    ),
    "an exit": ("def f(x):\n    <cursor>\n    go(x)\n", "y = 1│\n    sys.exit(y)\n"),
}
DEAD_CODE = {
    "another return": ("def f(x):\n    <cursor>\n\nprint(f(1))\n", "return x│\n    return 2 * x\n"),
    "before it is whole": ("def f(x):\n    <cursor>\n", "return x│\n    x"),
    "with a comment between them": ("def f(x):\n    <cursor>\n", "y = x\n    return y│\n    # or\n    return x"),
    "in a block of its own": ("def f(x):\n    <cursor>\n", "if x:\n        return 1│\n        x = 2\n    return 3"),
    "behind a loop's end": ("for x in xs:\n    <cursor>\n", "if x:\n        continue│\n        print(x)\n"),
    "the marker in column 0": ("def f(x):\n<cursor>\n", "    raise E│\n    return x\n"),
    "the marker behind the word": ("def f(x):\n    return <cursor>\n", "g(\n        x,\n    )│\n    y = 1"),
    "behind branches that all leave": (
        "def f(x):\n    <cursor>\n",
        "if x:\n        return 1\n    else:\n        return 2│\n    print(x)\n",
    ),
    "behind such a branch of a branch": (
        "def f(x):\n    <cursor>\n",
        "if x:\n        try:\n            return 1\n        except E:\n            raise│\n        print(x)\n    return 2\n",
    ),
    "behind a loop without an end": (
        "def f(x):\n    <cursor>\n",
        "while 1:\n        x += 1\n        if x > 9:\n            return x│\n    return 0\n",
    ),
    "behind the other branch of the user's own": (
        "def f(x):\n    if x:\n        return 1\n    <cursor>\n",
        "else:\n        return 2│\n    return 3\n",
    ),
}
KEPT_DEAD_CODE = {
    "a branch": ("def f(x):\n    <cursor>\n", "if x:\n        return 1\n    else:\n        return 2"),
    "behind the block": ("def f(x):\n    <cursor>\n", "if x:\n        return 1\n    return 2"),
    "a branch on a line": ("def f(x):\n    <cursor>\n", "if x: return 1\n    return 2"),
    "a loop that may break": (
        "def f(x):\n    <cursor>\n",
        "while True:\n        if g(x):\n            break\n    return 2",
    ),
    "a loop whose inner one breaks, and it": (
        "def f(x):\n    <cursor>\n",
        "while True:\n        for y in x:\n            break\n        else:\n            break\n    return 2",
    ),
    "a handler that goes on": (
        "def f(x):\n    <cursor>\n",
        "try:\n        return g(x)\n    except E:\n        pass\n    return 2",
    ),
    "errors that are swallowed": (
        "def f(x):\n    <cursor>\n",
        "with suppress(E):\n        return g(x)\n    return 2",
    ),
    "cases that may not be all": (
        "def f(x):\n    <cursor>\n",
        "match x:\n        case 1:\n            return 1\n    return 2",
    ),
    "a case with a condition": (
        "def f(x):\n    <cursor>\n",
        "match x:\n        case y if y:\n            return 1\n    return 2",
    ),
    "a break that does no harm": ("for x in xs:\n    <cursor>\n", "if x:\n        return x\n        break"),
    "a yield in a value": ("def f(x):\n    <cursor>\n", "raise E\n    x = yield 1"),
    "a yield that never runs": ("def f(x):\n    <cursor>\n", "raise E\n    if False:\n        yield"),
    "what makes it a generator": ("def f(x):\n    <cursor>\n", "return\n    yield"),
    "a comment": ("def f(x):\n    <cursor>\n", "return x\n    # as it is"),
    "over several lines": ("def f(x):\n    <cursor>\n", "return (\n    x\n    )"),
    "in a string": ('x = """\n<cursor>\n"""\n', "return x\nreturn y\n"),
    "another language": ("%%bash\nf() {\n    <cursor>\n}\n", "return 1\n    return 2"),
}
KEPT_UNREACHABLE = {
    "before a block that what follows is in": (
        "def f(n):\n<cursor>\n        go(i)\n",
        "    if n:\n        x = 1\n        return x\n    for i in n:",
    ),
    "in a deeper block": ("def f(x):\n    <cursor>\n    return y\n", "if x:\n        return 0\n    y = 1"),
    "one branch of two": (
        "def f(x):\n    <cursor>\n    return y\n",
        "if x:\n        return 0\n    else:\n        y = 1",
    ),
    "the user's own branches": (
        "def f(x):\n    if x:\n        return 1\n    else:\n        return 2\n    <cursor>\n    return y\n",
        "y = 1",
    ),
    "no branch to go on in": (
        "def f(x):\n    if x:\n        return 1\n    <cursor>\n    return y\n",
        "else:\n        return 2",
    ),
    "another branch follows": ("if a:\n    <cursor>\nelse:\n    b()\n", "c()\n    return"),
    "another function follows": ("def f():\n    <cursor>\n\ndef g():\n    pass\n", "a()\n    return 1"),
    "a decorator follows": ("def f():\n    <cursor>\n\n@g\nclass C: pass\n", "a()\n    return 1"),
    "all there is": ("def f(x):\n    <cursor>\n    return y\n", "return x"),
    "a name that begins so": ("def f(x):\n    <cursor>\n    return y\n", "a = 1\n    returned = 2"),
    "nothing follows": ("def f(x):\n    <cursor>", "y = 1\n    return y"),
    "in a nested function": ("def f(x):\n    <cursor>\n    return g\n", "def g():\n        return 1"),
    "another case follows": (
        "match x:\n    case 1:\n        <cursor>\n    case 2:\n        b()\n",
        "a()\n        return 1",
    ),
    "a method follows": (
        "class A:\n    def f(self):\n        <cursor>\n\n    def g(self): ...\n",
        "a()\n        return 1",
    ),
    "a line further left follows": ("def f():\n    if x:\n        <cursor>\n    return 2\n", "a()\n        return 1"),
    "in a docstring": ('def f(x):\n    """\n    <cursor>\n    """\n    go()\n', "It will\n    return soon."),
}

CLOSES_FIELD = {
    "the brace and the rest of the string": ('f"{<cursor>}"\n', 'total│}"'),
    "with text behind it": ('print(f"{<cursor>} in all")\n', "len(xs)│} in all"),
    "a format that the suffix has": ('f"{<cursor>:.2f}"\n', "total│:.2f}"),
    "a format of its own": ('f"{<cursor>}"\n', 'total:.2f│}"'),
    "a format with a field": ('f"{<cursor>}"\n', 'total:{width}│}"'),
    "a field in the format": ('f"{x:{<cursor>}}"\n', "width│}"),
    "a field in the format, which the candidate closes": ('f"{x:{<cursor>}"\n', 'width}│}"'),
    "a dict is closed first": ('f"{<cursor>}"\n', "{1: 2}[1]│}"),
    "quotes of the same kind (PEP 701)": ('f"{<cursor>}"\n', 'row["name"]│}"'),
    "in the second field": ('f"{a} {<cursor>}"\n', "b│}"),
    "after braces that are text": ('f"{{}} {<cursor>}"\n', "b│}"),
    "raw": ("rf'{<cursor>}'\n", "b│}'"),
    "a template": ('t"{<cursor>}"\n', "b│}"),
    "in a call": ("run(f'{<cursor>}')\n", "b│}')"),
    "over several lines": ('f"""\n{<cursor>}\n"""\n', "b│}\n"),
    "begins with the brace": ('f"{x}{<cursor>}"\n', "│}g"),
}
KEPT_CLOSES_FIELD = {
    "a whole field in a string": ('f"a <cursor>"\n', "{x} b"),
    "braces that are text": ('f"a <cursor> }}"\n', "{{b"),
    "no f-string": ('"{<cursor>}"\n', "a}{b"),
    "a name that ends in f": ('elf"{<cursor>}"\n', "a}{b"),
    "the suffix does not close it": ('f"{<cursor>"\n', "a}"),
    "a brace behind the string": ('f"{<cursor>"\nd = {}\n', "a}"),
    "a set": ('f"{<cursor>}"\n', "{1, 2} - {3}"),
    "behind a string that has ended": ('f"{a}" + <cursor>}\n', "b"),
}

CLOSES_BLOCK = {
    "fi": (
        '%%bash\nfor f in *; do\n    if [ -s "$f" ]; then\n        <cursor>\n    fi\ndone\n',
        "wc $f│\n    fi\n    echo $f\n",
    ),
    "fi, at the model's end": ("%%bash\nif a; then\n  <cursor>\nfi\nb\n", "c│\nfi"),
    "further left than what closes it": (
        "%%html\n<div>\n  <ul>\n    <cursor>\n  </ul>\n</div>\n",
        "<li>a</li>\n    <li>b</li>│\n</div>\n",
    ),
    "a tag": ("%%html\n<ol>\n  <cursor>\n</ol>\n<hr>\n", "<li>a</li>│\n</ol>\n<p>\n"),
    "at once": ("%%html\n<table>\n  <tr></tr>\n  <cursor>\n</table>\n<p>\n", "│</table>\n</body>\n"),
    "a bracket": ("%%perl\nmy %ages = (\n    a => 1,\n    <cursor>\n);\nprint %ages;\n", "b => 2,│\n);\nexit;\n"),
    "end": ("%%ruby\ndef mean(xs)\n  <cursor>\nend\nputs mean([1])\n", "xs.sum / xs.size│\nend\nputs 2\n"),
    "a brace": ("%%perl\nwhile (<>) {\n    <cursor>\n}\nprint;\n", "chomp;│\n}\nexit;\n"),
    "after a branch of its own": ("%%bash\nif a; then\n  <cursor>\nfi\nb\n", "c\nelse\n  d│\nfi\ne\n"),
    "the marker in column 0": ("%%bash\nif a; then\n<cursor>fi\nb\n", "  c\n│fi\nd\n"),
    "at the end of a line": ("%%bash\nif a; then\n  echo <cursor>\nfi\nb\n", "c│\nfi\nd\n"),
    "with CR LF": ("%%bash\r\nif a; then\r\n  <cursor>\r\nfi\r\nb\r\n", "c│\nfi\nd\n"),
    "中文": ("%%html\n<ul>\n  <游標在這>\n</ul>\n<p>完</p>\n", "<li>一</li>│\n</ul>\n<p>二</p>\n"),
}
KEPT_CLOSES_BLOCK = {
    "a branch": ("%%bash\nif a; then\n  <cursor>\nfi\nb\n", "c\nelse\n  d\n"),
    "the same line, deeper": (
        "%%bash\nif a; then\n  <cursor>\nfi\nb\n",
        "if c; then\n    d\n  fi\n",
    ),
    "a line that only begins so": ("%%bash\nif a; then\n  <cursor>\nfi\nb\n", "c\nfind .\n"),
    "what follows is as deep": ("%%bash\nf() {\n  <cursor>\n  return\n}\n", "ls\necho a"),
    "nothing follows": ("%%bash\nif a; then\n  <cursor>", "c\nfi\n"),
    "no block": ("%%sql\n<cursor>\nLIMIT 3;\n", "SELECT *\nFROM users\n"),
    "a here-document": ("%%bash\nf() {\n  <cursor>\n}\nf\n", "cat <<EOF\n}\nEOF\n"),
    "within a line": ("%%bash\nif a; then\n  echo <cursor> | sort\nfi\n", "b"),
}
SQL = "%%sql\nSELECT name\nFROM users\n<cursor>\nORDER BY name;\n"
ENDS_QUERY = {
    "a clause follows": (SQL, "WHERE age > 3│;\nSELECT"),
    "at the model's end": (SQL, "WHERE age > 3│;"),
    "after a string that has one": (SQL, "WHERE name = 'a;''b' -- not ; here\n  AND \"c;\" = 1│;\n"),
    "in small letters": ("%%bigquery\nselect *\n<cursor>\nlimit 3\n", "from users│;\n"),
    "a bracket follows": ("%%sql\nSELECT * FROM (\n<cursor>\n) LIMIT 3;\n", "SELECT 1│;\n"),
    "a bracket": (
        "%%sql\nCREATE TABLE users (\n    id INTEGER,\n    <cursor>\n);\nINSERT INTO users VALUES (1);\n",
        "age NUMERIC(3),\n    name TEXT│\n);\nSELECT * FROM users;\n",
    ),
    "the outer of two brackets": ("%%sql\nSELECT f(g(<cursor>\n, 2);\n", "1)│)"),
}
KEPT_ENDS_QUERY = {
    "another statement follows": ("%%sql\n<cursor>\nSELECT 1;\n", "INSERT INTO users VALUES (1);"),
    "nothing follows": ("%%sql\nSELECT 1\n<cursor>\n", "FROM users;"),
    "a word that begins as a clause": ("%%sql\nSELECT 1\n<cursor>\nsetting;\n", "FROM a;"),
    "in a string": (SQL, "WHERE name = 'a;)"),
    "in a comment": (SQL, "/* a; b)"),
    "brackets of its own": ("%%sql\nSELECT (\n<cursor>\n);\n", "f(1, (2))"),
    "a bracket that the suffix does not close": ("%%sql\nSELECT f(<cursor>\nFROM users;\n", "1) + 2"),
    "in another language": ("%%bash\na\n<cursor>\nwhere b\n", "ls; pwd"),
}
NEXT_CELL = {
    "the same magic": ("%%sql\nSELECT *\n<cursor>\n", "FROM users;│\n%%sql\nSELECT 1;\n"),
    "another magic": ("%%bash\n<cursor>\n", "ls│\n%%time\n"),
    "in Python": ("x = 1\n<cursor>\n", "y = 2│\n%%time\nz = 3\n"),
    "at once": ("x = 1\n<cursor>\nz = 3\n", "│%%time\n"),
    "the percent format": ("x = 1\n<cursor>\n", "y = 2│\n\n# %%\nz = 3\n"),
    "the percent format, with a title": ("x = 1\n<cursor>\n", "y = 2│\n# %% [markdown]\n# Text\n"),
    "nbconvert": ("x = 1\n<cursor>\n", "y = 2│\n\n\n# In[4]:\n\n\nz = 3\n"),
}
KEPT_NEXT_CELL = {
    "the cell's own magic": ("<cursor>\nls\n", "%%bash\ncd x\n"),
    "a line magic": ("x = 1\n<cursor>\n", "%time y = 2\n"),
    "within a line": ("x = 7 <cursor>\n", "%%a"),
    "in a string": ('x = """\n<cursor>\n"""\n', "%%bash\nls"),
    "in a string of its own": ("x = 1\n<cursor>\n", 'y = """\n%%bash\n"""'),
    "a cell that has such lines": ("# %%\nx = 1\n<cursor>\n", "# %%\ny = 2"),
    "a comment with a percent sign": ("%%octave\nx = 1;\n<cursor>\n", "%%the mean\nmean(x)"),
    "another comment": ("x = 1\n<cursor>\n", "# %%time is a magic, # In the end\ny = 2"),
}

TABLES = {
    "repeats-suffix": (REPEATS_SUFFIX, KEPT_REPEATS_SUFFIX),
    "rewrites-suffix": (REWRITES_SUFFIX, KEPT_REWRITES_SUFFIX),
    "closes-field": (CLOSES_FIELD, KEPT_CLOSES_FIELD),
    "closes-outer": (CLOSES_OUTER, KEPT_CLOSES_OUTER),
    "closes-block": (CLOSES_BLOCK, KEPT_CLOSES_BLOCK),
    "ends-query": (ENDS_QUERY, KEPT_ENDS_QUERY),
    **PARSED,
    "end-of-line": (END_OF_LINE, KEPT_END_OF_LINE),
    "opens-block": (OPENS_BLOCK, KEPT_OPENS_BLOCK),
    "unreachable": (UNREACHABLE, KEPT_UNREACHABLE),
    "dead-code": (DEAD_CODE, KEPT_DEAD_CODE),
    "dedent": (DEDENT, KEPT_DEDENT),
    "demonstration": (DEMONSTRATION, KEPT_DEMONSTRATION),
    "next-cell": (NEXT_CELL, KEPT_NEXT_CELL),
    "code-fence": (CODE_FENCE, KEPT_CODE_FENCE),
    "repetition": (REPETITION, KEPT_REPETITION),
}


IN_FILES_OF_THEIR_OWN = {"enough": "test_extent", "only-comments": "test_extent", "copies": "test_copies"}


def test_every_rule_has_a_table():
    assert list(TABLES) == [rule for rule in RULES if rule not in IN_FILES_OF_THEIR_OWN]
    for cut, kept in TABLES.values():
        assert all(answer.count("│") == 1 for _, answer in cut.values())
        assert not any("│" in answer for _, answer in kept.values())


@pytest.mark.parametrize(
    ("rule", "document", "answer"),
    [
        pytest.param(rule, document, answer, id=f"{rule}: {name}{kept}")
        for rule, tables in TABLES.items()
        for table, kept in zip(tables, ("", " (kept)"), strict=True)
        for name, (document, answer) in table.items()
    ],
)
def test_where_the_hole_ends(rule, document, answer, request):
    if rule not in PARSED:
        request.getfixturevalue("no_parsers")  # by layout
    check(rule, document, answer)


@pytest.fixture
def no_parsers(monkeypatch):
    """As where `fim-magic[languages]` is not installed."""
    parse_hole.cache_clear()
    monkeypatch.setattr(parsing, "_loaded", lambda language: None)
    yield
    parse_hole.cache_clear()


# A parser knows better: when all is closed that the suffix leaves open, the answer ends.
OTHERWISE_PARSED = {
    "x\n}\n": "x\n}│\n",
    "c\nfi\n": "c\nfi│\n",
    "b()\n  }\nc()": "b()\n  }│\nc()",
    "/* a; b)": "/* a; b│)",  # a comment that nothing ends is none
}


@pytest.mark.parametrize(
    ("document", "answer"),
    [
        pytest.param(parse(document), OTHERWISE_PARSED.get(answer, answer), id=f"{rule}: {name}")
        for rule, tables in TABLES.items()
        for table in tables
        for name, (document, answer) in table.items()
        if rule not in PARSED and not Hole(parse(document)).is_python
    ],
)
def test_with_parsers_other_languages_end_at_the_same_places(document, answer):
    text = answer.replace("│", "")
    cut = stream(document, text)
    assert (text if cut is None else f"{text[: cut.at]}│{text[cut.at :]}") == answer


# Pieces that the rules look at, so that chance builds texts that they fire on.
PIECES = st.lists(
    st.sampled_from(
        (
            *("x", "total", " = ", "f(", ")", "[", "]", "{", "}", "'", '"', '"""', "\\", ":", ",", "#", "!", "%", "\t"),
            *(
                "\n",
                "\n    ",
                "\n        ",
                "\n\n",
                'f"{',
                "中",
                "```",
                "else:",
                "return total",
                "    return total / len(xs)\n",
            ),
            *("\nfi", "  </ul>\n", ";", "ORDER BY", "<<", "--", "/*", "*/", "%%sql\n", "\n# %%\n", "# In[2]:\n"),
        )
    ),
    max_size=14,
).map("".join)
PREFIXES = st.tuples(st.sampled_from(("", "", "%%bash\n", "%%html\n", "%%sql\n", "%%R\n")), PIECES).map("".join)
FINAL = st.booleans()


@given(prefix=PREFIXES, suffix=PIECES, text=PIECES, final=FINAL)
def test_a_cut_is_a_position_in_the_text(prefix, suffix, text, final):
    cut = trim(Hole(Document(prefix, suffix)), text, final=final)
    assert cut is None or (cut.rule in RULES and 0 <= cut.at < len(text))


@pytest.mark.parametrize("rule", RULES)
@given(prefix=PREFIXES, suffix=PIECES, text=PIECES, more=PIECES)
@example(prefix="x", suffix="x\nxx    return total / len(xs)\n", text="\nxx    return total / len(xs)\n", more="x\n")
def test_more_text_does_not_move_a_cut(rule, prefix, suffix, text, more):
    hole = Hole(Document(prefix, suffix))
    cut = RULES[rule](hole, text, False)
    # A run of quotes or a `!` reads otherwise when it goes on; the next token settles it.
    if cut is not None and text[-1:] not in tuple("'\"\\!"):
        assert RULES[rule](hole, text + more, False) == cut


def functions(*modules):
    for module in modules:
        source = inspect.getsource(module)
        lines = source.splitlines(keepends=True)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and 4 <= node.end_lineno - node.lineno <= 30:
                yield textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))


SOURCES = list(
    functions(textwrap, __import__("heapq"), __import__("shlex"), __import__("string"), __import__("bisect"))
)


def line_holes(source):
    """Every line of a function as a hole, with the marker at its indentation and in column 0."""
    start = 0
    for line in source.splitlines(keepends=True):
        end = start + len(line)
        code = start + len(line) - len(line.lstrip())
        if start and line.strip() and line.endswith("\n"):
            yield source[:code], source[code : end - 1], source[end - 1 :]
            yield source[:start], source[start:end], source[end:]
        start = end


HOLES = [hole for source in SOURCES for hole in line_holes(source)]


def test_a_right_answer_is_kept_whole():
    assert len(HOLES) > 700
    for prefix, middle, suffix in HOLES:
        assert trim(Hole(Document(prefix, suffix)), middle, final=True) is None, prefix + "│" + middle + "│" + suffix


def test_a_right_answer_that_runs_on_is_ended_where_the_hole_ends():
    for prefix, middle, suffix in HOLES:
        text = middle + suffix.rstrip() + "\n\n\ndef main():\n    print(1)\n"
        cut = trim(Hole(Document(prefix, suffix)), text, final=False)
        assert cut is not None
        assert text[: cut.at].rstrip() == middle.rstrip(), prefix + "│" + text[: cut.at] + "│" + suffix
