"""Networks of real cores in virtual time: the same `Swarm` that runs in production, thousands of them, no sockets.

- `world`     nodes, links with latency, loss and partitions, a heap clock
- `latencies` how long links take; `narrow` how much goes through
- `kept`      what a node would have on disk
- `checker`   what every run must end with: all delivered, exactly once, none forged
- `scenario`  what is measured: nodes, messages, links, faults; `running` plays it, `measure` makes figures of its log
- `network`   positron under measurement; `rivals` the others; `compared` all of them behind one surface
- `faults`    how malicious nodes misbehave; `cheap` signatures that cost a microsecond
- `tracing`   the way of one message
- `sweep`     many runs at once, over cores or machines
- `report`    a run as JSON, table, curve, CSV, picture

One seed gives one result, byte for byte (but for the real time that it took).
"""
