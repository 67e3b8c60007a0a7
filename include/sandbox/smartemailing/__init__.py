"""SmartEmailing in the sandbox: contacts, custom fields, lists, imports and newsletters below ``/api/v3``.

Everything lies in ``{state}/smartemailing.sqlite``. What the vendor does not document is strict here, so that a
client that relies on it is found out: an unknown parameter or field is refused.
"""
