"""Profile: the customer master file.

Purpose: one profile per customer: golden record with the source of each value, and everything that happened, over all channels.
Reads: `staging.*`, `identity.*`, `channels.catalogue`. Writes: `profile.attribute_values`, `profile.customers`, `profile.timeline`,
`profile.attribution_coverage`.
Belongs here: survivorship, timeline, what is known of a customer. Does not belong here: who a record belongs to (`identity`), figures (`metrics`).
"""
