"""Retention: who leaves, when, and why.

Purpose: survival of each customer over 30 to 365 days, median time left, and up to three reasons in words; curves by segment.
Reads: `profile.customers`, `profile.timeline`, `staging.subscriptions`, `identity.identifier_xref`, `metrics.attrition`.
Writes: `retention.model_metrics`, `retention.model_versions`, `retention.customers`, `retention.survival_curves`.
Belongs here: time until a contract ends or a customer falls silent. Does not belong here: how much he will bring (`value`), rates of
whole periods (`metrics.attrition`).
"""
