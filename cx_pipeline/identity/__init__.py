"""Identity: which records and identifiers belong to one customer.

Purpose: one customer_id for each person, from names, dates, addresses (Splink) and from identifiers.
Reads: `staging.parties`, `staging.identifiers`, `staging.party_identifiers`, `staging.identifier_pairs`, `staging.clock`, the folders
`decisions/` and `labels/`, and its own tables of last night.
Writes: `identity.customer_xref`, `identity.identifier_xref`, `identity.clusters`, `identity.households`, `identity.edges`,
`identity.rejected_edges`, `identity.namespaces`, `identity.ledger`, `identity.aliases`, `identity.customer_history`, `identity.model`,
`identity.linkage_report`, `identity.model_metrics`, `identity.model_versions`; the model `linkage` in `models/`; `warehouse/linkage/`, from
which the next night takes over what did not change.
Belongs here: standardising, comparing, resolving, ids that stay the same. Does not belong here: what is known about customers (`profile`).
"""
