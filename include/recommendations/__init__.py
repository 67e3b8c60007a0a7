"""Batches that Luigi's Box published: parsed into parts, judged for freshness, reconciled with the audience."""
