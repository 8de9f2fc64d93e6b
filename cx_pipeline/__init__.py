"""cx_pipeline: from raw channel extracts to one profile per customer, the analytics on it and the next contact, every night.

One package per room of the loop (see docs/architecture.md); `definitions.py` is the table of contents, `cli.py` the `cx` command.
"""

__version__ = "0.1.0"
