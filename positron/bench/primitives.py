"""The two prices that all others are measured in: to verify one signature, and to make one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from positron.core.identity import Identity, verify

SIZE = 256
"""Bytes that are signed."""
ROUND = 200
"""Signatures in one measurement."""
ROUNDS = 7
"""Measurements, of which the best counts: what disturbs only ever adds."""


def best(seconds: Callable[[], float], rounds: int = ROUNDS) -> float:
    """The least of so many measurements."""
    return min(seconds() for _ in range(rounds))


def prices() -> tuple[float, float]:
    """CPU seconds to verify one signature over `SIZE` bytes, and to make one."""
    signer = Identity(os.urandom(32))
    message = os.urandom(SIZE)
    signature = signer.sign(message)
    return (
        best(lambda: _each(lambda: verify(signer.node_id, message, signature))),
        best(lambda: _each(lambda: signer.sign(message))),
    )


def _each(call: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(ROUND):
        call()
    return (time.process_time() - begun) / ROUND
