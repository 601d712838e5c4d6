"""What positron costs, measured on this computer: `positron bench`.

- `worker`     one process with one node that does what it is told, line by line
- `counting`   what a worker heard: how much of a run, and how late
- `costs`      what a process has spent: CPU, memory, bytes on the wire
- `processes`  the measuring side's handle on its workers; it knows no Twisted
- `local`      several nodes on loopback: throughput, loss, latency, cost

Rule: figures of one run are compared with each other, never with those of another computer or hour.
"""
