"""What must not stand in a prompt, and what has to stay.

`secrets/*.txt` are the set. Of the first of them every second line was held back while the rules were made.
"""

from __future__ import annotations

import ast
import random
import re
import string
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from fim_magic.candidate import Candidate, Cut, Ending
from fim_magic.context.cells import code_cell, language_of, text_cell
from fim_magic.context.namespace import describe
from fim_magic.context.redaction import redacted, requested_names
from fim_magic.context.secret_names import HINT, Suspicion, likelihood
from fim_magic.holes import combine, parse
from fim_magic.own_text import own_texts, own_trimmed

FOLDER = Path(__file__).parent / "secrets"
LEAST_FOUND = 0.97
MOST_SPOILT = 0.02
PIECE = 6  # characters of a secret that must not be left

_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "b": string.ascii_letters + string.digits + "+/",
    "c": string.ascii_letters,
    "d": string.digits,
    "h": string.digits + "abcdef",
    "H": string.digits + "ABCDEF",
    "k": string.ascii_uppercase + "234567",
    "l": string.ascii_lowercase + string.digits,
    "u": string.ascii_uppercase + string.digits,
    "w": string.ascii_letters + string.digits + "-_",
}


@dataclass(frozen=True)
class Case:
    """A line of the set: a text, and the parts of it that are secrets."""

    kind: str
    held: bool
    line: int
    text: str
    secrets: tuple[str, ...]

    def leaks(self, shown: str) -> bool:
        outside = self.text
        for secret in self.secrets:
            outside = outside.replace(secret, "\0")
        return any(piece in shown and piece not in outside for secret in self.secrets for piece in _pieces(secret))


def _pieces(secret: str) -> list[str]:
    lines = [line for line in secret.splitlines() if not line.startswith("-----")]
    return [line[i : i + PIECE] for line in lines for i in range(max(1, len(line) - PIECE + 1)) if line.strip()]


def read(name: str) -> list[Case]:
    """Return the cases of a file. Of each kind every second is held back from tuning."""
    cases: list[Case] = []
    kind, of_kind = "", 0
    for number, line in enumerate((FOLDER / name).read_text("utf-8").splitlines(), 1):
        if line.startswith("## "):
            kind, of_kind = line[3:], 0
        elif line and not line.startswith(";; "):
            whole = _drawn(line).replace("¦", "").replace("⏎", "\n")
            text = whole.replace("«", "").replace("»", "")
            cases.append(Case(kind, of_kind % 2 == 1, number, text, tuple(re.findall(r"«(.+?)»", whole, re.DOTALL))))
            of_kind += 1
    return cases


def _drawn(line: str) -> str:
    """Put characters into the places of a line for them: always the same ones."""
    draw = random.Random(line)

    def characters(match: re.Match[str]) -> str:
        return "".join(draw.choices(_ALPHABETS[match[1]], k=int(match[2])))

    return re.sub(r"⟨(\w)(\d+)⟩", characters, line)


POSITIVES = read("positives.txt")
NEGATIVES = read("negatives.txt")
LATER_POSITIVES = read("later_positives.txt")
LATER_NEGATIVES = read("later_negatives.txt")
ATTACK_POSITIVES = read("attack_positives.txt")
ATTACK_NEGATIVES = read("attack_negatives.txt")
KIND_POSITIVES = read("kinds_positives.txt")
KIND_NEGATIVES = read("kinds_negatives.txt")
DOCUMENTED_POSITIVES = read("documented_positives.txt")
DOCUMENTED_NEGATIVES = read("documented_negatives.txt")


def part(cases: list[Case], held: bool) -> list[Case]:
    return [case for case in cases if case.held == held]


@pytest.mark.parametrize(
    "cases",
    [part(POSITIVES, False), part(POSITIVES, True), LATER_POSITIVES, KIND_POSITIVES, DOCUMENTED_POSITIVES],
    ids=["tuned on", "held back", "later", "kinds", "documented"],
)
def test_secrets_go(cases):
    left = [case for case in cases if case.leaks(redacted(case.text))]
    assert len(left) <= (1 - LEAST_FOUND) * len(cases), "\n".join(f"{case.line}: {case.text}" for case in left)


