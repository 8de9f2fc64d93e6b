"""Segmentation: customers who behave alike, under one name.

Purpose: recency, frequency and money of each customer as ranks, and a named segment made of them.
Reads: `profile.customers`, `profile.features`. Writes: `segmentation.customers`.
Belongs here: dividing customers by what they did. Does not belong here: predictions of what they will do (`retention`, `propensity`).
"""
