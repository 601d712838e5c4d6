"""The pure heart: events and time in, actions out.

Rule: nothing in this folder imports Twisted, opens a socket or a thread, reads a clock or draws a random number. Time
is `now`, handed in with each event; chance is the `random.Random` handed in at birth; keys are drawn outside. So the
same code runs in production, in simulations of thousands of nodes and under fuzzers, and one seed replays everything.

The map, from the ground up:

- `identity`    key pair and node id as values
- `envelope`    the signed unit that travels end to end
- `statements`  signed address records and trust statements
- `messages`    everything two neighbours can say
- `records`     what the store keeps
- `events`      what goes in, and what comes out
- `notices`     what the application is told
- `limits`      token buckets and the profiles
- `intervals`   sets of numbers
- `timetable`   when each of many keys is due
- `links`, `context`  what the parts below share
- `sequences`   which (author, epoch, seq) was seen, and delivery in order
- `gossip`      how an envelope spreads: eager push, announce, pull
- `sync`        range-based set reconciliation: what two nodes lack
- `direct`      sealed messages to one node, and their receipts
- `addresses`   the address book
- `overlay`     whom to be linked to
- `trust`       what we think of a peer, and why
- `anti_entropy`  when and with whom sets are reconciled
- `vouching`    asking neighbours what they think of others
- `conduct`     what follows from what a peer did
- `pings`       round trips that the operator asks for
- `snapshots`   what can be seen from outside
- `swarm`       all of it as one state machine: `handle(event, now) -> actions`, and one deadline

The parts (sequences to trust) do not import each other: those below them join them.
"""
