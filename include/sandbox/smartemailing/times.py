"""Times as SmartEmailing spells them: no zone, whole seconds."""

from datetime import UTC, datetime

FORMAT = "%Y-%m-%d %H:%M:%S"


def now_text() -> str:
    """Now; the sandbox means UTC by it."""
    return datetime.now(UTC).strftime(FORMAT)
