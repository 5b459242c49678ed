"""Where the hole ends in languages that are parsed, one table a rule, as in `test_trimming`.

The first word of each name is the language. `tests/languages/test_languages.py` looks that every language is there.
"""

LEAVES_BLOCK = {
    "c: a function": ("%%c\nint f(int a) {\n  <cursor>\n}\n", "return a + 1;│\n}\n\nint main() {\n"),
    "cpp: a class": ("%%cpp\nclass A {\n public:\n  <cursor>\n};\n", "int f() { return 1; }│\n};\n\nint g;\n"),
    "css: a rule": ("%%css\na {\n  <cursor>\n}\n", "color: red;\n  margin: 0;│\n}\nb { }\n"),
    "go: a function": ("%%go\nfunc f(x int) int {\n\t<cursor>\n}\n", "return x + 1│\n}\n\nfunc main() {\n"),
    "html: an element in a line": ("%%html\n<div>\n  <b>x <cursor>\n</div>\n", "y</b>│</div>\n<p>z</p>\n"),
    "java: a method": (
        "%%java\nclass A {\n  int f(int x) {\n    <cursor>\n  }\n}\n",
        "return x + 1;│\n  }\n\n  int g() {\n",
    ),
    "javascript: a callback": (
        "%%js\nel.on('click', () => {\n  <cursor>\n});\n",
        "a('}');│\n});\n\nel.on('x', () => {\n",
    ),
    "javascript: an argument": ("%%js\nconst xs = ys.map(<cursor>);\n", "y => y.a│).sort();\nz();\n"),
    "javascript: a template": ("%%js\nreturn `a ${<cursor>} b`;\n", "x│}`;\nfoo();\n"),
    "javascript: a comment": ("%%js\n/*\n<cursor>\n*/\nf();\n", "Adds two.│\n*/\nfunction g() {}\n"),
    "javascript: a branch, then more": (
        "%%js\nif (a) {\n  b();\n<cursor>\n  c();\n}\n",
        "} else {\n  d();│\n}\n",
    ),
    "r: a function": ("%%R\nf <- function(x) {\n  <cursor>\n}\nf(1)\n", "x + 1│\n}\nf(2)\n"),
    "rust: a function": ("%%rust\nfn f(x: i32) -> i32 {\n    <cursor>\n}\n", "x + 1│\n}\n\nfn main() {\n"),
    "typescript: an interface": (
        "%%typescript\ninterface A {\n  <cursor>\n}\n",
        "name: string;\n  age: number;│\n}\n\nconst a: A = {}\n",
    ),
    "javascript: the block that it has to open": (
        "%%js\nfor (const x of xs) {\n  <cursor>\n    f(x);\n  }\n}\n",
        "if (x) {│\n    g(x);\n  } else {\n    h(x);\n  }\n",
    ),
    "c: the function that it has to open": (
        "%%c\n<cursor>\n  return a;\n}\n",
        "int f(int a) {│\n  a++;\n}\n\nint g() {\n",
    ),
    "中文": ("%%js\nif (總和) {\n  <游標在這>\n}\n", "說('好');│\n}\n結束();\n"),
}
KEPT_LEAVES_BLOCK = {
    "c: braces of its own": ("%%c\nint f() {\n  <cursor>\n}\n", "for (;;) {\n    b();\n  }\n  c();"),
    "javascript: braces in strings": ("%%js\nif (a) {\n  <cursor>\n}\n", "b('}'); // }\n  c(`}`); /* } */"),
    "javascript: a call that goes on": ("%%js\nx = foo(<cursor>);\n", "a).then(b"),
    "javascript: lines in the block that it opens": (
        "%%js\n<cursor>\n  return y;\n}\n",
        "function f(x) {\n  let y = 1;\n  if (x) {\n    y = 2;\n  }",
    ),
    "javascript: a branch": ("%%js\nif (a) {\n  b();\n<cursor>\n  c();\n}\n", "} else {"),
    "javascript: what the suffix leaves open": ("%%js\nif (a) {\n  f(<cursor>\n}\n", "1);"),
    "bash: a case": ("%%bash\ncase $x in\n  <cursor>\nesac\n", "a) b;;\n  *) c;;"),
    "html: elements that need no end": ("%%html\n<ul>\n  <cursor>\n</ul>\n", "<li>a</li>\n  <li>b<br>"),
    "sql: a case": ("%%sql\nSELECT CASE\n<cursor>\nEND FROM t;\n", "WHEN a THEN 1 ELSE (2)"),
    "julia: an index and a comprehension": (
        "%%julia\nfunction f(x)\n  <cursor>\nend\n",
        "y = x[end]\n  z = [i for i in 1:y if i > 1]",
    ),
}

