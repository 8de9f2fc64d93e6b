"""Identity: which records and identifiers belong to one customer.

Purpose: one customer_id for each person, from names, dates, addresses (Splink) and from identifiers.
Reads: `staging.parties`, `staging.identifiers`, `staging.party_identifiers`, `staging.identifier_pairs`.
Writes: `identity.customer_xref`, `identity.identifier_xref`, `identity.model`, `identity.linkage_report`.
Belongs here: standardising, comparing, resolving, naming customers. Does not belong here: what is known about them (`profile`).
"""
