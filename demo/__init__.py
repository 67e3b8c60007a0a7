"""The demo: a real shop's year through the whole pipeline, on this machine."""
