"""The list of models with a short name, and all that is known of one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fim_magic import catalog, weights
from fim_magic.allowed_hosts import NOTHING_ALLOWED, Permission
from fim_magic.catalog import Entry
from fim_magic.engines.memory import gigabytes
from fim_magic.engines.server.address import is_address
from fim_magic.engines.torch.footprint import vocabulary_of, weights_in
from fim_magic.errors import ModelError
from fim_magic.formats import family_of
from fim_magic.loading.manager import MODELS
from fim_magic.loading.spec import is_on_disk, split_revision
from fim_magic.regular_files import read_json
from fim_magic.reports.machine import OPTIONS, PRECISIONS, Machine, this_machine
from fim_magic.reports.servers import about_server
from fim_magic.tokenization import TextTokenizer
from fim_magic.visible import plain_text

_WIDTH = 120  # columns of a terminal that is not narrow, and of a notebook's cell
_LONGEST_NAME = 80  # characters of what a checkpoint calls its architecture
_ROW = "{:<26}{:>6}{:>8}{:>8}{:>8}{:>8}{:>8}  {:<6}{}"


def models(word: str = "", machine: Machine | None = None) -> str:
    """List the models that have a short name, those that fit a machine first.

    Args:
        word: Only those with this in their name, family or repository; of a single one, all is said that is known.
        machine: Where they are to run; None for this one.
    """
    found = _matching(word)
    if not found:
        close = catalog.close_to(word)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        return f"No model has {plain_text(word)!r} in its name.{meant} %fim models lists all."
    machine = machine or this_machine()
    if len(found) == 1:
        return "\n".join(_about(found[0], machine))
    fitting = [entry for entry in found if machine.best_precision(entry)]
    others = [entry for entry in found if entry not in fitting]
    free = gigabytes(machine.free)
    return "\n".join(
        (
            *_section(f"These fit {machine.where}, of which {free} are free:", fitting, machine),
            *_section(f"These do not fit {machine.where}, of which {free} are free:", others, machine),
            *_legend(machine, found),
        )
    )


def model(name: str, machine: Machine | None = None, permission: Permission = NOTHING_ALLOWED) -> str:
    """Say all that is known of a model, without loading it.

    Args:
        name: As for `%fim use`.
        machine: Where it is to run; None for this one.
        permission: Which other hosts may get text, where it runs on a server.

    Raises:
        ModelError: There is no such model.
    """
    if is_address(name):
        told = about_server(name, permission)
        return "\n".join(
            line for label, text, advice in told for line in _lines(label, f"{text}. {advice}".rstrip(". "))
        )
    return "\n".join(_described(name, machine or this_machine()))


# --- the list of models --------------------------------------------------------------------------


def _matching(word: str) -> list[Entry]:
    exact = catalog.find(word) or catalog.by_repo(word)
    if exact is not None:
        return [exact]
    sought = word.lower()
    return [
        entry
        for entry in catalog.ENTRIES
        if any(sought in text.lower() for text in (entry.name, entry.family, *entry.repos))
    ]


def _section(title: str, entries: Sequence[Entry], machine: Machine) -> Iterator[str]:
    """Yield a table of models, with what all of a family have in common above them."""
    if not entries:
        return
    yield from (title, _ROW.format("", "size", *PRECISIONS, "context", "%%fim", "on the Hub"))
    for _, alike in groupby(sorted(entries, key=_place), key=_in_common):
        group = list(alike)
        yield from textwrap.wrap(_in_common(group[0]), _WIDTH, subsequent_indent="    ")
        yield from (_row(entry, machine) for entry in group)
    yield ""


def _place(entry: Entry) -> tuple[int, str, float]:
    """Where a model stands in the list: with its family, those of one licence together, and the small ones first."""
    families = [other.family for other in catalog.ENTRIES]
    return families.index(entry.family), _in_common(entry), entry.parameters


def _in_common(entry: Entry) -> str:
    """Say what a family's models of one licence have in common."""
    facts = [entry.series or entry.family, entry.licence]
    facts += ["needs a login on the Hub"] if entry.gated else []
    facts += ["needs code of its own"] if entry.remote_code else []
    return f"{', '.join(facts)}. {entry.licence_note}".strip()