@pytest.mark.parametrize(
    "cases",
    [
        part(NEGATIVES, False),
        part(NEGATIVES, True),
        LATER_NEGATIVES,
        ATTACK_NEGATIVES,
        KIND_NEGATIVES,
        DOCUMENTED_NEGATIVES,
    ],
    ids=["tuned on", "held back", "later", "attack", "kinds", "documented"],
)
def test_harmless_texts_stay(cases):
    changed = [case for case in cases if redacted(case.text) != case.text]
    assert len(changed) <= MOST_SPOILT * len(cases), "\n".join(f"{case.line}: {case.text}" for case in changed)


def test_most_of_what_an_attack_tried_goes():
    # Some of it reads as Python that adds and calls, and a text of which nobody says otherwise is taken for that.
    left = [case for case in ATTACK_POSITIVES if case.leaks(redacted(case.text))]
    assert len(left) <= 0.07 * len(ATTACK_POSITIVES), "\n".join(f"{case.line}: {case.text}" for case in left)


def test_the_set_is_large():
    assert len(POSITIVES) >= 300
    assert len(NEGATIVES) >= 300
    assert all(
        case.secrets for case in POSITIVES + LATER_POSITIVES + ATTACK_POSITIVES + KIND_POSITIVES + DOCUMENTED_POSITIVES
    )
    assert not any(
        case.secrets for case in NEGATIVES + LATER_NEGATIVES + ATTACK_NEGATIVES + KIND_NEGATIVES + DOCUMENTED_NEGATIVES
    )


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


# Each is decided by one rule alone, which no line of the set needs.
DECIDED = {
    "what stands beside a secret": ('credentials = {"host": "db1.example.org", "region": "eu-west-1a"}', None),
    "a block of YAML": ("kind: Secret\nstringData:\n  config: |2\n", None),
    "a sentence as long as a phrase": ('phrase = "the cat sat and the dog ran for the big red ball"', None),
    "what asks": ('show_password = "toggle1"', None),
    "a token of text": ('next_token = "covid19"', None),
    "the next setting": ("%%bash\nAPI_KEY= DEBUG=x1 ./run", None),
    "that there is none": ('password = "not-needed"', None),
    "a sentence": ('password = "please ask your admin"', None),
    "a token in another script": ('令牌 = "x7-ab-99"', '令牌 = "…"'),
    "a key behind a host": ('x = "https://gpu.example.org=kirschbaum"', 'x = "https://gpu.example.org=…"'),
    "a login in a comment": ("# Basic bWU6aHVudGVyMg==", "# Basic …"),
    "settings with a comment": ("[db]\n# see f(x)\npassword = kirschbaum", '[db]\n# see f(x)\npassword = "…"'),
}


@pytest.mark.parametrize(("text", "shown"), DECIDED.values(), ids=DECIDED)
def test_what_one_rule_alone_decides(text, shown):
    assert redacted(text) == (text if shown is None else shown)


def test_a_cell_of_python_stays_one():
    # Names are looked for in it (`fim_magic.kernel.defined_names`).
    cells = [case.text for case in POSITIVES + LATER_POSITIVES + KIND_POSITIVES if _is_python(case.text)]
    assert not [text for text in cells if not _is_python(redacted(text, python=True))]


RUNNERS = [
    "",
    "!",
    "ssh h ",
    "ssh -p 2222 -i ~/.ssh/id_a2 -o StrictHostKeyChecking=no ada@gw.example.org ",
    "ssh h2 -l user1 -tt ",
    'ssh "$HOST" ',
    "sshpass -e ssh h ",
    "sudo ",
    "sudo -u postgres1 ",
    "sudo -EHu ada1 X=1 ",
    "/usr/bin/sudo -n -- ",
    "env X=1 ",
    'env -i -u HOME A="b c" ',
    "docker exec web ",
    "docker exec -it -u root1 -e A=b --workdir /srv web ",
    "docker run --rm -p 8080:80 -v $PWD:/app img:v2 ",
    "docker --context far compose -f a2.yml exec -T db ",
    "docker-compose exec db ",
    "podman exec web ",
    "kubectl exec pod-1 -- ",
    "kubectl -n prod2 exec -it pod-1 -c app -- ",
    "ssh h sudo -u ada1 docker exec web env X=1 ",
    "docker ps; ",
    "ssh h uptime && ",
    "mysql -u root -p shop2 | ",
]
RUN = {
    "snmpwalk -v2c -c pr1vmhnes 10.0.0.1": "snmpwalk -v2c -c … 10.0.0.1",
    "snmpwalk -v 2c -c 'monitorme' h": "snmpwalk -v 2c -c '…' h",
    "snmpget -c monitorme -v1 h sysName.0": "snmpget -c … -v1 h sysName.0",
    "snmpset -v1 -cpr1vmhnes h sysName.0 s x": "snmpset -v1 -c… h sysName.0 s x",
    "snmpbulkwalk -Cr20 -c pr1vmhnes h": "snmpbulkwalk -Cr20 -c … h",
    "snmpwalk -v3 -u ada -A brombeere -X himbeere h": "snmpwalk -v3 -u ada -A … -X … h",
    "python kaggle_dl.py -u me -p Viking@958": "python kaggle_dl.py -u me -p …",
    "mysql -u root -pbrombeere shop": "mysql -u root -p… shop",
    "sshpass -p brombeere ssh h uptime": "sshpass -p … ssh h uptime",
    "snmpwalk -v2c -c public h": None,
    "snmpwalk -v2c -c $C h": None,
    "snmptrapd -c traps2.conf -f": None,
    "mysql -u root -p shop2": None,
    "psql -U ada -p p5432x": None,
    "wget -c https://example.org/a1.zip -P data2": None,
    "python train.py -p configs/v2.yaml": None,
    "mkdir -p a1/b2": None,
}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(("command", "shown"), RUN.items(), ids=RUN)
def test_a_command_behind_another_is_the_command(command, shown, runner):
    assert redacted(runner + command) == runner + (command if shown is None else shown)


