"""The kinds of value an option can have: how each is read, checked, shown and described.

Rule: a kind knows one value, never an option's name nor where the value came from. `read` takes what a person or
a program gave (text, or a Python value) and returns the value, or raises ValueError with a sentence that starts
with the offending value. `show` gives text which `read` reads back as the same value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(_NUMBER + r" ?([smhd]?)")
_SIZE = re.compile(_NUMBER + r" ?([KMG]iB|B?)")
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?"
_HOST_PORT = re.compile(rf"(\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]{{1,16}})?\]|{_NAME}):([0-9]{{1,5}})")
_MAX_HOST = 253
_NODE_ID = re.compile(r"[a-z2-7]{51}[aq]")


class Kind:
    """What every kind can do. As written here: a text that is shown as it is."""

    def read(self, value: object) -> Any:
        """The value, or ValueError with a sentence."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """Text for a person, which `read` accepts."""
        return str(value)

    def native(self, value: Any) -> object:
        """The value as TOML and JSON should hold it; `read` accepts it too."""
        return value

    def schema(self) -> dict[str, object]:
        """The JSON schema of what `read` accepts from a JSON file."""
        return {"type": "string", "minLength": 1}

    def describe(self) -> str:
        """What a value may be, in a few words."""
        raise NotImplementedError


@frozen
class Text(Kind):
    """One line of text, at most `limit` bytes of UTF-8, without control characters."""

    limit: int

    def read(self, value: object) -> str:
        """The text as given."""
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a text")
        if not value or not value.isprintable():
            raise ValueError(f"{value!r} is empty or has characters that cannot be printed")
        if len(value.encode()) > self.limit:
            raise ValueError(f"'{value[:16]}...' is longer than {self.limit} bytes")
        return value

    def schema(self) -> dict[str, object]:
        """A string with its length."""
        return {"type": "string", "minLength": 1, "maxLength": self.limit}

    def describe(self) -> str:
        """Its length."""
        return f"text, at most {self.limit} bytes"


@frozen
class Path(Kind):
    """The path of a file or folder. It need not exist; `~` is the user's home."""

    def read(self, value: object) -> str:
        """The path as text, `~` expanded."""
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else ""
        if not isinstance(path, str) or not path or "\0" in path:
            raise ValueError(f"{value!r} is not a path")
        return os.path.expanduser(path)

    def describe(self) -> str:
        """Its kind."""
        return "path"


@frozen
class Choice(Kind):
    """One of a few words; `aliases` are other spellings of them."""

    words: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...] = ()

    def read(self, value: object) -> str:
        """The word."""
        word = dict(self.aliases).get(str(value), str(value))
        if word not in self.words:
            raise ValueError(f"{value!r} is not one of {', '.join(self.words)}{nearest(word, self.words)}")
        return word

    def schema(self) -> dict[str, object]:
        """The words."""
        return {"enum": [*self.words, *(alias for alias, _ in self.aliases)]}

    def describe(self) -> str:
        """The words."""
        return ", ".join(f"``{word}``" for word in self.words)


@frozen
class Truth(Kind):
    """True or false, written as a word."""

    def read(self, value: object) -> bool:
        """The boolean."""
        if isinstance(value, bool):
            return value
        word = value.lower() if isinstance(value, str) else ""
        if word not in TRUE | FALSE:
            raise ValueError(f"{value!r} is neither true nor false")
        return word in TRUE

    def show(self, value: bool) -> str:
        """`true` or `false`."""
        return "true" if value else "false"

    def schema(self) -> dict[str, object]:
        """A boolean, or its word."""
        return {"anyOf": [{"type": "boolean"}, {"enum": sorted(TRUE | FALSE)}]}

    def describe(self) -> str:
        """The words."""
        return "``true`` or ``false``"


@frozen
class Whole(Kind):
    """A whole number from low to high, both included."""

    low: int
    high: int

    def read(self, value: object) -> int:
        """The number."""
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        within(value, self.low, self.high, str(value), f"{self.low} to {self.high}")
        return value

    def schema(self) -> dict[str, object]:
        """An integer with its range, or its digits."""
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": "^[0-9]+$"}]}

    def describe(self) -> str:
        """Its range."""
        return f"whole number, {self.low} to {self.high}"


