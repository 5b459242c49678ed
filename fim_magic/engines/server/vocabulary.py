"""The proof that a server's model has the vocabulary that our prompts are made of.

Ids of another vocabulary would be read as noise, and answered with something that looks like code. So a server is asked
how it encodes some texts and every sentinel before it is asked anything else.
"""

from __future__ import annotations

from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Dialect
from fim_magic.engines.server.sense import in_known_form
from fim_magic.errors import ModelError
from fim_magic.formats import Family
from fim_magic.tokenization import TextTokenizer

TEXTS = (
    "def mean(xs):\n    total = sum(xs)\n    return total / len(xs)\n",
    "\tfor i in range(10):\r\n\t\tprint(f'{i:03d}')  # 1234567890\n\n\n",
    "名字 = '游標在這'  # Größe, naïve, привет, 안녕 🙂\n",
)
"""Of code, of blanks and digits, and of several scripts: what vocabularies differ in."""


def require_same_vocabulary(
    connection: ServerConnection, dialect: Dialect, model: str, tokenizer: TextTokenizer, family: Family, *, source: str
) -> bool:
    """Compare the server's ids of some texts, and of every sentinel of the family, with our own.

    Args:
        connection: To the server.
        dialect: How it is asked.
        model: As the server calls it.
        tokenizer: Our own.
        family: Of the model.
        source: Where our own comes from, for the message.

    Returns:
        Whether the server could be asked; some do not tell.

    Raises:
        ModelError: They differ.
        ServerError: It could not be asked.
    """
    for text in TEXTS:
        found = encoded(connection, dialect, model, text)
        if found is None:
            return False
        own = tokenizer.encode(text)
        if found not in (own, [*tokenizer.leading_ids, *own]):
            raise another_vocabulary(connection, model, source)
    for sentinel in dict.fromkeys((*family.sentinels(), *family.stop)):
        token = tokenizer.sentinel(sentinel)
        if token is not None and (encoded(connection, dialect, model, sentinel) or [])[-1:] != [token]:
            raise another_vocabulary(connection, model, source, f" {sentinel} is another token there.")
    return True


def encoded(connection: ServerConnection, dialect: Dialect, model: str, text: str) -> list[int] | None:
    """Return the server's own ids of a text; None where it does not tell.

    Raises:
        ServerError: It could not be asked, or answers in another form than it should.
    """
    with in_known_form(connection.address):
        return dialect.tokenize(connection, model, text)


def another_vocabulary(connection: ServerConnection, model: str, source: str, why: str = "") -> ModelError:
    """Return the error for a server whose model has another vocabulary than our tokenizer."""
    return ModelError(
        f"The server at {connection.address.host} encodes text in another way than the tokenizer of {source}, so "
        f"{model} would read noise.{why} Name the model's own tokenizer, a folder or OWNER/NAME on the Hub: "
        f"%fim use {connection.address.name} --tokenizer OWNER/NAME"
    )
