"""Reporting: what analysts and management read.

Purpose: the published snapshot, which readers meet instead of the warehouse's lock.
Reads: every table of every step. Writes: `published/<run>/`, `reporting.published_tables`.
Belongs here: publishing, reports. Does not belong here: figures (`metrics` and the model rooms make them).
"""
