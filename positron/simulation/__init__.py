"""Networks of real cores in virtual time: the same `Swarm` that runs in production, thousands of them, no sockets.

- `world`    nodes, links with latency, loss and partitions, a heap clock
- `kept`     what a node would have on disk
- `checker`  what every run must end with: all delivered, exactly once, none forged

One seed gives one result, byte for byte.
"""
