"""Topic patterns: a pattern is a topic, or ends in `/#` for a topic and everything below it, or is `#` for all."""

from __future__ import annotations

from positron.core.envelope import BROADCAST
from positron.core.records import EnvelopeKept

EVERYTHING = "#"
BELOW = "/#"


def matches(pattern: str, topic: str) -> bool:
    """Whether `pattern` matches `topic`: `a/#` matches `a` and `a/b`, not `ab`; `#` matches everything."""
    if pattern == EVERYTHING:
        return True
    if not pattern.endswith(BELOW):
        return pattern == topic
    stem = pattern[: -len(BELOW)]
    return topic == stem or topic.startswith(stem + "/")


def bounds(pattern: str) -> tuple[str, str, str]:
    """`pattern`, which is not `#`, as one topic and a half-open range of topics in the order of their UTF-8 bytes."""
    if not pattern.endswith(BELOW):
        return pattern, "", ""
    stem = pattern[: -len(BELOW)]
    return stem, stem + "/", stem + "0"  # "0" follows "/"


def carries(kept: EnvelopeKept, pattern: str) -> bool:
    """Whether this is a broadcast with a topic that `pattern` matches."""
    return kept.kind == BROADCAST and any(matches(pattern, topic) for topic in kept.topics)
