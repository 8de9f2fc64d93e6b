"""Reporting: what analysts and management read.

Purpose: the published snapshot, which readers meet instead of the warehouse's lock; the scorecard; the report page.
Reads: every table of every step. Writes: `published/<run>/`, `reports/<run>/`, `reporting.scorecard`, `reporting.published_tables`,
`reporting.report_pages`.
Belongs here: publishing, the choice of figures and charts that everyone sees. Does not belong here: how a figure is made (`metrics`
and the model rooms make them).
"""
