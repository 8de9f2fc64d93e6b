"""Engagement: campaigns, and later the next contact with each customer.

Purpose: what each campaign did, with an interval, and with an honest refusal where its design cannot tell.
Reads: `staging.campaign_contacts`, `staging.campaign_responses`, `staging.channel_costs`, `identity.identifier_xref`.
Writes: `engagement.evaluation`.
Belongs here: design, choice and evaluation of contacts. Does not belong here: who will respond (`propensity`), what customers are
worth (`value`).
"""
