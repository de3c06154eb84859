"""A provider's own cost export: reading it, and showing it beside the ledger."""
