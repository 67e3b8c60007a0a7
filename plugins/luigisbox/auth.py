r"""The one signer: what Luigi's Box calls HMAC authentication.

The signed text is ``METHOD\nCONTENT_TYPE\nDATE\nPATH``; neither the body nor the query is part of it. Luigi's Box
allows the clock 5 seconds, so the date is taken and the request signed at the last moment, anew for each attempt.
"""

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Callable
from email.utils import formatdate
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.auth import AuthBase


def sign(method: str, content_type: str, date: str, path: str, private_key: str) -> str:
    """The digest of one request: HMAC-SHA256 in Base64.

    Args:
        method: ``POST`` and the like, upper case.
        content_type: as sent, for multipart without the boundary.
        date: the ``Date`` header, an HTTP date that ends in ``GMT``.
        path: as it is on the wire, percent-encoded, without the query.
        private_key: the tracker's private key.
    """
    text = f"{method}\n{content_type}\n{date}\n{path}"
    return b64encode(hmac.new(private_key.encode(), text.encode(), hashlib.sha256).digest()).decode()


class LuigisBoxAuth(AuthBase):
    """Signs a ``requests`` request when it is prepared, which is right before it is sent."""

    def __init__(self, public_key: str, private_key: str, clock: Callable[[], float] = time.time) -> None:
        self._public_key = public_key
        self._private_key = private_key
        self._clock = clock

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign one request, now."""
        date = formatdate(self._clock(), usegmt=True)
        content_type = re.sub(r"\s*;\s*boundary=[^;]*", "", _text(request.headers.get("Content-Type", "")))
        path = urlsplit(request.url or "").path or "/"
        digest = sign(request.method or "", content_type, date, path, self._private_key)
        request.headers["Date"] = date
        request.headers["Authorization"] = f"ApiAuth {self._public_key}:{digest}"
        return request

    def __repr__(self) -> str:
        return f"LuigisBoxAuth({self._public_key!r}, …)"


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
