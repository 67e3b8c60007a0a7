"""Past purchases: building whole sessions into size-capped files, and the ledger of what was sent."""