ENDS_STATEMENT = {
    "bash: an assignment": ("%%bash\nx=<cursor>\necho $x\n", '$(ls | wc -l)│\necho "x: $x"\n'),
    "bash: a condition": ("%%bash\nif <cursor>\n  echo a\nfi\n", "[ -f x ]; then│\n  echo b\nfi\n"),
    "bash: a here-document": ("%%bash\ncat <cursor>\n", "<<EOF\nhello\nEOF│\necho more\n"),
    "bash: a function": ("%%bash\nf() {\n  <cursor>\n", "ls\n}│\n\n# Test\nf\n"),
    "c: a declaration": ("%%c\nint x = <cursor>\ng(x);\n", 'f(1);│\nprintf("%d", x);\n'),
    "c: a body on its line": (
        "%%c\nint fact(int n) <cursor>\n",
        "{\n  if (n < 2) return 1;\n  return n * fact(n - 1);\n}│\n\nint main() {\n",
    ),
    "cpp: a loop": ("%%cpp\nfor (auto x : v) <cursor>\ng();\n", "{\n  std::cout << x;\n}│\nreturn 1;\n"),
    "css: a value": ("%%css\na {\n  color: <cursor>\n}\n", "red;│\n  background: blue;\n}\n"),
    "go: a condition": (
        "%%go\nif err != nil <cursor>\nfmt.Println(x)\n",
        "{\n\treturn err\n}│\nfmt.Println(y)\n",
    ),
    "html: an element": ("%%html\n<p><cursor>\n<div>x</div>\n", "Hello <b>there</b></p>│\n<p>more</p>\n"),
    "java: a declaration": (
        "%%java\nclass A {\n  int f(int x) {\n    int y = <cursor>\n    return y;\n  }\n}\n",
        "x * 2;│\n    y += 1;\n",
    ),
    "javascript: a function of two lines": (
        "%%js\nconst add = <cursor>\nadd(1, 2);\n",
        "(a, b) =>\n  a + b;│\nconsole.log(add(1, 2));\n",
    ),
    "javascript: a chain": ("%%js\nconst x = <cursor>\nf(x);\n", "ys\n  .map(g)\n  .join()│\nlet z = 1\n"),
    "javascript: a block that the suffix holds": (
        "%%js\nif (a <cursor>\n  return b;\n}\n",
        "> 0) {│\n  return c;\n}\n",
    ),
    "javascript: an object": ("%%js\nf(<cursor>);\ng();\n", "{\n  a: 1,\n  b: 2\n}│\n"),
    "javascript: what is left open": ("%%js\nfunction f(x) {\n  <cursor>\n", "return x;\n}│\n\nf(1);\n"),
    "javascript: broken off": ("%%js\nif (a) {\n  <cursor>\n}\n", "b();\n  c();│\n  d(e,"),
    "javascript: a comment's line": ("%%js\n// Adds <cursor>\nf();\n", "two numbers.│\nfunction g() {}\n"),
    "julia: a function of one line": ("%%julia\nf(x) = <cursor>\nf(1)\n", "x^2│\ng(x) = x\n"),
    "julia: one block of two": ("%%julia\nfunction f(x)\n  for i in x\n    <cursor>\nend\n", "g(i)\n  end│\nend\n"),
    "julia: a range": ("%%julia\nfor i in <cursor>\n  println(i)\nend\n", "1:10│\n  println(2i)\n"),
    "markdown: a line": ("%%markdown\nSome <cursor>\n\n## Next\n", "text here.│\nAnd more.\n\n## Next\n"),
    "r: a call over lines": ("%%R\ny <- <cursor>\nprint(y)\n", "mean(c(1,\n  2))│\nprint(z)\n"),
    "rust: a chain": (
        "%%rust\nlet v = <cursor>\nf(v);\n",
        "xs.iter()\n    .map(|x| x + 1)\n    .collect();│\ng(v);\n",
    ),
    "sql: a list": ("%%sql\nSELECT <cursor>\nFROM t;\n", "a,\n  b│\nFROM t;\n"),
    "sql: clauses": ("%%sql\nSELECT a FROM t <cursor>\n", "WHERE a > 1\nORDER BY a;│\nSELECT 2;\n"),
    "typescript: a body on its line": (
        "%%ts\nconst f = (x: number) => <cursor>\nf(1);\n",
        "{\n  return x;\n};│\nf(2);\n",
    ),
    "yaml: a value": ("%%yaml\na:\n  b: <cursor>\n  c: 2\n", "1│\n  d: 3\n"),
    "yaml: a text": ("%%yaml\na: <cursor>\nd: 2\n", "|\n  text\n  more│\ne: 3\n"),
    "with CR LF": ("%%js\r\nlet x = <cursor>\r\nf(x);\r\n", "1;│\ng();\n"),
    "the user's own mistakes": ("%%js\nlet @ = 1;\nlet x = <cursor>\nf(x);\n", "(1 +\n  2);│\ng();\n"),
}
KEPT_ENDS_STATEMENT = {
    "css: several": ("%%css\na {\n  <cursor>\n}\n", "color: red;\n  margin: 0;"),
    "go: a body": ("%%go\nfunc f() int {\n\t<cursor>\n}\n", "x := 1\n\tif x > 0 {\n\t\tx++\n\t}\n\treturn x"),
    "html: several": ("%%html\n<ul>\n  <cursor>\n</ul>\n", "<li>a</li>\n  <li>b</li>"),
    "java: a method": (
        "%%java\nclass A {\n  <cursor>\n}\n",
        "int f() {\n    return 1;\n  }\n\n  int g() { return 2; }",
    ),
    "javascript: an argument of several": ("%%js\nf(a, <cursor>\n  c);\n", "b,"),
    "javascript: a body below the line": ("%%js\nfunction f() {<cursor>\n}\n", "\n  a();\n  b();"),
    "julia: a body": ("%%julia\nfunction f(x)\n  <cursor>\nend\n", "y = x + 1\n  y"),
    "markdown: several": ("%%markdown\n<cursor>\n\n## Next\n", "# A\n\nb\n\n- c"),
    "r: a pipe": ("%%R\nd %>%\n  <cursor>\nprint(d)\n", "filter(a) %>%\n  select(b)"),
    "rust: a body": ("%%rust\nfn f() -> i32 {\n    <cursor>\n}\n", "let x = 1;\n    x + 1"),
    "sql: a query": ("%%sql\n<cursor>\n", "SELECT a\nFROM t\nWHERE b = 1;\nSELECT 2;"),
    "c: statements": ("%%c\nint f() {\n  <cursor>\n  return x;\n}\n", "int x = 1;\n  x += 2;"),
    "cpp: a template": ("%%cpp\n<cursor>\n", "template <class T>\nT f(T a) {\n  return a;\n}"),
    "bash: a loop": ("%%bash\n<cursor>\necho x\n", "for f in *; do\n  echo $f\ndone"),
    "typescript: a type": ("%%ts\ntype A = <cursor>\nlet a: A;\n", "{\n  b: number;\n}"),
    "yaml: several": ("%%yaml\na:\n  <cursor>\nb: 1\n", "c: 1\n  d:\n    - e"),
}

