"""Value: what each customer will order and be worth.

Purpose: customer lifetime value over several horizons, with interval, method, and the proof out of time that it beats naive rules.
Reads: `profile.customers`, `profile.timeline`, `staging.clock`. Writes: `value.model_metrics`, `value.model_versions`,
`value.customers`.
Belongs here: models of orders and money to come. Does not belong here: what customers earned us so far (`metrics`), who leaves
(`retention`).
"""
