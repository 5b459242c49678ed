"""What looks random and is no secret, by what it is called: hashes, addresses, identifiers, results of a test.

What has the form of a key of a known service goes all the same, and so does what is given to the name of a secret.
"""

from __future__ import annotations

import re

from fim_magic.context.secret_names import HINT, words_of

_SAID = re.compile(
    r"sha|hash|digest|checksum|commit|revision|\brev\b|md5|etag|fingerprint|uuid|\boid\b|integrity|trace|\bblob\b(?!\.core)"
    r"|(?:run|job|experiment)_?id|\bdoi\b|inchi_?key|\bopen_by_key|\bgdown\b|google_drive|\bpub(?:lic)?[ _]?key"
    r"|\bget_(?:run|experiment|model|version|commit|dataset|file|job|task|node|page|item|record)\(",
    re.IGNORECASE,
)
"""Words that say so anywhere near."""
_NEAR = 60  # characters before a run
_NAMED = re.compile(
    r"""
    (?<![\w-])(?P<name>[\w-]{1,64}?)["'`]{0,2}\]?
    (?: [ ]?(?::[ ]?\w{0,12})?[ ]?(?:==|!=|:=|=>|<-|=|:)[ ]{0,9}
        (?:[\w.]{0,24}(?i:hex|unhexlify|b64decode|bytes|str|address|uuid|buffer\.from)\()?
      | [ ]?(?:=|:)[ ]?[\[({][^\[\](){}=:]{0,90}         # one of a list
      | (?<=id)[ ] | \(
    )
    \\?[brBR]?["'`]?\Z
    """,
    re.VERBOSE,
)
"""The name that what follows is given to, or compared with."""
_SET = re.compile(
    r"(?:assert|set|put|log|add|tag)\w{0,20}\([\"']?(?P<name>[\w.-]{1,64})[\"']?,[ ]?[brBR]?[\"']?\Z", re.IGNORECASE
)
_PUBLIC = frozenset(
    """
    actual addr address addresses block channel ciphertext ciphertexts contract contracts doi expected genesis guid id
    ids iv nonce plaintext playlist receiver recipient ref slug transaction transactions tx txid txids txs video want
    """.split()
)
_OF_CLIENT = frozenset("api app application appid client licence license project webhook".split())
"""Before `id`, they name what some services take for a key."""
_PUBLIC_KEY = re.compile(r"(?:\w*_)?pub(?:lic)?_?key", re.IGNORECASE)
_ADDRESS = re.compile(
    r"0x[0-9a-fA-F]{40}|Qm[1-9A-HJ-NP-Za-km-z]{44}"
)  # of a chain, where keys have 64 digits; of a file


def is_public(run: str, before: str) -> bool:
    """Whether a random run of characters is published, or names something.

    Args:
        run: The run. It may begin with its name: `trace_id=…`.
        before: What stands before it.
    """
    name, equals, _ = run.rstrip("=").rpartition("=")
    if equals:
        before = f"{before}{name}="
    if _SAID.search(before[-_NEAR:]) or _ADDRESS.fullmatch(run):
        return True
    named = _NAMED.search(before) or _SET.search(before)
    return named is not None and _is_public_name(named["name"])


def _is_public_name(name: str) -> bool:
    if _PUBLIC_KEY.fullmatch(name):
        return True
    words = words_of(name)
    if not words or words[-1] not in _PUBLIC or HINT.search(name):
        return False
    return words[-1] not in ("id", "ids") or not _OF_CLIENT & set(words)
