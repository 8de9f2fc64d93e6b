"""Propensity: how probable it is that a customer does something.

Purpose: calibrated probabilities of buying within a horizon and of responding to a campaign, with reasons in words, each model beside
a naive rule and refused where it is not better.
Reads: `profile.features`, `staging.orders`, `staging.order_lines`, `staging.campaign_contacts`, `staging.campaign_responses`,
`identity.identifier_xref`. Writes: `propensity.scores`, `propensity.model_versions`, `propensity.model_metrics`, `propensity.calibration`.
Belongs here: labels, models of yes or no, their evaluation, drivers. Does not belong here: features of all rooms (`profile`), survival
(`retention`), money (`value`), who gets a message (`engagement`).
"""
