"""A fuzzer of the whole core: a node under siege by hostile peers who hold real keys.

Everything is virtual and comes from one seed, so a failure is a number. `siege` plays, `hostile` and `frames` attack,
`checked` and `tables` watch. A few fixed seeds run with the tests; `make fuzz` tries new ones for as long as wished.
"""
