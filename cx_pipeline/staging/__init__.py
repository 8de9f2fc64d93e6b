"""Staging: landing files become typed tables; their rows become canonical records.

Purpose: take in every extract, lose nothing, keep what breaks a contract apart with its reason; then one table per record kind.
Reads: `landing/<channel>/*` and the channels' contracts. Writes: `staging.channel_<channel>`, `..._rejected`, `..._superseded`,
`staging.load_manifest`, `staging.landing_files`, `staging.clock`, the canonical tables (`staging.parties`, `staging.orders`, ...), and
`staging.returns`, each linked to its sale.
Belongs here: files, types, versions of records, roles. Does not belong here: who a record belongs to (`identity`).
"""
