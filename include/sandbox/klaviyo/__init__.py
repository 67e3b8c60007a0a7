"""The Klaviyo part of the sandbox: profiles, lists, segments, import jobs, campaigns; its limits and errors.

``app`` has the routes, mounted at ``/api``; state lies in one SQLite file. Shapes and limits are those of the vendor's
documentation; its own client (``klaviyo-api``) works against it unchanged.
"""