def _row(entry: Entry, machine: Machine) -> str:
    best = machine.best_precision(entry)
    amounts = {precision: f"{entry.memory(size) / 1e9:.1f}" for precision, size in machine.sizes.items()}
    memory = (f"[{amount}]" if precision == best else f"{amount} " for precision, amount in amounts.items())
    loaded = MODELS.loaded
    name = f"  {entry.name}" + (" *" if loaded is not None and loaded.engine.info.model == entry.name else "")
    context = "?" if entry.context is None else f"{entry.context // 1024}K"
    does = "yes" if entry.infills else "chat" if entry.chats else "no"
    repo = next(iter(entry.repos), "")
    return _ROW.format(name, f"{entry.parameters:.3g}B", *memory, context, does, repo).rstrip()


def _legend(machine: Machine, entries: Sequence[Entry]) -> list[str]:
    brackets = ", ".join(precision + OPTIONS.get(precision, "") for precision in machine.precisions)
    return textwrap.wrap(
        f"Memory is in GB with a short context, an estimate; it runs here in the precision in brackets ({brackets}). "
        f"{'' if machine.quantises_all else _in_bits_of_files(entries)}"
        "%%fim: yes, it infills; no, it only completes (%%complete); chat, it is asked in a dialogue (%%complete). "
        "* is loaded. %fim use NAME loads a model, %fim models NAME shows all about it, and %fim models WORD lists "
        "those with WORD in the name.",
        _WIDTH,
        break_on_hyphens=False,
    )


def _in_bits_of_files(entries: Sequence[Entry]) -> str:
    """Say what those take that are one .gguf file, which a CPU may compute with in the bits that it is stored in."""
    return "".join(
        f"{entry.name} is a .gguf file: where the processor is as fast in the file's own bits, it stays in them and "
        f"takes {entry.gguf.memory / 1e9:.1f}. "
        for entry in entries
        if entry.gguf is not None
    )


# --- one model -----------------------------------------------------------------------------------


def _described(name: str, machine: Machine) -> Iterator[str]:
    base, _ = split_revision(name)
    entry = catalog.find(base) or catalog.by_repo(base)
    if entry is not None:
        yield from _about(entry, machine)
    elif is_on_disk(base):
        yield from _about_path(base, Path(base).expanduser(), machine)
    elif base.count("/") == 1 and not base.startswith((".", "/", "~")):
        yield from _about_repository(base, machine)
    else:
        raise catalog.unknown(base)


def _about(entry: Entry, machine: Machine) -> Iterator[str]:
    context = f"{entry.context} tokens" if entry.context else "as its config.json says"
    yield from _lines(
        "model", f"{entry.name}: {entry.series or entry.family}, {entry.parameters:.3g} billion parameters"
    )
    yield from _lines("Hub", " or ".join(entry.repos) or "not there: one file from PyPI")
    yield from _lines("context", context)
    yield from _lines("can", _abilities(entry))
    memory = (f"{precision} {gigabytes(entry.memory(size))}" for precision, size in machine.sizes.items())
    yield from _lines("memory", f"{', '.join(memory)}: an estimate, with a short context")
    best = machine.best_precision(entry)
    fits = f"it fits in {best}" if best else "it does not fit"
    yield from _lines("here", f"{fits}: {gigabytes(machine.free)} are free on {machine.where}")
    yield from _lines("licence", f"{entry.licence}. {entry.licence_note}".strip())
    if entry.gated:
        yield from _lines("gated", _steps_to_get_in(entry))
    if entry.pickled:
        yield from _lines("weights", "pickles, which are read without running what they hold")
    yield from _lines("on disk", "yes" if _is_on_disk(entry) else "no: it is fetched when it is first loaded")
    yield from _lines("load", _how_to_load(entry, best))
    if entry.gguf_repo:
        yield from _lines("GGUF", _how_to_load_gguf(entry.gguf_repo))


def _abilities(entry: Entry) -> str:
    if entry.infills:
        return "infill (%%fim) and complete (%%complete)"
    nearest = f"the nearest that infills is {catalog.nearest_infilling(entry).name}"
    if entry.chats:
        return f"chat only: %%complete asks it in its dialogue's template; {nearest}"
    return f"only complete (%%complete); {nearest}"


