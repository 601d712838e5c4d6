"""What we think of a peer, and why.

Two numbers. **First-hand** (D) is what a node's own link earned and lost with us; it alone decides who is a source, who
is heard and who is banned. **Trust** (T) is D moved by at most 0.15 by what others say; it only orders choices that are
otherwise equal. Every change of D is a row, and the rows replay to it (`replay`).

Rule: nothing that comes on the link of one node changes the first-hand score of another. Time is the wall clock handed
in, in Unix seconds, so that downtime counts; a clock that goes back changes nothing. Numbers: docs/security.rst.
"""

from __future__ import annotations

from positron.core.trust.book import (
    DOUBTFUL,
    IGNORED,
    MAX_STATEMENTS,
    Explanation,
    Trust,
)
from positron.core.trust.score import SCALE, checkpoint, replay
from positron.core.trust.table import MAX_BANNED, MAX_KNOWN

__all__ = [
    "DOUBTFUL",
    "IGNORED",
    "MAX_BANNED",
    "MAX_KNOWN",
    "MAX_STATEMENTS",
    "SCALE",
    "Explanation",
    "Trust",
    "checkpoint",
    "replay",
]
