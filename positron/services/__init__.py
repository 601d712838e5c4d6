"""The Twisted services that perform what the core decides.

- `peers`   PeerService: listens, dials, owns the live links
- `gossip`  GossipService: publishes, owns the subscriptions and isolates their exceptions
- `trust`   TrustService: owns the store's records and the operator's verdicts

and what they share: `values` (what applications hold), `payload` (the application's data as bytes), `subscriptions`,
`notices` and `waiting`.

Rule: each feeds its own events to the `step` it was given and performs its own actions; none knows another. `Node`
starts and stops them in order, since a MultiService does not sequence.
"""