NEVER_RUNS = {
    "c: a return": ("%%c\nint f(int x) {\n  <cursor>\n  return y;\n}\n", "int y = x;│\n  return x;\n"),
    "javascript: a return": (
        "%%js\nfunction f(x) {\n  <cursor>\n  return y;\n}\n",
        "if (!x) return 0;│\n  return x;\n",
    ),
    "javascript: nothing else": ("%%js\nfunction f(x) {\n  <cursor>\n  g();\n}\n", "return x;│\n  h();\n"),
    "rust: a return": ("%%rust\nfn f() -> i32 {\n    <cursor>\n    y\n}\n", "let y = 1;│\n    return y;\n"),
    "java: a throw": (
        "%%java\nclass A {\n  int f() {\n    <cursor>\n    return y;\n  }\n}\n",
        "int y = 1;│\n    throw new E();\n",
    ),
    "go: a break": ("%%go\nfor {\n\t<cursor>\n\tf()\n}\n", "g()│\n\tbreak\n"),
}
KEPT_NEVER_RUNS = {
    "javascript: in a block of its own": (
        "%%js\nfunction f(x) {\n  <cursor>\n  return y;\n}\n",
        "if (x) {\n    return 1;\n  }",
    ),
    "javascript: a function follows": (
        "%%js\nfunction f(x) {\n  <cursor>\n  function g() {}\n}\n",
        "h();\n  return g();",
    ),
    "javascript: another case follows": (
        "%%js\nswitch (a) {\n  case 1:\n    <cursor>\n  case 2:\n    c();\n}\n",
        "b();\n    break;",
    ),
}

