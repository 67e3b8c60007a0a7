"""The fast XML reader: stretches of whole users, parsed by lxml one mebibyte at a time.

A stretch is cut after ``</user>`` tags and each piece is wrapped in ``<users>`` again. If every piece is
well-formed by itself, so is the whole, and all cuts were between users; if one is not, the cut may have been
inside a comment or CDATA, so anything unusual raises ``Odd`` and the exact reader decides.
"""

import re
from pathlib import Path
from typing import Any

from lxml import etree

from include.recommendations import xml_stream
from include.recommendations.rows import BLANKS, USER_LIMIT, Block, Collector, Odd

END = b"</user>"
PIECE = 1024 * 1024
_HEAD = re.compile(
    rb"""(\xef\xbb\xbf)?(<\?xml\s+version=["']1\.0["'](\s+encoding=["'](utf-8|us-ascii)["'])?"""
    rb"""(\s+standalone=["'](yes|no)["'])?\s*\?>)?\s*<users\s*>""",
    re.IGNORECASE,
)
_TAIL = re.compile(rb"</users\s*>\s*\Z")
_PRODUCT = ["result", "id", "url", "title", "image_link"]
_FIELDS = 4


def content(raw: Path) -> tuple[int, int]:
    """Where the users begin and end, in bytes.

    Raises:
        Odd: the document does not begin or end in the plain way.
    """
    size = raw.stat().st_size
    with raw.open("rb") as handle:
        head = _HEAD.match(handle.read(4096))
        handle.seek(max(0, size - 4096))
        tail = _TAIL.search(handle.read())
        if not head or not tail:
            raise Odd("not the plain beginning and end of a batch")
    return head.end(), max(0, size - 4096) + tail.start()


def border(window: bytes) -> int:
    """The end of the first whole user in ``window``; 0 if none ends there."""
    return window.find(END) + len(END) if END in window else 0


def read(stretch: bytes, sink: Collector) -> None:
    """Read whole users.

    Raises:
        Odd: not well-formed, or not the documented shape.
    """
    start = 0
    while start < len(stretch):
        stop = _cut(stretch, start)
        _read_piece(b"<users>" + stretch[start:stop] + b"</users>", sink)
        start = stop


def _cut(stretch: bytes, start: int) -> int:
    if len(stretch) - start <= PIECE:
        return len(stretch)
    stop = stretch.rfind(END, start, start + PIECE)
    if stop < 0:
        stop = stretch.find(END, start, start + USER_LIMIT)
    if stop < 0:
        raise Odd(f"more than {USER_LIMIT} bytes without a whole user")
    return stop + len(END)


def _read_piece(piece: bytes, sink: Collector) -> None:
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        users = [_user(element) for element in etree.fromstring(piece, parser)]
    except etree.XMLSyntaxError:
        raise Odd("not well-formed by itself") from None
    except (Odd, ValueError):
        xml_stream.read_piece(piece, sink)
    else:
        for user in users:
            sink.add(*user)


def _user(element: Any) -> tuple[str, str | None, list[Block]]:
    """One user in exactly the documented form; anything else is a ValueError or Odd."""
    name, data = element
    *meta, recommendations = data
    _expect(element, "user", name, "auth_user_id")
    _expect(data, "data", recommendations, "recommendations")
    return _leaf(name).strip(BLANKS), _updated_at(*meta), [_block(block) for block in recommendations]


def _expect(parent: Any, tag: str, child: Any, child_tag: str) -> None:
    if parent.tag != tag or child.tag != child_tag:
        raise Odd("an element that is not in the documented shape")


def _leaf(element: Any) -> str:
    if len(element):
        raise Odd("an element inside a field")
    return element.text or ""


def _updated_at(meta: Any = None, *more: Any) -> str | None:
    if meta is None:
        return None
    (moment,) = meta
    _expect(meta, "_metadata", moment, "updated_at")
    if more:
        raise Odd("more elements than documented")
    return _leaf(moment).strip(BLANKS) or None


def _block(block: Any) -> Block:
    kind, results = block
    _expect(block, "recommendation", kind, "recommendation_type")
    _expect(results, "results", kind, "recommendation_type")
    elements = list(results.iterdescendants())
    size = len(results)
    if [element.tag for element in elements] != _PRODUCT * size or sum(map(len, results)) != _FIELDS * size:
        raise Odd("a product with other fields")
    texts = [element.text for element in elements]
    return Block(_leaf(kind).strip(BLANKS), texts[1::5], texts[2::5], texts[3::5], texts[4::5])
