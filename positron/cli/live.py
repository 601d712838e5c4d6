"""The live view of `top`: drawn with rich over the whole terminal, anew with each look and each change of its size.

Rule: nothing wraps. What is too wide is cut or left out, what is too long is counted in the last line.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from positron.cli.looking import summary
from positron.cli.output import Column, Output, cell, size
from positron.cli.sampling import Look, Watch
from positron.cli.steering import PEER_COLUMNS

KEY_SECONDS = 0.2
"""How long a change of the terminal's size may go unnoticed."""
GAP = 2
"""Characters between two columns."""
FIXED = 9
"""Lines of a picture besides the head and the rows of peers and topics."""


TEXTS = frozenset({"", "node_id", "address", "direction", "state", "topic"})
"""The columns that are no numbers."""


def _count(number: float) -> str:
    """A count as it is, a rate with as many digits as matter."""
    return f"{number:.1f}" if isinstance(number, float) and number < 1000 else f"{number:.0f}"


PEERS = (
    *PEER_COLUMNS[:6],
    Column("messages_in_per_second", "IN/s", _count),
    Column("messages_out_per_second", "OUT/s", _count),
    Column("bytes_in_per_second", "BYTES IN/s", size),
    Column("bytes_out_per_second", "BYTES OUT/s", size),
)
PEERS_OPTIONAL = (
    "address",
    "trust",
    "messages_out_per_second",
    "messages_in_per_second",
    "direction",
    "state",
    "rtt_seconds",
)
"""What a narrow terminal goes without, in this order."""

TOPICS = (
    Column("topic", "TOPIC"),
    Column("messages_per_second", "MESSAGES/s", _count),
    Column("messages_total", "MESSAGES"),
    Column("subscribers", "SUBSCRIBERS"),
)
TOPICS_OPTIONAL = ("subscribers", "messages_total")

RATES = (
    ("received", "IN", _count),
    ("published", "OWN", _count),
    ("relayed", "RELAYED", _count),
    ("delivered", "DELIVERED", _count),
    ("duplicate", "DUP", _count),
    ("rejected", "REJECTED", _count),
    ("bytes_in", "BYTES IN", size),
    ("bytes_out", "BYTES OUT", size),
)
RATES_OPTIONAL = ("rejected", "duplicate", "published", "relayed", "delivered", "bytes_out", "bytes_in")


def show(watch: Watch, output: Output, count: int | None) -> int:
    """Draw until q, or `count` looks that have rates; the exit code."""
    console = Console(no_color=output.no_color, highlight=False, emoji=False)
    shown, look = 0, watch.look()  # before the screen is taken: without a node there is nothing to draw
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(draw(look, *console.size), refresh=True)
            shown += not look.gone and look.reading["seconds"] is not None
            if shown == count or _wait(watch.pause(), pressed, console, live, look):
                return 0
            look = watch.look()


def _wait(seconds: float, pressed: Callable[[float], str], console: Console, live: Live, look: Look) -> bool:
    """Let the time pass, drawing anew when the terminal changed its size. True if it is to end."""
    end, drawn = time.monotonic() + seconds, console.size
    while (left := end - time.monotonic()) > 0:
        if pressed(min(left, KEY_SECONDS)) in ("q", "Q"):
            return True
        if console.size != drawn:
            drawn = console.size
            live.update(draw(look, *drawn), refresh=True)
    return False


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """What waits so many seconds for a key and returns it, or ''. A stdin that is no terminal has none."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([terminal], [], [], seconds)
        return (os.read(terminal, 1).decode("ascii", "replace") or "q") if ready else ""

    kept = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, kept)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def draw(look: Look, width: int, height: int) -> Group:
    """The whole picture, in a terminal of so many columns and lines."""
    peers, topics = look.reading["peers"], look.reading["topics"]
    head = _head(look, width, max(1, min(height // 3, height - FIXED - 2)))
    for_peers, for_topics = _share(max(2, height - FIXED - len(head)), len(peers), len(topics))
    foot = _foot(look, width, {"peers": (for_peers, len(peers)), "topics": (for_topics, len(topics))})
    blank = Text()
    return Group(
        *head,
        blank,
        _totals(look.reading, width),
        blank,
        _table(PEERS, PEERS_OPTIONAL, peers[:for_peers], width),
        blank,
        _table(TOPICS, TOPICS_OPTIONAL, topics[:for_topics], width),
        foot,
    )


def _share(room: int, peers: int, topics: int) -> tuple[int, int]:
    """How many rows each gets: a third is kept for topics, and what one does not need is the other's."""
    for_topics = min(topics, max(1, room // 3))
    for_peers = min(peers, room - for_topics)
    return for_peers, min(topics, room - for_peers)


def _line(text: str, width: int, style: str = "") -> Text:
    """One line, cut with an ellipsis."""
    line = Text(text, style, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _head(look: Look, width: int, height: int) -> list[Text]:
    """What `status` says, but for the counts that are shown below."""
    lines = {name: text for name, text in summary(look.status).items() if name != "messages"}
    longest = max(map(len, lines))
    return [_line(f"{name:{longest}}  {text}", width) for name, text in lines.items()][:height]


def _foot(look: Look, width: int, shown: Mapping[str, tuple[int, int]]) -> Text:
    """What is not on the picture, and the key to leave; or that the node is gone."""
    if look.gone:
        return _line("the node has stopped: waiting for it (q ends)", width, "bold red")
    cut = [f"{some} of {all_} {name}" for name, (some, all_) in shown.items() if some < all_]
    return _line(", ".join([*cut, "q ends"]), width, "dim")


def _totals(reading: Mapping[str, Any], width: int) -> Table:
    """The node's own rates and totals, as many as the width holds."""
    columns = [Column("", "")] + [Column(name, title, show) for name, title, show in RATES]
    rows = [
        {"": label, **{name: reading[f"{name}_{kind}"] for name, _, _ in RATES}}
        for label, kind in (("a second", "per_second"), ("total", "total"))
    ]
    return _table(columns, RATES_OPTIONAL, rows, width)


def _table(
    columns: Sequence[Column], optional: Sequence[str], rows: Sequence[Mapping[str, Any]], width: int
) -> Table:
    """A table without those of the optional columns for which there is no room; the first takes what is left."""
    cells = {column.field: [column.title or "", *(cell(column, row) for row in rows)] for column in columns}
    widths = {field: max(map(cell_len, texts)) for field, texts in cells.items()}
    for field in optional:
        if sum(widths.values()) + GAP * (len(widths) - 1) <= width:
            break
        del widths[field]
    first, *others = widths
    room = max(1, width - sum(widths[field] + GAP for field in others))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for field in widths:
        table.add_column(
            cells[field][0],
            justify="left" if field in TEXTS else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=room if field == first else None,
        )
    for row in zip(*(cells[field][1:] for field in widths), strict=True):
        table.add_row(*map(Text, row))
    return table
