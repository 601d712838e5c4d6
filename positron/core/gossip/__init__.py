"""How an envelope spreads: eager push to those who asked for it, announcements to all others, pulls for the rest.

- `holdings`  what is held, known, refused
- `recents`   what came in the last seconds, in memory
- `state`     what is kept per link
- `sources`   who pushes to whom (GRAFT, PRUNE, heartbeat)
- `flood`     pushing to more links near the author
- `announce`  HAVE at once, in 25 ms, within a second
- `pull`      WANT, MISS, broken promises
- `accept`    the judgement of an envelope, cheapest question first
- `serve`     answering WANT
- `publish`   sealing what the application publishes
- `budgets`   holding back a link that is over its budget
- `spread`    `Gossip`: all of it together

Rule: verify before anything else is done with an envelope, relay the very bytes received, blame the link it came on.
"""

from positron.core.gossip.accept import Verdict
from positron.core.gossip.holdings import Holdings
from positron.core.gossip.recents import Spread
from positron.core.gossip.spread import Gossip
from positron.core.gossip.state import LinkGossip

__all__ = ["Gossip", "Holdings", "LinkGossip", "Spread", "Verdict"]
