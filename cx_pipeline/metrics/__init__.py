"""Metrics: the pulse of the company.

Purpose: how many customers there are, how many leave and how many come, by month and year, each rate with its interval.
Reads: `profile.timeline`, `staging.subscriptions`, `identity.identifier_xref`. Writes: `metrics.attrition`, `metrics.acquisition`.
Belongs here: figures of the company by period and segment. Does not belong here: figures of one customer (`profile.features`), forecasts.
"""
