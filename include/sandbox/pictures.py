"""Product pictures, drawn: a colour from the category, a shape from the id, the title as text."""

import hashlib
import textwrap
from html import escape

_SHAPES = (
    '<circle cx="200" cy="140" r="84"/>',
    '<rect x="122" y="62" width="156" height="156" rx="30"/>',
    '<path d="M200 48 286 204H114Z" stroke-linejoin="round"/>',
    '<path d="M200 46 284 140 200 234 116 140Z" stroke-linejoin="round"/>',
    '<path d="M152 58H248L296 140 248 222H152L104 140Z" stroke-linejoin="round"/>',
)


def picture(product: str, title: str, category: str) -> str:
    """An SVG document of 400 by 400; the same product always looks the same."""
    seed = hashlib.sha256(product.encode()).digest()
    hue = int.from_bytes(hashlib.sha256((category or product).encode()).digest()[:2]) % 360
    turn = seed[1] % 5 * 9 - 18
    lines = textwrap.wrap(title, 26, max_lines=3, placeholder=" …") or [product[:26]]
    text = "".join(
        f'<text x="200" y="{300 + 27 * row}" class="title">{escape(line)}</text>' for row, line in enumerate(lines)
    )
    initial = next((letter for letter in title if letter.isalnum()), "•").upper()
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400" role="img" '
        f'aria-label="{escape(title)}">'
        "<style>text{font-family:system-ui,Helvetica,Arial,sans-serif;text-anchor:middle}"
        f".title{{font-size:21px;font-weight:600;fill:hsl({hue},45%,18%)}}"
        f".small{{font-size:13px;fill:hsl({hue},25%,38%)}}"
        f".initial{{font-size:84px;font-weight:700;fill:hsl({hue},70%,97%)}}</style>"
        f'<defs><linearGradient id="g" x2="0.4" y2="1"><stop stop-color="hsl({hue},60%,95%)"/>'
        f'<stop offset="1" stop-color="hsl({hue},50%,84%)"/></linearGradient></defs>'
        '<rect width="400" height="400" fill="url(#g)"/>'
        f'<g fill="hsl({hue},52%,{44 + seed[2] % 12}%)" transform="rotate({turn} 200 140)">'
        f"{_SHAPES[seed[0] % len(_SHAPES)]}</g>"
        f'<text x="200" y="170" class="initial">{escape(initial)}</text>{text}'
        f'<text x="200" y="386" class="small">{escape((category or product)[:44])}</text></svg>'
    )
