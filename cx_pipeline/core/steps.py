"""The rooms in the order of the loop: names only, so that whoever needs the order need not load Dagster."""

STEPS = (
    "channels",
    "staging",
    "identity",
    "profile",
    "metrics",
    "segmentation",
    "retention",
    "value",
    "propensity",
    "lifecycle",
    "engagement",
    "reporting",
)
