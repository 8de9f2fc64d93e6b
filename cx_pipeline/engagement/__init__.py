"""Engagement: campaigns, requests that wait for an answer, and later the next contact with each customer.

Purpose: what each campaign did, with an interval, and with an honest refusal where its design cannot tell; whether requests of
products were answered in the promised time.
Reads: `staging.campaign_contacts`, `staging.campaign_responses`, `staging.channel_costs`, `staging.usage`, `staging.interactions`,
`staging.promises`, `identity.identifier_xref`, `channels.catalogue`.
Writes: `engagement.evaluation`, `engagement.sensor_requests`.
Belongs here: design, choice and evaluation of contacts. Does not belong here: who will respond (`propensity`), what customers are
worth (`value`).
"""
