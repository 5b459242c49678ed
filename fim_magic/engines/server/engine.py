"""A model on a server, behind the same protocol as one in this process."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from fim_magic.engines import (
    ANY,
    GREEDY,
    Beginning,
    Capabilities,
    EngineInfo,
    EngineReport,
    Sampling,
    ServerInfo,
    TokenLogprob,
    no_room_for_an_answer,
    too_long_to_score,
)
from fim_magic.engines.server.connection import ServerConnection
from fim_magic.engines.server.dialect import Asked, Dialect, ServedModel, ServedToken
from fim_magic.engines.server.generation import ServerGeneration, generation_of, tokens_of
from fim_magic.engines.server.proof import Prover
from fim_magic.engines.server.sense import in_known_form, require_sense
from fim_magic.engines.server.text_prompts import TextPrompts
from fim_magic.engines.server.time_limits import TimeLimits
from fim_magic.errors import ModelError, ServerError
from fim_magic.formats import Family, family_of
from fim_magic.regular_files import read_json
from fim_magic.tokenization import TextTokenizer, declared_ends

_LONGEST_NAME = 200  # characters of what a server calls its model and itself: it may say anything
_USUAL_CONTEXT = 4096  # tokens, where neither the server nor the configuration tells


class ServerEngine:
    """A model that a server runs. Satisfies [`fim_magic.engines.Engine`][].

    Args:
        connection: To the server.
        dialect: How it is asked.
        served: What it says of its model.
        tokenizer: The model's own, which makes the ids that are sent.
        config: The model's config.json.
        name: What the user calls it: its address.
        revision: Which version of the tokenizer it is.
        named: Its family, where the catalogue or the user states it.
        notices: What the user should read before the first answer.
        prompts: What turns prompts into texts, where the server takes no ids.

    Attributes:
        tokenizer: The argument.
        family: Its prompt format.
        context_length: Tokens of prompt and answer together, as the server says, or the configuration.
    """

    def __init__(
        self,
        connection: ServerConnection,
        dialect: Dialect,
        served: ServedModel,
        tokenizer: TextTokenizer,
        config: Mapping[str, Any],
        *,
        name: str,
        revision: str = "",
        named: str = "",
        notices: Sequence[str] = (),
        prompts: TextPrompts | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.family: Family = family_of(config, tokenizer, declared_ends(tokenizer, config.get("eos_token_id")), named)
        declared = config.get("max_position_embeddings")
        self.context_length = served.context_length or (
            declared if isinstance(declared, int) and declared > 0 else _USUAL_CONTEXT
        )
        self._connection = connection
        self._dialect = dialect
        self._served = served
        self._name = name
        self._revision = revision
        self._notices = tuple(notices)
        self._prompts = prompts
        self._proved_by = ""

    @classmethod
    def load(
        cls,
        connection: ServerConnection,
        dialect: Dialect,
        served: ServedModel,
        folder: Path,
        *,
        name: str,
        revision: str = "",
        named: str = "",
        notices: Sequence[str] = (),
    ) -> ServerEngine:
        """Return the engine for a model whose tokenizer.json and config.json are in `folder`.

        Raises:
            ModelError: They cannot be read.
        """
        try:
            config = read_json(folder / "config.json")
        except (OSError, ValueError) as error:
            raise ModelError(f"The config.json of {served.name} could not be read ({error}).") from error
        tokenizer = TextTokenizer.from_folder(folder)
        return cls(
            connection, dialect, served, tokenizer, config, name=name, revision=revision, named=named, notices=notices
        )

    def proved(self, folder: Path, source: str) -> ServerEngine:
        """Return the engine that asks in the way which is proved for this model on this server.

        Args:
            folder: Where its tokenizer.json is.
            source: Where that comes from, for messages.

        Raises:
            ModelError: The server's vocabulary is another one, or no prompt of the family's can be said to it.
            ServerError: It could not be asked.
        """
        prover = Prover(self._connection, self._served, self.tokenizer, self.family, folder, source)
        proven = prover.prove(self._dialect)
        engine = copy.copy(self)
        engine._dialect, engine._prompts = proven.dialect, proven.prompts
        engine._notices = (*self._notices, *proven.notices)
        engine._proved_by = proven.by
        return engine

    def wait(self, limits: TimeLimits) -> None:
        """Wait so long for the server from the next request on."""
        self._connection.limits = limits

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            model=self._name,
            revision=self._revision,
            runtime=self._served.software,
            device=self._connection.address.host,
            precision=self._served.precision,
            destination=self._connection.address.destination,
            notices=self._notices,
            server=ServerInfo(
                host=self._connection.address.host,
                software=self._served.software[:_LONGEST_NAME],
                model=self._served.name[:_LONGEST_NAME],
                is_encrypted=self._connection.address.is_encrypted,
                is_here=self._connection.address.is_loopback,
                proved_by=self._proved_by,
            ),
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._dialect.capabilities

    def report(self) -> EngineReport:
        return EngineReport(decoder=self._served.software)

    def warm_up(self) -> None:
        """Do nothing: the server is warm, or warms up by itself."""

    def forget(self) -> None:
        """Do nothing: what a server keeps of prompts is not ours."""

    def bytes_per_token(self, context: int) -> None:
        """Return None: what a server reads for a token is not known here."""

    def generate(
        self,
        prompt: Sequence[int],
        *,
        beginnings: Sequence[Beginning],
        sampling: Sampling,
        stop_ids: AbstractSet[int],
        limit: int,
    ) -> ServerGeneration:
        if len(prompt) >= self.context_length:
            raise ModelError(no_room_for_an_answer(self._served.name, len(prompt), self.context_length))
        limit = min(limit, self.context_length - len(prompt))
        return self._generation(self._asked(prompt, sampling, stop_ids, limit), beginnings)

    def score(self, prompt: Sequence[int], continuation: Sequence[int]) -> list[float]:
        if not continuation:
            return []
        self._require_room(len(prompt) + len(continuation))
        ids = [*prompt, *continuation]
        logprobs = [token.logprob for token in self._scored(ids, len(prompt), 0) or ()]
        found = [logprob for logprob in logprobs if logprob is not None]
        if len(found) != len(continuation):
            raise ServerError(f"The server at {self._connection.address.host} did not say how probable a text is.")
        return found

    def top_logprobs(self, prompt: Sequence[int], continuation: Sequence[int], count: int) -> list[list[TokenLogprob]]:
        self._require_room(len(prompt) + len(continuation))
        ids = [*prompt, *continuation]
        places: list[list[TokenLogprob]] = []
        if continuation:
            found = self._scored(ids, len(prompt), count)
            if found is None:  # then each place is asked for
                return [
                    self._next_tokens([*prompt, *continuation[:length]], count)
                    for length in range(len(continuation) + 1)
                ]
            places = [list(token.alternatives) for token in found]
        return [*places, self._next_tokens(ids, count)]

    def _next_tokens(self, ids: Sequence[int], count: int) -> list[TokenLogprob]:
        """Return the most probable tokens behind a text."""
        asked = replace(self._asked(ids, GREEDY, frozenset(), 1), alternatives=count)
        with closing(self._generation(asked, [ANY])) as generation:
            token = next(tokens_of(generation, self._connection), None)
        return [] if token is None else list(token.alternatives[:count])

    def _scored(self, ids: Sequence[int], begin: int, count: int) -> list[ServedToken] | None:
        """Ask the server for what `Dialect.score` returns, and look whether it makes sense."""
        with in_known_form(self._connection.address):
            found = self._dialect.score(self._connection, self._served.name, ids, begin, count)
            for token in found or ():
                require_sense(token, self.tokenizer)
        return found

    def _generation(self, asked: Asked, beginnings: Sequence[Beginning]) -> ServerGeneration:
        return generation_of(self._connection, self._dialect, asked, beginnings, self.tokenizer)

    def _asked(self, ids: Sequence[int], sampling: Sampling, stop_ids: AbstractSet[int], limit: int) -> Asked:
        return Asked(
            self._served.name,
            list(ids),
            sampling,
            stop_ids,
            limit,
            text="" if self._prompts is None else self._prompts.text_of(ids),
            stop_texts=self._stop_texts(stop_ids),
            context_length=self._served.context_length,
        )

    def _stop_texts(self, stop_ids: AbstractSet[int]) -> tuple[str, ...]:
        """The stop tokens as texts, those that end most answers first: some servers take only a few."""
        ids = (self.tokenizer.sentinel(token) for token in (*self.family.stop, *self.family.sentinels()))
        known = [token for token in dict.fromkeys(ids) if token in stop_ids]
        return tuple(self.tokenizer.decode([token], unspaced=True) for token in known if token is not None)

    def _require_room(self, tokens: int) -> None:
        if tokens > self.context_length:
            raise ModelError(too_long_to_score(self._served.name, tokens, self.context_length))
