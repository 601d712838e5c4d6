"""Kinds made of other kinds: lists, values that may be absent, pairs with a slash between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from attrs import frozen

from positron.config.kinds import Kind
from positron.core.limits import Rate


class Share(NamedTuple):
    """A limit for the whole node, `total`, and for each remote address, `per_address`."""

    total: int
    per_address: int


class Inbound(NamedTuple):
    """How many inbound links one remote address and one network group may have."""

    per_address: int
    per_group: int


@frozen
class Many(Kind):
    """Any number of values of one kind: repeated flags, comma-separated text, or a list. Held as a tuple."""

    each: Kind

    def read(self, value: object) -> tuple[Any, ...]:
        """The values, in order, without repetitions."""
        if isinstance(value, str):
            value = [part for part in map(str.strip, value.split(",")) if part]
        if not isinstance(value, Iterable):
            raise ValueError(f"{value!r} is not a list")
        return tuple(dict.fromkeys(self.each.read(one) for one in value))

    def show(self, value: tuple[Any, ...]) -> str:
        """The values between commas."""
        return ",".join(map(self.each.show, value))

    def native(self, value: tuple[Any, ...]) -> object:
        """A list."""
        return [self.each.native(one) for one in value]

    def schema(self) -> dict[str, object]:
        """An array, or comma-separated text."""
        return {"anyOf": [{"type": "array", "items": self.each.schema()}, {"type": "string"}]}

    def describe(self) -> str:
        """What each value may be."""
        return f"list; each {self.each.describe()}"


@frozen
class Maybe(Kind):
    """A value of one kind, or None, which is written as `word`."""

    kind: Kind
    word: str = "none"
    also: str = "none"
    """Another spelling of the word."""

    def read(self, value: object) -> Any:
        """The value, or None."""
        return None if value in (None, self.word, self.also) else self.kind.read(value)

    def show(self, value: Any) -> str:
        """The value, or the word for none."""
        return self.word if value is None else self.kind.show(value)

    def native(self, value: Any) -> object:
        """The value, or the word for none."""
        return self.word if value is None else self.kind.native(value)

    def schema(self) -> dict[str, object]:
        """The kind's schema, or the word, or null."""
        return {"anyOf": [self.kind.schema(), {"enum": [self.word, None]}]}

    def describe(self) -> str:
        """The kind, and the word."""
        return f"{self.kind.describe()}, or ``{self.word}``"


@frozen
class Pair(Kind):
    """Two numbers with a slash between them, `200/800`; a single number counts for both. Held as a `form`."""

    form: type[Rate] | type[Share] | type[Inbound]
    each: Kind

    def read(self, value: object) -> Any:
        """The pair: text is split at its slash, a tuple is taken as it is."""
        parts: list[object]
        if isinstance(value, str):
            parts = [part.strip() for part in value.split("/")]
        else:
            parts = list(value) if isinstance(value, tuple | list) else [value]
        if len(parts) == 1:
            parts *= 2
        if len(parts) != 2:
            raise ValueError(f"{value!r} is not two values with a slash between them")
        first, second = map(self.each.read, parts)
        if self.form is Rate and second < first:
            raise ValueError(f"{value!r} has a burst below its rate")
        return self.form(first, second)

    def show(self, value: Any) -> str:
        """The two numbers and the slash; one number for a rate whose burst is one second's worth."""
        first, second = map(self.each.show, value)
        return first if first == second and self.form is Rate else f"{first}/{second}"

    def native(self, value: Any) -> object:
        """Text, as `show`."""
        return self.show(value)

    def schema(self) -> dict[str, object]:
        """Text with a slash, one number, or a list of two."""
        pair = {"type": "array", "items": self.each.schema(), "minItems": 2, "maxItems": 2}
        text = {"type": "string", "pattern": "^[^/]+(/[^/]+)?$"}
        return {"anyOf": [text, {"type": "number"}, pair]}

    def describe(self) -> str:
        """What the two numbers are, and what each may be."""
        names = "/".join(name.replace("_", " ") for name in self.form._fields)
        return f"{names}; each {self.each.describe()}"
