"""The sandbox: a local stand-in for Luigi's Box that behaves as the documented service does.

``python -m include.sandbox --port 8090 --state DIR`` starts it; :func:`include.sandbox.server.running` starts it
inside a process. It is a real HTTP server: it checks signatures, takes uploads, computes and publishes batches,
and plays faults on request. It knows nothing of the pipeline that talks to it.
"""
