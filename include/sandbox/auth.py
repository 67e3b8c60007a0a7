r"""The vendor's side of signing: is this request signed with the private key, just now, for this tracker?

The string that was signed is ``METHOD\nCONTENT_TYPE\nDATE\nPATH``: the content type of a multipart body stands
without its boundary, the path without the query, and the body is not signed.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from include.sandbox.answers import Refused
from include.sandbox.clock import Clock, http_date
from include.sandbox.settings import Settings

HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")
AUTHORIZATION = re.compile(r"ApiAuth ([^:\s]+):(\S+)")


def digest_of(method: str, content_type: str, date: str, path: str, private_key: str) -> str:
    """The Base64 digest that the vendor expects for these four values."""
    text = f"{method}\n{content_type}\n{date}\n{path}"
    return b64encode(hmac.digest(private_key.encode(), text.encode(), hashlib.sha256)).decode()


def signed_content_type(header: str) -> str:
    """The content type as it is signed: a multipart one without its parameters, any other as it was sent."""
    essence = header.partition(";")[0].strip()
    return essence if essence.lower().startswith("multipart/") else header


def verify(method: str, path: str, headers: dict[str, str], settings: Settings, clock: Clock) -> None:
    """Check key, date and digest of a request; ``path`` is as it was sent, without the query.

    Raises:
        Refused: 401, with the reason.
    """
    match = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        raise _unauthorized("Authorization is missing or not of the form 'ApiAuth <public key>:<digest>'")
    key, digest = match.groups()
    if key not in settings.public_keys:
        raise _unauthorized("the public key in Authorization is not known here")
    date = headers.get("date", "")
    _check_date(date, settings.clock_tolerance, clock.now())
    content_type = signed_content_type(headers.get("content-type", ""))
    expected = digest_of(method, content_type, date, path, settings.private_key)
    if not hmac.compare_digest(expected.encode(), digest.encode("utf-8", "surrogatepass")):
        raise _unauthorized(
            f"the signature does not fit; signed must be {method}\\n{content_type}\\n{date}\\n{path} "
            "with the private key of this tracker"
        )


def _check_date(date: str, tolerance: float, now: datetime) -> None:
    try:
        sent = parsedate_to_datetime(date) if HTTP_DATE.fullmatch(date) else None
    except ValueError:
        sent = None
    if sent is None:
        raise _unauthorized("Date is missing or not an HTTP date that ends in GMT")
    ahead = (sent.astimezone(UTC) - now.replace(microsecond=0)).total_seconds()
    if abs(ahead) > tolerance:
        side = "ahead of" if ahead > 0 else "behind"
        raise _unauthorized(
            f"Date is {abs(ahead):.0f} s {side} this server's clock ({http_date(now)}); allowed are {tolerance:.0f} s"
        )


def _unauthorized(reason: str) -> Refused:
    return Refused(401, reason, headers={"WWW-Authenticate": "ApiAuth"})
