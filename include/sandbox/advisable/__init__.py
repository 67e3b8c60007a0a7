"""Advisable.ai's interactions: a stand-in that stores, lists, deletes and transfers them."""
