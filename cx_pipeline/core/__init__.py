"""Plumbing that knows no step: contracts, warehouse, audits, decorators of assets and checks, settings, errors."""
