"""The sandbox's idea of now: the real time, moved by the fault ``skewed_clock``."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime


class Clock:
    """A clock that can be wrong on purpose."""

    def __init__(self) -> None:
        self.skew_seconds = 0.0

    def now(self) -> datetime:
        """The time in UTC, as this server believes it to be."""
        return datetime.now(UTC) + timedelta(seconds=self.skew_seconds)


def http_date(moment: datetime) -> str:
    """An HTTP date, such as ``Thu, 29 Jun 2017 12:11:16 GMT``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
