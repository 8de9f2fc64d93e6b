"""Channels: where the company hears from its customers and speaks to them.

Purpose: one contract per channel (ODCS), read from the data directory; the catalogue of them.
Reads: `channels/*.yaml` of the data directory. Writes: `channels.catalogue`.
Belongs here: what channels there are and how good they are. Does not belong here: loading of extracts (`staging`).
"""
