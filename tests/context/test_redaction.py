from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fim_magic.context.redaction import redacted, requested_names, secret_name

HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
RANDOM = "q8Zt3Lw0Xv5Rk2Pn7Yd4Gs9Jb1Mc6Fh"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "api_key",
            "API_KEY",
            "apiKey",
            "openai_api_key",
            "apikey",
            "token",
            "HF_TOKEN",
            "github_token",
            "accessToken",
        ),
        *("password", "db_password", "passwd", "dbPassword", "db_pass", "pwd", "secret", "client_secret", "SECRET_KEY"),
        *("credentials", "auth", "auth_header", "bearer", "aws_secret_access_key", "private_key", "jwt"),
    ],
)
def test_names_of_secrets(name):
    assert secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("tokens", "tokenizer", "max_new_tokens", "token_ids", "pad_token", "eos_token", "next_token", "n_tokens"),
        *(
            "key",
            "keys",
            "sort_key",
            "primary_key",
            "monkey",
            "author",
            "authors",
            "AWS_REGION",
            "compass",
            "passed",
            "df",
            "x",
            "_",
            "",
        ),
    ],
)
def test_names_of_other_things(name):
    assert not secret_name(name)


KEYS = {
    "Amazon": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "OpenAI": "sk-" + "proj-4f9aB2c8D1e7F3a6B5c0",
    "Hugging Face": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwX",
    "Slack": "xoxb-" + "2345678901-abcdefghij",
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----",
    "half a private key": "-----BEGIN PRIVATE KEY-----\nMIIEow",
}


@pytest.mark.parametrize(
    "where", ['x = """{}"""', "# {}", "f('''{}''')", "curl -H {}"], ids=["string", "comment", "call", "text"]
)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_keys_of_known_services_go_wherever_they_stand(key, where):
    shown = redacted(where.format(key))
    assert "…" in shown
    assert not any(line in shown for line in key.splitlines())


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("password = 'hunter2'", "password = '…'"),
        ('password: str = "hunter2"  # mine', 'password: str = "…"  # mine'),
        ("db.password = 'hunter2'", "db.password = '…'"),
        ("connect(user='bob', password='hunter2', port=1)", "connect(user='bob', password='…', port=1)"),
        ('os.environ["API_KEY"] = "abc"', 'os.environ["API_KEY"] = "…"'),
        ('key = os.environ.get("API_KEY", "abc")', 'key = os.environ.get("API_KEY", "…")'),
        ('{"user": "bob", "password": "hunter2"}', '{"user": "bob", "password": "…"}'),
        ("user, password = 'bob', 'hunter2'", "user, password = '…', '…'"),
        ("password = (\n    'hunter2'\n)", "password = (\n    '…'\n)"),
        ("password = f'{user}1'", "password = f'…'"),
        ("if password == 'hunter2':", "if password == '…':"),
        ("password = 'hunter2", "password = '…"),
        ("# password: hunter2", "# password: …"),
        ("url = 'postgres://bob:hunter2@host/db'", "url = 'postgres://…@host/db'"),
        ("headers = {'X': 'Bearer abcdefghij0123456789'}", "headers = {'X': 'Bearer …'}"),
        (f"x = '{HEX}'", "x = '…'"),
        (f"x = '{RANDOM}'", "x = '…'"),
    ],
)
def test_what_goes(source, shown):
    assert redacted(source) == shown


@pytest.mark.parametrize(
    "source",
    [
        "password = getpass.getpass()",
        "password = ''",
        "name = 'hunter2'",
        f"# as of {HEX}",
        f"revision = '{HEX}'",
        f"assert hashlib.sha1(text).hexdigest() == '{HEX}'",
        "path = '/home/alice/Documents/Report2024/FinalVersion.csv'",
        "alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'",
        "x = 'a_rather_long_name_of_some_column_in_a_table'",
        "url = 'https://example.org:8080/a@b'",
        "url = f'postgres://{user}:{secret}@host/db'",
        "import sk-learn",
        "tokens = 'a b c'.split()",
        "for token in 'a b'.split(): print(token)",
        "model = 'Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF'",
        "uuid = '123e4567-e89b-12d3-a456-426614174000'",
        "line = '-' * 80",
    ],
)
def test_what_stays(source):
    assert redacted(source) == source


def test_a_python_program_stays_one():
    source = f"token = 'abc'\nx = {{'api_key': r'\\d', 'y': '''{KEYS['private key']}'''}}\n"
    ast.parse(redacted(source))


@given(st.text() | st.lists(st.sampled_from(["'", '"', '"""', "password", "=", "\n", "#", "(", HEX, " "])).map("".join))
def test_any_text_and_nothing_is_added_but_gaps(text):
    shown = redacted(text)
    assert len(shown) <= len(text) or "…" in shown
    left = iter(text)
    assert all(character in left for character in shown if character != "…" or "…" in text)


def test_a_cell_of_many_strings():
    source = f"words = [{', '.join(repr('w' * 8) for _ in range(3000))}]"
    assert redacted(source) == source


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = getpass.getpass('?')", {"x"}),
        ("from getpass import getpass\n  a, b = getpass(), 1", {"a", "b"}),
        ("who: str = input()", {"who"}),
        ("k = os.environ['K']", {"k"}),
        ("k = os.getenv('K') or ''", {"k"}),
        ("x = 1\ny = f(x)  # getpass()", set()),
    ],
)
def test_names_of_what_was_asked_for(source, names):
    assert requested_names(source) == names