@frozen
class Real(Kind):
    """A number from low to high, both included."""

    low: float
    high: float

    def read(self, value: object) -> float:
        """The number; NaN is refused as out of range."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"{value!r} is not a number")
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise ValueError(f"{value!r} is not a number") from None
        within(number, self.low, self.high, str(value), f"{plain(self.low)} to {plain(self.high)}")
        return number

    def show(self, value: float) -> str:
        """Its shortest digits."""
        return plain(value)

    def schema(self) -> dict[str, object]:
        """A number with its range, or its digits."""
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": "^[0-9.]+$"}]}

    def describe(self) -> str:
        """Its range."""
        return f"number, {plain(self.low)} to {plain(self.high)}"


@frozen
class Measure(Kind):
    """What durations and sizes share: a number from low to high in a base unit, written with any unit."""

    low: float
    high: float
    bare: int = 1
    """What a number in text without a unit counts in."""

    def read(self, value: object) -> Any:
        """The number in the base unit."""
        amount = self._amount(value)
        within(amount, self.low, self.high, str(value), self._range())
        return amount

    def show(self, value: Any) -> str:
        """In the largest unit that holds it without a fraction."""
        for unit, factor in self._units().items():
            if value and value % factor == 0:
                return f"{value // factor:.0f}{unit}"
        return f"{plain(value)}{list(self._units())[-1]}"

    def native(self, value: Any) -> object:
        """Text with its unit."""
        return self.show(value)

    def schema(self) -> dict[str, object]:
        """A number in the base unit, or text with a unit."""
        number = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{self._pattern().pattern}$"}]}

    def describe(self) -> str:
        """Its range."""
        return f"{type(self).__name__.lower()}, {self._range()}"

    def _units(self) -> dict[str, int]:
        raise NotImplementedError

    def _pattern(self) -> re.Pattern[str]:
        raise NotImplementedError

    def _range(self) -> str:
        return f"{self.show(self.low)} to {self.show(self.high)}"

    def _amount(self, value: object) -> float:
        if not isinstance(value, bool) and isinstance(value, int | float):
            return value
        match = self._pattern().fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{value!r} is not a {self.describe()}")
        number, unit = match.groups()
        factor = self._units()[unit] if unit else self.bare
        return (float(number) if "." in number else int(number)) * factor


@frozen
class Duration(Measure):
    """A time span in seconds: 90, 90s, 5m, 24h, 7d."""

    def read(self, value: object) -> float:
        """Seconds."""
        return float(super().read(value))

    def _units(self) -> dict[str, int]:
        return SECONDS

    def _pattern(self) -> re.Pattern[str]:
        return _DURATION


@frozen
class Size(Measure):
    """A number of bytes: 4096, 64KiB, 100MiB."""

    def read(self, value: object) -> int:
        """Bytes, rounded down."""
        return int(super().read(value))

    def _units(self) -> dict[str, int]:
        return BYTES

    def _pattern(self) -> re.Pattern[str]:
        return _SIZE


@frozen
class Endpoint(Kind):
    """A Twisted server endpoint string. Its plugin judges the rest of it when the node starts."""

    def read(self, value: object) -> str:
        """The string as given."""
        if not isinstance(value, str) or not re.match(r"[A-Za-z0-9_-]+:.", value):
            raise ValueError(f"{value!r} is not an endpoint (such as tcp:8888)")
        return value

    def describe(self) -> str:
        """What it is."""
        return "Twisted endpoint string"


@frozen
class Address(Kind):
    """`host:port` or `[v6]:port`; where `pinned`, also `id@host:port`."""

    pinned: bool = False

    def read(self, value: object) -> str:
        """The address as given."""
        pin, at, rest = value.rpartition("@") if isinstance(value, str) else ("", "", "")
        match = _HOST_PORT.fullmatch(rest)
        if (
            match is None
            or not _is_host(match[1])
            or not 0 < int(match[2]) < 65536
            or (at and not self.pinned)
        ):
            raise ValueError(f"{value!r} is not an address ({self.describe()})")
        if at and not _NODE_ID.fullmatch(pin):
            raise ValueError(f"{value!r} does not begin with a node id (52 characters of a-z and 2-7)")
        return str(value)

    def describe(self) -> str:
        """The forms it may have."""
        return "host:port, [v6]:port" + (" or id@host:port" if self.pinned else "")


def _is_host(host: str) -> bool:
    """What `positron.core.addresses` takes for one as well; the command line cannot wait for that to be imported."""
    is_v6 = host.startswith("[")
    if not is_v6 and not host.rstrip(".").rpartition(".")[2].isdigit():
        return len(host) <= _MAX_HOST
    from ipaddress import IPv4Address, IPv6Address

    try:
        IPv6Address(host[1:-1]) if is_v6 else IPv4Address(host)
    except ValueError:
        return False
    return True


def split_address(address: str) -> tuple[str | None, str, int]:
    """The node id's text (or None), the host without brackets, and the port of an address that was read."""
    pin, at, rest = address.rpartition("@")
    host, _, port = rest.rpartition(":")
    return (pin if at else None), host.strip("[]"), int(port)


def within(value: float, low: float, high: float, shown: str, range_: str) -> None:
    """Raise ValueError unless low <= value <= high; NaN never is."""
    if not low <= value <= high:
        raise ValueError(f"{shown} is not within {range_}")


def plain(value: float) -> str:
    """A number without a trailing `.0`."""
    return str(int(value)) if value == int(value) else repr(value)


def nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean X?` for the word closest to the given one, or nothing."""
    from difflib import get_close_matches  # costs 5 ms, and only a mistake needs it

    close = get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return f"; did you mean {close[0]}?" if close else ""
