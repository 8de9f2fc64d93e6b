"""Channels: where the company hears from its customers and speaks to them.

Purpose: one contract per channel (ODCS), read from the data directory: the catalogue of them, how well each is harvested, which sources
no channel covers yet, what each field is good for, and how contracts would have to change to fit what lands.
Reads: `channels/*.yaml`; names and first rows of landing files; staged and canonical tables, `identity`, `profile.overlay_matches`.
Writes: `channels.catalogue`, `.coverage`, `.discovery`, `.field_register`, `.overlay_match_rate`, `.schema_drift`.
Belongs here: what channels there are and how good they are. Does not belong here: loading of extracts (`staging`), whose they are
(`identity`).
"""
