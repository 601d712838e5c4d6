"""Whom to be linked to: greeting, admission, outbound slots, liveness, and how links end.

- `greeting`    HELLO and WELCOME, refusals, proofs of a secret, one link per node
- `admission`   capacity, who goes when it is full, addresses that misbehave
- `slots`       whom to dial; with `attempts` (one dial, one slot), `choice` (which entry of the book),
                `bootstraps` (named by the operator) and `lost` (good peers whose link broke)
- `discovery`   our own address record, and what we ask and tell of others
- `liveness`    PINGs, suspects, doubt of ourselves
- `clocks`      our wall clock against the peers'
- `judge`       what the overlay asks of trust; `facts`, what others ask of the overlay
- `joined`      `Overlay`, which joins them

Rule: only the overlay changes the state of a link, and every table that knows a link forgets it here when it ends.
"""

from positron.core.overlay.greeting import secret_proof
from positron.core.overlay.joined import Overlay
from positron.core.overlay.judge import Judge

__all__ = ["Judge", "Overlay", "secret_proof"]
