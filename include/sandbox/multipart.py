"""Reading one file out of a ``multipart/form-data`` body that arrives in pieces, without ever holding it.

The documented uploads have exactly one form field, ``file``; anything else is refused. The scan only looks for
the delimiter, so it runs at the speed of ``bytes.find``.
"""

from email.message import Message
from email.parser import HeaderParser

from include.sandbox.answers import Refused

FIELD = "file"
MAX_OPENING = 16_384


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        Refused: 422, the body is not multipart, or the boundary is missing or unusable.
    """
    message = Message()
    message["content-type"] = content_type
    if message.get_content_type() != "multipart/form-data":
        raise Refused(422, f"the body must be multipart/form-data with one field '{FIELD}'")
    boundary = message.get_boundary()
    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise Refused(422, "the Content-Type of the multipart body names no usable boundary")
    return boundary.encode()


class FileField:
    """The one file of a multipart body; feed it pieces, write what it gives back."""

    def __init__(self, boundary: bytes) -> None:
        self.filename: str | None = None
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # so that the first delimiter looks like the others
        self._read = self._opening

    def feed(self, piece: bytes) -> bytes:
        """What of this piece, and of what was held back before, belongs to the file.

        Raises:
            Refused: 422, another field, or a part that cannot be read.
        """
        self._held = self._held + piece if self._held else piece
        return self._read()

    def finish(self) -> None:
        """Check that the closing boundary came.

        Raises:
            Refused: 422, the body ended before it.
        """
        if self._read != self._epilogue:
            raise Refused(422, f"the multipart body ends before a whole field '{FIELD}' and its closing boundary")

    def _opening(self) -> bytes:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            if len(self._held) > MAX_OPENING:
                raise Refused(422, "the headers of the first multipart field are too long")
            return b""
        first, _, headers = self._held[2:end].partition(b"\r\n")
        if first.rstrip(b" \t") != self._delimiter[2:]:
            raise Refused(422, "the multipart body does not start with its boundary")
        self.filename = _filename(headers)
        self._held = self._held[end + 4 :]
        self._read = self._content
        return self._content()

    def _content(self) -> bytes:
        if b"\r" not in self._held:  # the usual file has none, and one byte is found fastest
            content, self._held = self._held, b""
            return content
        end = self._held.find(self._delimiter)
        if end < 0:
            kept = len(self._delimiter) - 1
            content, self._held = self._held[:-kept], self._held[-kept:]
            return content
        content, self._held = self._held[:end], self._held[end + len(self._delimiter) :]
        self._read = self._closing
        self._closing()
        return content

    def _closing(self) -> bytes:
        if len(self._held) >= 2:
            if not self._held.startswith(b"--"):
                raise Refused(422, f"only one form field '{FIELD}' is documented; there is more after it")
            self._read = self._epilogue
            self._epilogue()
        return b""

    def _epilogue(self) -> bytes:
        self._held = b""
        return b""


def _filename(headers: bytes) -> str:
    disposition = HeaderParser().parsestr(headers.decode("utf-8", "replace"))
    name = disposition.get_param("name", header="content-disposition")
    if name != FIELD:
        raise Refused(422, f"the form field must be named '{FIELD}'")
    filename = disposition.get_filename()
    if filename is None:
        raise Refused(422, f"the form field '{FIELD}' must be a file, with a file name")
    return filename
