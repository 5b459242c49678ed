"""Where a server is, and which of its models is meant: `vllm://host:8000/owner/name`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import SplitResult, quote, unquote, urlsplit

from fim_magic.engines import Destination
from fim_magic.errors import ModelError

KINDS = ("vllm", "llama-server", "sglang", "ollama", "tgi", "openai")
"""The servers that an address can name; `https` is asked for as in `vllm+https://`."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PORTS = {"": 80, "vllm": 8000, "llama-server": 8080, "sglang": 30000, "ollama": 11434, "tgi": 3000, "openai": 8000}
"""What each listens on by its own default."""
_HOSTED_KIND = "openai"
_OWN_NETWORK = ("local", "localhost", "lan", "internal", "home", "localdomain")
_HTTPS = 443
_API = "/v1"
_HOST = re.compile(r"[a-z0-9._-]+")
_IPV6 = re.compile(r"[0-9a-f:.]+(%[a-z0-9._-]+)?", re.IGNORECASE)
_ESCAPED = re.compile(r"[%?#\s]")
"""What does not stand in an address as it is: it would end the path, or the word."""
_LOGIN = re.compile(r"^[^/]*//[^/?#]*@")


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is, and which of its models is meant.

    Attributes:
        kind: One of `KINDS`, or "" where the address is a plain URL, so that the server has to be asked.
        url: Its scheme, host, port and maybe a path before the interface, without a slash at its end.
        model: The model's name as the user has written it; "" is the one that the server runs.
    """

    kind: str
    url: str
    model: str = ""

    @classmethod
    def of(cls, name: str) -> ServerAddress:
        """Read an address.

        What stands behind the host is the model's name. A path before the interface, as a gateway has it, ends with
        `/v1`: `https://gateway.example/team/v1/owner/name`.

        Without a port, a server is where its kind listens by its own default; with https at 443. `openai` is no
        program, and has no such default: by the name of a host on the internet, a service is meant, which has https.

        Raises:
            ModelError: It is none. The message says what one looks like.
        """
        if _LOGIN.search(name):  # before anything that is wrong with it is told: the message repeats the address
            raise ModelError(
                "The address of a server holds no user and no key: a notebook keeps what is typed in it. Put the key "
                "into the environment variable FIM_MAGIC_SERVER_KEYS, as HOST:PORT=KEY, and leave it out of the name."
            )
        if not unquote(name).isprintable():  # urlsplit drops some of these, and a request holds none
            raise _no_address(name, "it has a line break, or another character that cannot be seen")
        try:
            parts = urlsplit(name)
            port = parts.port
        except ValueError:  # its own words may hold a part of what is no port
            raise _no_address(name, "its host or its port cannot be read") from None
        kind, _, transport = parts.scheme.lower().partition("+")
        if kind in ("http", "https") and not transport:
            kind, transport = "", kind
        if (kind and kind not in KINDS) or transport not in ("", "http", "https"):
            raise _no_address(name, f"{parts.scheme}:// is not known")
        if not parts.hostname or parts.query or parts.fragment:
            raise _no_address(name, "there is no host in it" if not parts.hostname else "it has a ? or a #")
        before, model = _split_path(parts)
        host = _in_brackets(name, parts.hostname) if "[" in parts.netloc else _in_ascii(name, parts.hostname)
        if kind == _HOSTED_KIND and not transport and port is None and _is_hosted(host):
            transport = "https"
        number = port if port is not None else _HTTPS if transport == "https" else _PORTS[kind]
        # One host has one name, by which keys and permissions are kept: only that of https has no port.
        shown = "" if number == _HTTPS and transport == "https" else f":{number}"
        return cls(kind, f"{transport or 'http'}://{host}{shown}{before}", model)

    @property
    def name(self) -> str:
        """The address as a user types it, with its port; `of` reads the same from it."""
        transport, _, rest = self.url.partition("://")
        scheme = transport if not self.kind else self.kind + ("+https" if transport == "https" else "")
        rest += _API if "/" in rest or f"{_API}/" in f"/{self.model}/" else ""
        return f"{scheme}://{rest}/{_escaped(self.model)}" if self.model else f"{scheme}://{rest}"

    @property
    def host(self) -> str:
        """The host with its port, as keys and permissions are kept for it; without one it is that of https, 443."""
        return urlsplit(self.url).netloc

    @property
    def is_loopback(self) -> bool:
        return is_loopback(urlsplit(self.url).hostname or "")

    @property
    def is_encrypted(self) -> bool:
        return self.url.startswith("https://")

    def encrypted(self) -> ServerAddress:
        """Return the same by https."""
        return replace(self, url=self.url.replace("http://", "https://", 1))

    def unencrypted(self) -> ServerAddress:
        """Return the same without https, at the port where its kind listens if none was named."""
        parts = urlsplit(self.url)
        host = parts.netloc if parts.port is not None else f"{parts.netloc}:{_PORTS[self.kind]}"
        return replace(self, url=f"http://{host}{parts.path}")

    @property
    def destination(self) -> Destination:
        return Destination.MACHINE if self.is_loopback else Destination.HOST


def is_loopback(host: str) -> bool:
    """Whether a host, without its port, is this machine by an address that nothing else can have."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_hosted(host: str) -> bool:
    """Whether a host is named as on the internet: neither by its number, nor by one word as in a network of one's own.

    Names that end as those of such a network do, `.local` and others, are of one.
    """
    first, dot, last = host.rpartition(".")
    return bool(dot and first) and not last.isdigit() and last not in _OWN_NETWORK


def is_address(name: str) -> bool:
    """Whether a model's name is the address of a server, or is meant to be one."""
    return _ADDRESS.match(name) is not None


def _in_brackets(name: str, host: str) -> str:
    """Return a host of IPv6 in its shortest form, as one host has one name."""
    text = unquote(host)  # %25 may stand before its zone
    try:
        if _IPV6.fullmatch(text):
            return f"[{ipaddress.IPv6Address(text)}]"
    except ValueError:
        pass
    raise _no_address(name, "its host cannot be read")


def _in_ascii(name: str, host: str) -> str:
    """Return a host's name as the network has it, in which letters that only look like others do not."""
    try:
        found = host.encode("idna").decode("ascii")
    except UnicodeError:
        found = ""
    if not _HOST.fullmatch(found):
        raise _no_address(name, "its host cannot be read")
    return found


def _split_path(parts: SplitResult) -> tuple[str, str]:
    """Return the path before the interface, and the model's name."""
    path = unquote(parts.path).rstrip("/")
    before, found, model = f"{path}/".partition(f"{_API}/")
    if found:
        return _escaped(before), model.rstrip("/")
    return "", path.lstrip("/")


def _escaped(text: str) -> str:
    """Return a part of a path as it can be typed; what a server calls its model may be any text."""
    return "".join(quote(char) if _ESCAPED.match(char) or not char.isprintable() else char for char in text)


def _no_address(name: str, why: str) -> ModelError:
    kinds = ", ".join(f"{kind}://" for kind in KINDS)
    shown = name.partition("?")[0].partition("#")[0]
    before, login, rest = shown.rpartition("@")
    if login:  # a key may stand there
        shown = f"{before.partition('//')[0]}//…@{rest}"
    return ModelError(
        f"{shown!r} is not the address of a server ({why}). One looks like vllm://127.0.0.1:8000 or "
        f"vllm+https://HOST/OWNER/NAME; there are {kinds}, and http:// and https:// for a server that is to be asked "
        "what it is."
    )
