"""Simulate: a seeded company whose every fact is known, to try the whole pipeline on.

Purpose: people, households and organisations, what channels know and get wrong about them, how they behave, from known parameters.
Reads: nothing but its arguments; with `--respond` the contact plan of the last published run and its own truth.
Writes: contracts, extracts and settings of a data directory, and `truth/` beside them, which no step ever reads.
Belongs here: inventing, corrupting, writing extracts. Does not belong here: anything a step computes; no room imports this one.
"""
