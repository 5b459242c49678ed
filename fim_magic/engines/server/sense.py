"""Whether what a server says makes sense: what no model says would be taken for text, or spoil every number."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

from fim_magic.engines import TokenLogprob
from fim_magic.engines.server.address import ServerAddress
from fim_magic.engines.server.dialect import ServedToken
from fim_magic.engines.server.refusals import unreadable
from fim_magic.errors import FimError, is_failure
from fim_magic.tokenization import TextTokenizer

_HIGHEST = 0.01  # log-probability: rounding may bring one above 0
_MOST_TOLD = 20  # characters of what makes no sense

_log = logging.getLogger(__name__)


class _SenselessError(ValueError):
    """What a server has said cannot be. The message is half a sentence."""


def require_sense(token: ServedToken, tokenizer: TextTokenizer) -> None:
    """Look at a token and at those that could stand in its place.

    Raises:
        ValueError: There is no such token, or no such log-probability.
    """
    places: tuple[ServedToken | TokenLogprob, ...] = (token, *token.alternatives)
    for place in places:
        if not tokenizer.knows(place.id):
            raise _SenselessError(f"a token {str(place.id)[:_MOST_TOLD]}, which its vocabulary does not have")
        if place.logprob is not None and not _is_logprob(place.logprob):
            raise _SenselessError(f"a log-probability of {str(place.logprob)[:_MOST_TOLD]}")


@contextmanager
def in_known_form(address: ServerAddress) -> Iterator[None]:
    """Raise a ServerError where an answer is read in the block and has another form than it should have."""
    try:
        yield
    except FimError:
        raise
    except BaseException as error:
        if not is_failure(error):
            raise
        _log.info("An answer of a server could not be read.", exc_info=True)
        why = str(error) if isinstance(error, _SenselessError) else type(error).__name__
        raise unreadable(address, why) from error


def _is_logprob(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value <= _HIGHEST
