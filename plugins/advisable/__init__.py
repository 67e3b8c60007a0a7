"""Advisable.ai, a second recommender: its client and hook, and the sending of interactions, each exactly once."""
