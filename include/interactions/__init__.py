"""Interactions for a second recommender: validation of staged rows, and the units that are sent once each."""
