"""Profile: the customer master file.

Purpose: one profile per customer: golden record with the source of each value, and everything that happened, over all channels.
Reads: `staging.*`, `identity.*`, `channels.catalogue`. Writes: `profile.overlay_matches`, `profile.overlay`,
`profile.attribute_values`, `profile.customers`, `profile.timeline`, `profile.attribution_coverage`,
`profile.online_offline_conflicts`, `profile.sessions`, `profile.cart_abandonment`, `profile.social_insight`,
`profile.customer_links`, `profile.product_usage`, `profile.features`.
Belongs here: survivorship, third-party data, timeline, visits, contradictions, features: what is known of a customer, tonight and on
past dates.
Does not belong here: who a record belongs to (`identity`), figures of the company (`metrics`), predictions (the models' rooms).
"""
