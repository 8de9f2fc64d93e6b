"""Lifecycle: where each customer stands on the way from first sight to advocacy, and how fast that goes.

Purpose: one stage per customer with the rule and the evidence, and what the stage was before.
Reads: `profile.customers`, `profile.features`. Writes: `lifecycle.customers`.
Belongs here: stages, transitions, relationship and engagement levels. Does not belong here: features (`profile`), segments by value
(`segmentation`), probabilities (`propensity`, `retention`).
"""
