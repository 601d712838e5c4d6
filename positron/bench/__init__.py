"""What positron costs, measured on this computer: `positron bench`.

- `local`      several nodes on loopback: throughput, loss, latency, cost
- `micro`      what each step costs, as a ratio to the price of a signature; `primitives` is that price
- `processes`  the measuring side's handle on its workers; it knows no Twisted
- `worker`     one process with one node that does what it is told; `unverified` is one that verifies nothing
- `feeder`     a neighbour of a worker that only feeds it; `lines` is what both of them speak
- `counting`   what a worker heard: how much of a run, and how late
- `costs`      what a process has spent: CPU, memory, bytes on the wire
- `rows`       what it costs to store

Rule: figures of one run are compared with each other, never with those of another computer or hour.
"""