def _steps_to_get_in(entry: Entry) -> str:
    return (
        f"1. accept its licence on https://huggingface.co/{entry.repo}; "
        "2. type `hf auth login` in a terminal, with a token of that account"
    )


def _how_to_load(entry: Entry, best: str) -> str:
    if entry.remote_code:
        return (
            f"it needs code of its own, which runs only if you say so for one commit that you have read: "
            f"%fim use {entry.repo}@COMMIT --allow-code"
        )
    if entry.gguf is not None and best in OPTIONS:  # the file has few bits already
        return f"%fim use {entry.name} --precision packed"
    return f"%fim use {entry.name}{OPTIONS.get(best, '')}"


def _how_to_load_gguf(repo: str) -> str:
    """Say how a file of the vendor's is loaded: of the many that a repository has, one is fetched by hand."""
    return (
        f'by its vendor: `hf download {repo} --include "*q4_k_m.gguf" --local-dir .` in a terminal, and then %fim use '
        "FILE.gguf --precision packed"
    )


def _about_path(name: str, path: Path, machine: Machine) -> Iterator[str]:
    if (path / "config.json").is_file():
        yield from _about_folder(name, path, machine)
    elif path.suffix == ".gguf" and path.is_file():
        size = gigabytes(path.stat().st_size)
        yield from _lines("model", f"{name}: a GGUF file of {size}, which is converted when it is first loaded")
        yield from _lines("load", f"%fim use {name}")
    else:
        raise ModelError(
            f"{name!r} is neither a folder with a config.json nor a .gguf file, so there is no model in it to look at."
        )


def _about_folder(name: str, folder: Path, machine: Machine) -> Iterator[str]:
    """Say what the files of a checkpoint show: nothing is loaded but its tokenizer."""
    config = _config(folder)
    size = weights_in(folder, config)
    named = config.get("model_type")
    architecture = named[:_LONGEST_NAME] if isinstance(named, str) else "of no known architecture"
    yield from _lines("model", f"{name}: {architecture}")
    yield from _lines("family", _family_in(folder, config))
    amounts = [f"{precision} {gigabytes(size.bytes_at(width))}" for precision, width in (("32 bit", 4), ("16 bit", 2))]
    found = f"{', '.join(amounts)}: the weights alone" if size.bytes_at(4) else "no weights were found in it"
    yield from _lines("memory", found)
    yield from _lines("here", f"{gigabytes(machine.free)} are free on {machine.where}")
    yield from _lines("load", f"%fim use {name}")


def _family_in(folder: Path, config: dict[str, Any]) -> str:
    try:
        family = family_of(config, TextTokenizer.from_folder(folder, vocabulary_of(config)))
    except ModelError as error:
        return f"not known before it is loaded: {error}"
    if family.can_infill:
        return f"{family.name}, by its architecture and the sentinels in its vocabulary: it infills"
    return f"{family.name}: it only completes, because {family.why_not}"


def _about_repository(repo: str, machine: Machine) -> Iterator[str]:
    yield from _lines("Hub", f"{repo} has no short name here, so its licence and size are for you to look up")
    folder = _cached_folder(repo)
    if folder is None:
        yield from _lines("on disk", "no: it is fetched when it is first loaded, and its family found then")
        yield from _lines("load", f"%fim use {repo}")
    else:
        yield from _about_folder(repo, folder, machine)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise ModelError(f"The config.json in {str(folder)!r} could not be read ({error}). Fetch it again.") from error
    return config if isinstance(config, dict) else {}


def _is_on_disk(entry: Entry) -> bool:
    if entry.gguf is not None:
        return weights.cached(entry.gguf) is not None
    return any(_cached_folder(repo) is not None for repo in entry.repos)


def _cached_folder(repo: str) -> Path | None:
    """The folder of a repository in the Hub's cache, if it has been begun to be fetched."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(repo, "config.json")
    except (HFValidationError, ValueError):  # the name of no repository, or of no file
        return None
    return Path(config).parent if isinstance(config, str) else None


def _lines(label: str, text: str) -> list[str]:
    whole = f"{label:<10}{plain_text(text)}"
    return textwrap.wrap(whole, _WIDTH, subsequent_indent=" " * 10, break_long_words=False, break_on_hyphens=False)
