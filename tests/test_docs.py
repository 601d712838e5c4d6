"""The pages that promise something, held together with the code that keeps it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from positron.core import envelope, messages, statements
from positron.core.context import Parameters
from positron.core.gossip import pull
from positron.core.limits import KIB, PROFILES, Rate
from positron.core.overlay.greeting import SECRET_TAG
from positron.core.sync import ranges
from positron.core.trust import book, opinion, score
from positron.transport import frames, tls

DOCS = Path(__file__).parent.parent / "docs"
PROFILE_NAMES = ("wan", "lan", "local")


def page(name: str) -> str:
    """The text of docs/`name`.rst."""
    return (DOCS / f"{name}.rst").read_text()


def rows(text: str) -> list[list[str]]:
    """The cells of every list-table row in `text`, each cell on one line."""
    found = []
    for row in re.findall(r"^   \* - .*\n(?:(?:     .*)?\n)*", text, re.MULTILINE):
        cells = re.split(r"\n     - ", row.removeprefix("   * - "))
        found.append([" ".join(cell.split()) for cell in cells])
    return found


def table(text: str) -> dict[str, list[str]]:
    """The rows of `text` by their first cell, its literal alone where it begins with one."""
    keyed = {}
    for first, *rest in rows(text):
        literal = re.match(r"``([^`]+)``", first)
        keyed[literal.group(1) if literal else first] = rest
    return keyed


def section(text: str, title: str) -> str:
    """What stands under `title`, up to the next title of any level."""
    after = text.split(f"\n{title}\n", 1)[1].split("\n", 1)[1]
    return re.split(r"\n[^\n]+\n[-.]{4,}\n", after, maxsplit=1)[0]


def wire_name(cls: type) -> str:
    """PeersGet as PEERS_GET."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()


class ProtocolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = page("protocol")

    def test_messages(self) -> None:
        """Every message has its row, with its tag and the fields in order; optional ones are in brackets."""
        listed = table(section(self.text, "Messages"))
        self.assertEqual(set(listed) - {"name"}, {wire_name(cls) for cls in messages.BY_TAG.values()})
        for tag, cls in messages.BY_TAG.items():
            written = listed[wire_name(cls)]
            names = [field.name for field in fields(cls)]
            optional = [f.name for f in fields(cls) if f.default.__class__.__name__ != "_Nothing"]
            self.assertEqual(written[0], str(tag))
            self.assertEqual(re.findall(r"``([a-z_]+)``", written[1]), names, cls)
            self.assertEqual(re.findall(r"\[``([a-z_]+)``", written[1]), optional, cls)

    def test_sizes_in_rows(self) -> None:
        """The sizes that rows name are those of the code."""
        listed = table(section(self.text, "Messages"))
        span = f"{envelope.MIN_ENVELOPE}-{envelope.MAX_ENVELOPE}"
        self.assertIn(span, listed["PUSH"][1])
        self.assertEqual(listed["EVIDENCE"][1].count(span), 2)
        for name in ("WELCOME", "PEERS", "PRUNE"):
            self.assertIn(f"64-{messages.MAX_RECORD}", listed[name][1])
        self.assertIn(f"{messages.MAX_IDS} ids", listed["HAVE"][1])

    def test_reasons(self) -> None:
        """Every word has its meaning, and no other word is there."""
        words = messages.REJECTIONS + messages.REFUSALS + messages.GOODBYES
        listed = [cells[0].strip("`") for cells in rows(section(self.text, "Reasons"))]
        heads = {"rejection", "refusal in WELCOME", "reason of GOODBYE"}
        self.assertEqual(sorted(word for word in listed if word not in heads), sorted(words))

    def test_envelope(self) -> None:
        """The layout's offsets and sizes follow from each other and end where the header ends."""
        layout = rows(section(self.text, "Envelope"))[1:]
        offset = 0
        for cells in layout[:9]:
            self.assertEqual(int(cells[0]), offset, cells)
            offset += int(cells[1])
        self.assertEqual(offset, envelope.HEADER_SIZE)
        self.assertEqual(layout[9][:3], [str(offset), "32", "recipient"])
        with_recipient = offset + envelope.RECIPIENT_SIZE
        self.assertIn(f"The header is {offset} bytes, {with_recipient} with a recipient", self.text)
        sizes = f"An envelope is {envelope.MIN_ENVELOPE} to {envelope.MAX_ENVELOPE} bytes"
        self.assertIn(sizes, self.text)

    def test_constants(self) -> None:
        """The numbers every node shares."""
        listed = [int(cells[1]) for cells in rows(section(self.text, "Constants"))[1:]]
        expected = [
            frames.MAX_FRAME,
            envelope.MAX_PAYLOAD,
            envelope.MAX_BODY,
            envelope.MAX_BUNDLE,
            envelope.MAX_TOPIC,
            envelope.MAX_TTL,
            envelope.MAX_LIFETIME_MS,
            envelope.MAX_FUTURE_MS,
            messages.MAX_IDS,
            messages.MAX_RECORD,
            ranges.MAX_MESSAGE,
            ranges.MAX_RANGES,
        ]
        self.assertEqual(listed, expected)

    def test_tags_and_labels(self) -> None:
        """Every domain tag, and the two names of the channel."""
        tags = (
            envelope.SIGNATURE_TAG,
            envelope.ID_TAG,
            statements.ADDRESS_TAG,
            statements.VOUCH_TAG,
            SECRET_TAG,
        )
        listed = re.findall(r"^- ``(positron/[^`]+)``", self.text, re.MULTILINE)
        self.assertEqual([tag.decode().replace("\0", r"\0") for tag in tags], listed)
        for name in (tls.ALPN, tls.BINDING_LABEL):
            self.assertIn(f"``{name.decode()}``", self.text)

    def test_modes(self) -> None:
        """The modes of a range by number."""
        listed = {cells[1].strip("`"): cells[0] for cells in rows(section(self.text, "Reconciliation"))[1:]}
        modes = {name: str(getattr(ranges, name)) for name in ("SKIP", "FINGERPRINT", "LIST", "HAVE")}
        self.assertEqual(listed, modes)


class SecurityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = page("security")

    def test_every_message_is_covered(self) -> None:
        """What signs it is said of each message there is."""
        listed = table(section(self.text, "What signs what"))
        self.assertEqual(set(listed) - {"message"}, {wire_name(cls) for cls in messages.BY_TAG.values()})

    def test_limits(self) -> None:
        """Every limit of every profile, with its numbers."""
        listed = table(section(self.text, "Limits"))
        sizes = {"bytes", "history", "direct_bytes", "held_bytes", "held_bytes_all"}
        names = [f.name for f in fields(type(PROFILES["wan"])) if not f.name.endswith("_burst")]
        self.assertEqual(set(listed) - {"limit"}, set(names))
        for name in names:
            unit = KIB if name in sizes else 1
            for column, profile in enumerate(PROFILE_NAMES):
                written = listed[name][column]
                self.assertEqual(written, self.written(getattr(PROFILES[profile], name), unit), name)

    def written(self, value: Rate | float | None, unit: int) -> str:
        """A limit as the page writes it."""
        if value is None:
            return "none"
        if isinstance(value, Rate):
            return f"{value.rate / unit:g} ({value.burst / unit:g})".replace("e+06", "000000")
        return f"{value / unit:g}"

    def test_trust(self) -> None:
        """The numbers of trust, in the order of the page."""
        listed = [float(cells[1]) for cells in rows(section(self.text, "Trust"))[1:]]
        chosen = Parameters()
        expected = [
            chosen.trust_baseline,
            chosen.trust_gain,
            score.WINDOW_GAIN / score.SCALE,
            score.WINDOW_GAIN_AUTHOR / score.SCALE,
            chosen.trust_penalty,
            score.PROMISE_GAP,
            score.HALF_LIFE_ABOVE / 3600,
            score.HALF_LIFE_BELOW / 3600,
            book.DOUBTFUL / score.SCALE,
            book.IGNORED / score.SCALE,
            pull.BROKEN_MAX,
            pull.IGNORED_SECONDS,
            chosen.trust_ban,
            score.BAN_FIRST / 60,
            score.BAN_LONGEST / 3600,
            book.OPINION_SHARE / score.SCALE,
            book.OPINION_LIMIT / score.SCALE,
            opinion.FULL_AGE / 3600,
        ]
        self.assertEqual(listed, expected)


class GuaranteeTests(SynchronousTestCase):
    def test_every_promise_has_its_test(self) -> None:
        """The tests that the page names exist, under these names."""
        promises = rows(page("guarantees"))[1:]
        self.assertGreater(len(promises), 20)
        for promise, named in promises:
            module, case, method = named.strip("`").rsplit(".", 2)
            self.assertIn(method, self.methods(module, case), promise)

    def methods(self, module: str, case: str) -> set[str]:
        """The tests of a case, read and not imported: those of real processes run from their own folder."""
        source = (DOCS.parent / module.replace(".", "/")).with_suffix(".py").read_text()
        cases = [
            node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == case
        ]
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        return {
            node.name
            for found in cases
            for node in found.body
            if isinstance(node, functions) and node.name.startswith("test_")
        }


class IndexTests(SynchronousTestCase):
    def test_pages_are_reachable(self) -> None:
        """The pages checked here are in the table of contents."""
        listed = page("index").split()
        for name in ("guarantees", "security", "protocol", "glossary"):
            self.assertIn(name, listed)