SHOWS_IT = {
    "c: a main program": ("%%c\n<cursor>\n", "int sq(int n) {\n  return n * n;\n}│\n\nint main() {\n  return 0;\n}\n"),
    "cpp: a main program": ("%%cpp\n<cursor>\n", "int sq(int n) { return n * n; }│\n\nint main() {}\n"),
    "go: a main program": ("%%go\npackage main\n<cursor>\n", "func f() int { return 1 }│\n\nfunc main() { f() }\n"),
    "rust: a main program": ("%%rust\n<cursor>\n", "fn f() -> i32 { 1 }│\n\nfn main() { f(); }\n"),
    "javascript: a call": ("%%js\n<cursor>\n", "function f(x) {\n  return x;\n}│\n\nconsole.log(f(1));\n"),
    "javascript: a heading": ("%%js\n<cursor>\n", "const f = (x) => x;│\n\n// Example usage\nf(1);\n"),
    "javascript: a heading in a block": (
        "%%js\nif (a) {\n  <cursor>\n  b();\n}\n",
        "c();│\n\n  // Test cases\n  d();\n",
    ),
    "typescript: a call": ("%%ts\n<cursor>\n", "function f(x: number) {\n  return x;\n}│\nconsole.log(f(1));\n"),
    "julia: a call": ("%%julia\n<cursor>\n", "f(x) = x^2│\nprintln(f(2))\n"),
    "r: a call": ("%%R\n<cursor>\n", "sq <- function(x) x^2│\nprint(sq(2))\n"),
    "bash: a heading": ("%%bash\n<cursor>\n", "f() {\n  ls\n}│\n\n# Usage\nf\n"),
    "sql: a heading": ("%%sql\n<cursor>\n", "CREATE TABLE t (a INT);│\n-- Example:\nSELECT 1;\n"),
    "java: a heading": ("%%java\n<cursor>\n", "int sq(int n) {\n  return n * n;\n}│\n// Test\nsq(2);\n"),
    "html: a heading": ("%%html\n<cursor>\n", "<p>a</p>│\n<!-- Example -->\n<p>b</p>\n"),
    "css: a heading": ("%%css\n<cursor>\n", "a { color: red }│\n/* Usage */\nb { }\n"),
    "yaml: a heading": ("%%yaml\n<cursor>\n", "a: 1│\n# Example\nb: 2\n"),
}
KEPT_SHOWS_IT = {
    "javascript: asked for": ("%%js\n// print an example\n<cursor>\n", "const f = (x) => x;\nconsole.log(f(1));"),
    "javascript: another's": ("%%js\n<cursor>\n", "const f = (x) => x;\nconsole.log('ready');"),
    "javascript: at once": ("%%js\n<cursor>\n", "// Example\nf(1);"),
    "c: a main program after another": (
        "%%c\nint main();\n<cursor>\n",
        "int f() { return 1; }\nint main() { return f(); }",
    ),
    "javascript: a comment on the code": (
        "%%js\nif (a) {\n  <cursor>\n  b();\n}\n",
        "c();\n  // test whether it is even\n  d();",
    ),
    "rust: other words": ("%%rust\n<cursor>\n", "fn f() {}\n// Testament\nfn g() {}"),
}

PARSED = {
    "leaves-block": (LEAVES_BLOCK, KEPT_LEAVES_BLOCK),
    "ends-statement": (ENDS_STATEMENT, KEPT_ENDS_STATEMENT),
    "never-runs": (NEVER_RUNS, KEPT_NEVER_RUNS),
    "shows-it": (SHOWS_IT, KEPT_SHOWS_IT),
}