@pytest.mark.parametrize(
    "command",
    [
        "ssh -l user1 -p p2222 host2",
        "ssh -l user1 -p p2222 host2 uptime",
        "docker run -u user1 -p v8080:80 img",
        "docker exec -u root1 web tool -p data2/x",
        "sudo -u ada1 tool -p data2/x",
    ],
)
def test_options_of_what_runs_a_command_are_no_login(command):
    assert redacted(command) == command


NAMES = re.findall(
    r"\w+",
    """
    password dbPasswd PWD db_pw wifi_psk passphrase api_key HF_TOKEN client_secret creds authorization mnemonic
    mot_de_passe motDePasse mdp contraseña contrasena senha palavra_passe kennwort zugangsdaten api_schluessel
    schlüssel_api losungswort wachtwoord inloggegevens parola credenziali credenciales hasło haslo şifre sifresi heslo geslo
    lozinka zaporka lösenord passord adgangskode kodeord salasana jelszo jelszava slaptazodis parool pasahitza kata_sandi
    kata_laluan mat_khau nywila clave clave_api chave_api chiave_api cle_api cles_api clesApi clef_api api_sleutel klucz_api kljuc_api klic_api
    api_anahtari api_avain api_nyckel api_nokkel api_nogle api_kulcs cheie_api jeton geheim segredo segreto sekret
    пароль секретный_ключ 密碼 数据库密码 api密钥 パスワード 비밀번호
""",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets_are_looked_at(name):
    # Only what holds one of the hints is: a name without any would be known, and never seen.
    assert likelihood(name) is not Suspicion.NO
    assert HINT.search(name)
    assert "x7-ab-99" not in redacted(f'{name} = "x7-ab-99"')
    assert "x7-ab-99" not in redacted(f"{name}: x7-ab-99", python=False)


@pytest.mark.parametrize(
    "name", ["senha_db", "contraseña-db", "пароль_бд", "lösenord_admin", "Wachtwoord.web", "通行碼"]
)
def test_a_name_in_a_text_goes_on_to_its_end(name):
    assert redacted(f"{name}: hunter2", python=False) == f"{name}: …"


RECORDED = {
    "a part of a secret that the text has": (
        'key = "x"\napi_key = "s3cr3t-99-ab"\n<cursor>',
        ["print('3cr3t-99')"],
        [""],
    ),
    "a short secret": ('pin = "4921"\n<cursor>', ["print(4921)"], [""]),
    "what was trimmed goes on with one": ('password = "<cursor>"', ["corr"], ["ect-horse-battery"]),
    "it was begun in what was trimmed": ("password = <cursor>", ["load()\n"], ['\npassword = "horse-battery"']),
    "of the second hole": ('x = <cursor>\napi_key = "<cursor>"', ["1", "s3cr"], ["\nprint(x)", '3t-99-ab"']),
    "of two holes": (
        'auth_token = "<cursor>"\napi_key = "<cursor>"',
        ["A1b2C3", "s3cr"],
        ['d4E5f6"', '3t-99-ab"'],
    ),
    "a key in two holes": ('api_key = "<cursor>-<cursor>"', ["s3cr3t", "99-ab-77"], ["", ""]),
    "a text that is no Python yet": (
        'def f(:\n    connect(password="<cursor>")\n<cursor>',
        ["s3cr3t99", "y"],
        ["", ""],
    ),
    "prose and code": ("Password: s3cr3t-99\nimport os\n<cursor>", ["print('s3cr3t-99')"], [""]),
}


@pytest.mark.parametrize(("text", "middles", "trimmed"), RECORDED.values(), ids=RECORDED)
def test_records_hold_none(text, middles, trimmed):
    blanks = parse(text, every=True)
    candidate = combine(blanks, [_answer(middle, rest) for middle, rest in zip(middles, trimmed, strict=True)])
    kept = "\0".join((*own_texts(candidate, blanks.document), own_trimmed(candidate, blanks.document)))
    secret = re.compile("[hH]orse|batt|3t-9|s3cr|9-ab|4921|A1b2|d4E5")
    assert secret.search(text + candidate.raw)
    assert not secret.search(kept)


@pytest.mark.parametrize(
    ("text", "middle"),
    [
        ('password = "correct-horse-2"\n<cursor>', "horse = correct(2)"),
        ('password = "password1"\n<cursor>', "password = load()"),
        ('pin = "4921"\n<cursor>', "x = 14921.5"),
    ],
    ids=["words of it", "its name", "a longer number"],
)
def test_records_keep_what_tells_nothing(text, middle):
    blanks = parse(text, every=True)
    assert own_texts(_answer(middle, ""), blanks.document) == (middle,)


def _answer(middle, trimmed):
    cut = Cut("statement-end", len(middle)) if trimmed else None
    return Candidate(middle + trimmed, Ending.RULE if trimmed else Ending.STOP_TOKEN, cut)


def _members():
    class Client:
        def connect(self, host=""): ...

    Client.connect.__annotations__["host"] = "url?api_key=k3y-77-xx"
    Client.__module__ = Client.connect.__module__ = "__main__"
    return Client


def _function():
    def fetch(url):
        """Log in with the password hunter2."""

    fetch.__annotations__["url"] = "password=hunter2"
    fetch.__module__ = "__main__"
    return fetch


FRAME = pd.DataFrame({"pw=hunter2": [1], "user": [2]})

DESCRIBED = {
    "a column": FRAME,
    "an index": FRAME.rename_axis("api_key=k3y-77-xx&pw=hunter2"),
    "a series": pd.Series([1], name="pwd: hunter2"),
    "a key": {"pw=hunter2": 1},
    "a key of a row": [{"pw=hunter2": 1}],
    "an annotation and a docstring": _function(),
    "an annotation of a method": _members(),
    "a value": "pw=hunter2",
}


@pytest.mark.parametrize("value", DESCRIBED.values(), ids=DESCRIBED)
def test_descriptions_of_names_hold_none(value):
    (description,) = describe(["it"], {"it": value}, values=True)
    assert "hunter2" not in description.line
    assert "k3y" not in description.line


def test_harmless_labels_stay():
    frame = pd.DataFrame({"token_count": [1], "high_pass": [1], "Unit price (EUR)": [2], "密碼長度": [3]})
    (description,) = describe(["it"], {"it": frame})
    assert "token_count int64, high_pass int64, 'Unit price (EUR)' int64, 密碼長度 int64" in description.line


def _in_its_language(source):
    return code_cell(source, language=language_of(source))


LONG = "a" * 590
KEY = "gh" + "p_" + "A1b2C3d4" * 5

CELLS = {
    "bash": (lambda: _in_its_language("%%bash\nexport API_KEY=abc123\n"), "abc123"),
    "javascript": (lambda: _in_its_language("%%js\nconst apiKey = 'abc123'"), "abc123"),
    "sql": (lambda: _in_its_language("%%sql\nALTER USER a PASSWORD 'hunter2'"), "hunter2"),
    "markdown": (lambda: text_cell("| user | password |\n|---|---|\n| me | hunter2 |"), "hunter2"),
    "markdown of several lines": (lambda: text_cell("Password:\n    hunter2"), "hunter2"),
    "a key where a text is cut": (lambda: text_cell(f"{LONG} {KEY}"), KEY[:6]),
    "python": (lambda: code_cell("import os\nos.environ['PGPASSWORD'] = 'hunter2'"), "hunter2"),
    "a number": (lambda: code_cell("password = 12345678"), "1234"),
    "bytes": (lambda: code_cell("secret = b'hunter2'"), "hunter2"),
}


@pytest.mark.parametrize(("make", "secret"), CELLS.values(), ids=CELLS)
def test_cells_hold_none(make, secret):
    cell = make()
    assert cell is not None
    assert secret not in cell.source


def test_settings_are_text_and_variables_are_not():
    assert redacted("API_KEY=abc123\nDEBUG=1") == "API_KEY=…\nDEBUG=1"
    assert redacted("API_KEY=abc123", python=True) == "API_KEY=abc123"
    assert redacted("api_key = abc123\nprint(api_key)") == "api_key = abc123\nprint(api_key)"


SLOW = {
    "blanks": " ",
    "letters": "a",
    "snakes": "a_",
    "names": "key ",
    "names without a blank": "password",
    "names with a value": "pass:",
    "names in quotes": '"password": ',
    "calls": 'login("a", ',
    "strings": "'a' ",
    "bytes": "password = b'a' ",
    "options": "mysql -u root ",
    "pipes": "echo a | ",
    "tables": "| password |\n",
    "urls": "://a:b",
    "logins": "://:@",
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "half tokens": "-eyJ",
    "prefixes": "hf_",
    "random": "q8Zt3Lw0Xv5Rk2Pn7Yd4Gs9Jb1Mc6Fh ",
    "pictures": "data:image/png;base64,",
    "requests": "x = getpass(",
    "signs": "=",
    "lines": "\n",
    "columns": "password,",
    "inserts": "INSERT INTO a (password) VALUES ('",
    "pairs": '[("password", "a"), ',
    "zips": 'zip(["password", ',
    "rows": 'f([["a", "b"], ',
    "dicts": 'users = {"a": "b", ',
    "used names": "password=a,",
    "commands": '["mysql", "-p", ',
    "sections": "[a]\n",
    "settings": "password = a\n",
    "manifests": "kind: Secret\ndata:\n a: b\n",
    "documents": "---\n",
    "objects": '"kind": "Secret", "data": ',
    "devices": "enable secret ",
    "lines of devices": "line vty 0\n password a\n",
    "words of wallets": "seed = abc abc ",
    "directories": 'bind("cn=a", ',
    "prompts": 'expect("password", ',
    "labels": "password: mot de ",
    "keys of bytes": "key[] = {0x2b, ",
    "numbers": "0x2b, ",
    "keys beside users": '"username": "a", "key": "',
    "elements": "<name>password</name><value>",
    "attributes": '<add value="a" ',
    "published": "user_id=",
    "identifiers": "--id q8Zt3Lw0Xv5Rk2Pn7Yd4Gs9Jb1Mc6Fh ",
    "commands with options": "htpasswd -b -b ",
    "here-documents": "ftp h <<E\n",
    "logins in any call": 'f("user", "Pass@123x", ',
    "logins in no call": '"user", "Pass@123x", ',
    "fields": 'a = find("password")\na.send_keys("bcd")\n',
    "fields never found": ').send_keys("bcd")',
    "options of any command": "-u a -p ",
    "commands behind others": "ssh h sudo -u a env X=1 docker exec -it a kubectl exec a -- ",
    "hosts": "ssh -p a -p a ",
    "settings before a command": "env A=b A=b ",
    "communities": "snmpwalk -v2c -c ",
    "addresses": "a@b.c:Aa1!",
    "keys in paths": "a/key/",
    "lines of a shell": "!a\n",
    "accents": "é",
    "ideographs": "密",
}


def _seconds(text: str) -> float:
    start = time.process_time()
    for python in (True, False):
        redacted(text, python=python)
    redacted(f'x = """{text}"""', python=True)
    redacted(f" {text}a")
    requested_names("x = 1\n" + text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", SLOW.values(), ids=SLOW)
def test_time_grows_with_the_length(unit):
    # Four times the text takes some four times as long; what grows with the square takes sixteen.
    few, many = (unit * (length // len(unit)) for length in (1_000, 4_000))
    shortest = min(_seconds(few) for _ in range(2))
    assert min(_seconds(many) for _ in range(2)) < 9 * shortest + 0.05


def test_requests_are_found_at_once():
    assert requested_names("x = 1\n" + " " * 200_000) == frozenset()
    assert requested_names(" " * 200_000 + "! = getpass()") == frozenset()
    assert requested_names("token = " + "getpass(" * 20_000) == {"token"}
