"""The proof that a server's model has the vocabulary that our prompts are made of.

Ids of another vocabulary would be read as noise, and answered with something that looks like code. So a server is asked
how it encodes some texts and every sentinel before it is asked anything else.

The same vocabulary need not mean the same ids of a text. vLLM and SGLang read texts by transformers' classes, which
rebuild the tokenizers of some models (DeepSeek-Coder's, CodeQwen's) by other rules than their own files have. Where ids
are sent, only what each of them stands for matters, and that is asked then.
"""

from __future__ import annotations

from collections.abc import Sequence

from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Dialect
from fim_magic.engines.server.sense import in_known_form
from fim_magic.errors import ModelError, ServerError
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
) -> tuple[str, ...] | None:
    """Compare the server's ids of some texts, and of every sentinel of the family, with our own.

    Args:
        connection: To the server.
        dialect: How it is asked.
        model: As the server calls it.
        tokenizer: Our own.
        family: Of the model.
        source: Where our own comes from, for the message.

    Returns:
        What the user should know, if anything; None where the server does not tell, so that nothing is proved.

    Raises:
        ModelError: They differ.
        ServerError: It could not be asked.
    """
    notices: tuple[str, ...] = ()
    for text in TEXTS:
        found = encoded(connection, dialect, model, text)
        if found is None:
            return None
        own = tokenizer.encode(text)
        if found in (own, [*tokenizer.leading_ids, *own]):
            continue
        if not _means_the_same(connection, dialect, model, tokenizer, own):
            raise another_vocabulary(connection, model, source, takes_ids=dialect.capabilities.takes_ids)
        notices = (
            f"{connection.address.host} cuts texts into other tokens than the tokenizer of {source}. It gets token "
            "ids, which mean the same there: that makes no difference if this tokenizer is the model's own.",
        )
    for sentinel in dict.fromkeys((*family.sentinels(), *family.stop)):
        token = tokenizer.sentinel(sentinel)
        if token is not None and (encoded(connection, dialect, model, sentinel) or [])[-1:] != [token]:
            raise another_vocabulary(connection, model, source, f" {sentinel} is another token there.")
    return notices


def _means_the_same(
    connection: ServerConnection, dialect: Dialect, model: str, tokenizer: TextTokenizer, ids: Sequence[int]
) -> bool:
    """Whether our ids stand for the same tokens on a server that takes ids.

    A rebuilt tokenizer may decode them as it should, or join the tokens as the vocabulary writes them.
    """
    if not dialect.capabilities.takes_ids:
        return False
    try:
        with in_known_form(connection.address):
            found = dialect.detokenize(connection, model, ids)
    except ServerError as error:
        if error.status in (404, 405):
            return False
        raise
    own = list(ids)
    return found in (tokenizer.decode(own), tokenizer.decode(own, unspaced=True), tokenizer.written(own))


def encoded(connection: ServerConnection, dialect: Dialect, model: str, text: str) -> list[int] | None:
    """Return the server's own ids of a text; None where it does not tell.

    Raises:
        ServerError: It could not be asked, or answers in another form than it should.
    """
    with in_known_form(connection.address):
        return dialect.tokenize(connection, model, text)


def another_vocabulary(
    connection: ServerConnection, model: str, source: str, why: str = "", *, takes_ids: bool = True
) -> ModelError:
    """Return the error for a server whose model has another vocabulary than our tokenizer.

    Args:
        connection: To the server.
        model: As the server calls it.
        source: Where our tokenizer comes from.
        why: What differs; a sentence that begins with a space.
        takes_ids: Whether prompts go to it as ids. A text may be read otherwise by the right tokenizer, too.
    """
    address = connection.address
    rebuilt = (
        ""
        if takes_ids
        else f" If {source} is the model's own: this server cuts texts in a way of its own, as transformers does for "
        "some models, and takes nothing but texts. Run the model with vLLM, llama-server or SGLang, which take token "
        "ids: %fim use vllm://HOST:PORT"
    )
    return ModelError(
        f"The server at {address.host} encodes text in another way than the tokenizer of {source}, so {model} would "
        f"read noise.{why} Name the model's own tokenizer, a folder or OWNER/NAME on the Hub: %fim use {address.name} "
        f"--tokenizer OWNER/NAME{'.' * bool(rebuilt)}{rebuilt}"
    )
