"""The options of one call as what a request is made of: each is looked at where its value has rules of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fim_magic.errors import OptionError
from fim_magic.limits import MOST_ANSWERS, SEED_RULE, TEMPERATURE_RULE, is_seed, is_temperature
from fim_magic.options import OptionValues, mend
from fim_magic.unicode_text import check_whole

if TYPE_CHECKING:
    from fim_magic.allowed_hosts import Permission
    from fim_magic.checks import CheckSpec
    from fim_magic.engines import Sampling

DOCTESTS = "doctests"
"""The word for `--check` that means those in the cell."""

_LEAST_PROMPT = 16  # tokens, without which a request makes no sense


def candidates_of(values: OptionValues) -> int:
    """Return the number of candidates, 0 for as many as the machine makes cheap."""
    rule = f"is auto, or from 1 to {MOST_ANSWERS}"
    number = values.checked("candidates", lambda v: v == "auto" or (is_whole(v) and 1 <= v <= MOST_ANSWERS), rule)
    return 0 if number == "auto" else int(number)


def prompt_tokens_of(values: OptionValues) -> int:
    """Return the most tokens of a prompt, 0 for as many as the machine reads in some seconds."""
    rule = f"is auto, or at least {_LEAST_PROMPT}"
    number = values.checked("max_prompt_tokens", lambda v: v == "auto" or (is_whole(v) and v >= _LEAST_PROMPT), rule)
    return 0 if number == "auto" else int(number)


def check_spec_of(values: OptionValues, *, confined_only: bool) -> CheckSpec:
    from fim_magic.checks import CheckSpec

    check = values["check"]
    texts = [check] if isinstance(check, str) else check
    values.checked("check", lambda _: all(isinstance(text, str) for text in texts), "is an expression, or several")
    for text in texts:
        check_whole(text, values.origin("check"))
    expressions = tuple(text for text in texts if text != DOCTESTS)
    return CheckSpec(expressions=expressions, doctests=DOCTESTS in texts, confined_only=confined_only)


def permission_of(values: OptionValues, context: str, name: str = "allowed_hosts") -> Permission:
    """Return what may go to another host, of those that an option lists.

    A context that was typed with the call is meant for it.
    """
    from fim_magic.allowed_hosts import Permission
    from fim_magic.engines.server.hosts import listed_host

    hosts = values[name]
    values.checked(name, lambda _: all(isinstance(host, str) for host in hosts), "is a list of hosts")
    listed = set()
    for host in [hosts] if isinstance(hosts, str) else hosts:
        try:
            listed.add(listed_host(host))
        except OptionError as error:
            origin = values.origin(name, host)
            raise OptionError(f"Among the allowed hosts ({origin}), {error}{mend(origin)}") from None
    return Permission(frozenset(listed), context)


def sampling_of(values: OptionValues) -> Sampling:
    from fim_magic.engines import Sampling, new_seed  # with the first request: %load_ext need not wait for it

    temperature = values.checked("temperature", is_temperature, TEMPERATURE_RULE)
    seed = values.checked("seed", lambda v: v is None or is_seed(v), SEED_RULE)
    return Sampling(
        temperature=float(temperature),
        top_p=float(values.checked("top_p", lambda v: 0 < v <= 1, "is above 0 and at most 1")),
        seed=new_seed() if seed is None else seed,
    )


def is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def markers_of(values: OptionValues) -> list[str]:
    markers = values["markers"]
    if isinstance(markers, str):
        markers = [markers]
    texts = isinstance(markers, list | tuple) and all(isinstance(marker, str) and marker for marker in markers)
    if not markers or not texts:
        raise values.refusal("markers", "is a list of texts, none of them empty")
    for marker in markers:
        check_whole(marker, "A marker")
        if not (marker.strip() and marker.isprintable()):
            origin = values.origin("markers")
            raise OptionError(
                f"A marker is a text that can be seen, on one line; {marker!a} is not ({origin}). "
                f'--markers "@@" is.{mend(origin)}'
            )
    return list(markers)
