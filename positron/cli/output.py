"""What a command prints: a table for a terminal, tab-separated text for a pipe, JSON where asked for.

Rules: text of a pipe begins with one header line and is never cut; a terminal shows no control character that a
peer sent; every line is flushed, so that a pipe's reader sees it at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import click

from positron.cli.settings import Settings

SCHEMA = 1
SHORT_ID = 8
BAR = 40
"""Characters of a bar."""


class Column(NamedTuple):
    """One column of a table: the field it shows, and how a terminal shows it (None: only a pipe does)."""

    field: str
    title: str | None = None
    show: Callable[[Any], str] | None = None


def visible(text: str) -> str:
    """`text` with everything unprintable written as an escape: control characters, line ends, text direction."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def plain(value: object) -> str:
    """A value as a field of tab-separated text: JSON, but texts without their quotes and None as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(visible(item) for item in value)
    return visible(json.dumps(value, ensure_ascii=False))


def short(node_id: str) -> str:
    """The beginning of an id, enough to tell peers apart."""
    return node_id[:SHORT_ID]


def span(seconds: float) -> str:
    """A time span for people: 3h 12m."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    shown = [f"{count}{unit}" for count, unit in parts]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(shown[first : first + 2])


def trip(seconds: float | None) -> str:
    """A round trip for people: 2.0 ms."""
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"


def size(count: float) -> str:
    """A number of bytes for people: 1.2 MiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


class ReaderGone(Exception):
    """Whoever read our stdout has closed it. (click would turn the error itself into exit code 1.)"""


class Output:
    """The stdout and stderr of one command."""

    def __init__(self, settings: Settings) -> None:
        self.json = settings.json
        self.quiet = settings.quiet
        self.terminal = not self.json and sys.stdout.isatty()
        self.no_color = settings.no_color or bool(os.environ.get("NO_COLOR"))
        self._headed = False

    def hint(self, text: str) -> None:
        """A line on stderr that is no data."""
        if not self.quiet:
            click.echo(visible(text), err=True)

    def styled(self, text: str, **style: bool) -> str:
        """`text` as a terminal with colours shows it."""
        return text if self.no_color else click.style(text, **style)

    def line(self, text: str) -> None:
        """A line on stdout, out at once."""
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise ReaderGone from None

    def json_line(self, value: Mapping[str, Any]) -> None:
        """One JSON object on one line."""
        self.line(json.dumps(value, ensure_ascii=False) if _is_utf8() else json.dumps(value))

    def row(self, columns: Sequence[str], values: Mapping[str, Any]) -> None:
        """A row of tab-separated text; the first one follows the header."""
        if not self._headed:
            self._headed = True
            self.line("\t".join(columns))
        self.line("\t".join(plain(values.get(column)) for column in columns))

    def object(self, body: Mapping[str, Any]) -> None:
        """One object: in full as JSON, else a row for each of its values, nested names joined with dots."""
        if self.json:
            self.json_line({"schema": SCHEMA, **body})
            return
        pairs = list(_flat({name: value for name, value in body.items() if name != "schema"}))
        if self.terminal:
            self._rich(["", ""], [(name, plain(value)) for name, value in pairs], header=False)
            return
        for name, value in pairs:
            self.row(("name", "value"), {"name": name, "value": value})

    def record(self, body: Mapping[str, Any], fields: Sequence[str]) -> None:
        """One short answer: a JSON object, else one row under its header; a terminal gets `name value` lines."""
        if self.json:
            self.json_line({"schema": SCHEMA, **body})
        elif self.terminal:
            self.object({name: body.get(name) for name in fields})
        else:
            self.row(fields, body)

    def table(self, body: Mapping[str, Any], key: str, columns: Sequence[Column]) -> None:
        """The list `body[key]`, a row each."""
        if self.json:
            self.json_line({"schema": SCHEMA, **body})
            return
        rows = body[key]
        if self.terminal:
            shown = [column for column in columns if column.title]
            heads = [column.title or "" for column in shown]
            self._rich(heads, [[cell(column, row) for column in shown] for row in rows], header=True)
            return
        fields = [column.field for column in columns]
        if not rows:
            self.line("\t".join(fields))
        for row in rows:
            self.row(fields, row)

    def _rich(self, heads: Iterable[str], rows: Iterable[Sequence[str]], header: bool) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=header, pad_edge=False, header_style="bold")
        for title in heads:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console(no_color=self.no_color, highlight=False, emoji=False).print(table)


@contextmanager
def progress_bar(name: str = "") -> Iterator[Callable[[float], None]]:
    """A bar on stderr after `name`, if that is a terminal, gone when it is over; to be told shares from 0 to 1."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return

    drawn = -1

    def draw(share: float) -> None:
        nonlocal drawn
        if int(share * 100) == drawn:
            return
        drawn, filled = int(share * 100), int(share * BAR)
        sys.stderr.write(f"\r{name}[{'#' * filled}{'.' * (BAR - filled)}] {share:4.0%}")
        sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def cell(column: Column, row: Mapping[str, Any]) -> str:
    """A row's value in this column, as a terminal shows it."""
    value = row.get(column.field)
    return visible(column.show(value)) if column.show is not None and value is not None else plain(value)


def _flat(body: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Every value of nested maps under its names joined with dots."""
    for name, value in body.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_utf8() -> bool:
    return (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "") == "utf8"
