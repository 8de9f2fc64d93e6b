"""Staging: landing files become typed tables; their rows become canonical records.

Purpose: take in every extract, lose nothing, keep what breaks a contract apart with its reason; then one table per record kind.
Reads: `landing/<channel>/*` and the channels' contracts. Writes: `staging.channel_<channel>`, `..._rejected`, `..._superseded`,
`staging.load_manifest`, `staging.clock`, and the canonical tables (`staging.parties`, `staging.orders`, ...).
Belongs here: files, types, versions of records, roles. Does not belong here: who a record belongs to (`identity`).
"""
