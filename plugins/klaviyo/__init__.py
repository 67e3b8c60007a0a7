"""Klaviyo for Airflow: the connection, the paced client, the hook, and the looks of triggers.

Everything here speaks Klaviyo's JSON:API; what becomes of the profiles is the business of ``pipeline`` and ``include``.
"""
