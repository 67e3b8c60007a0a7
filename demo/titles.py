"""Readable product titles from the short upper-case words of a till."""

import re
from typing import Any

_WORDS = {
    "br": "bread",
    "btl": "bottle",
    "carb": "carbonated",
    "crbntd": "carbonated",
    "dan": "danish",
    "dnrs": "dinners",
    "doz": "dozen",
    "drnk": "drink",
    "drnking": "drinking",
    "dz": "dozen",
    "fd": "food",
    "flourscent": "fluorescent",
    "frzn": "frozen",
    "gds": "goods",
    "incl": "including",
    "mneral": "mineral",
    "pkg": "package",
    "pkgd": "packaged",
    "pnt btr": "peanut butter",
    "prep": "prepared",
    "protien": "protein",
    "sald": "salad",
    "saus": "sausage",
    "sft": "soft",
    "sndwch": "sandwich",
    "sngl": "single",
    "sprd": "spread",
    "srv": "serve",
    "sw": "sweet",
    "veg": "vegetable",
    "wate": "water",
    "wt": "weight",
}


def title(product: dict[str, Any]) -> str:
    """``ICE - CRUSHED/CUBED``, ``22 LB``, ``National`` becomes ``Ice — crushed/cubed, 22 lb (National)``.

    Args:
        product: product_type, product_category, department, package_size and brand; any may be None but the last.
    """
    kind, category = product["product_type"], product["product_category"] or product["department"] or "Product"
    name = _words(kind or category)
    if kind and " " not in name and name.rstrip("s") not in _words(category):
        name = f"{_words(category)} — {name}"
    size = f", {_words(product['package_size'])}" if product["package_size"] else ""
    return f"{name[:1].upper()}{name[1:]}{size} ({product['brand']})"


def _words(text: str) -> str:
    text = re.sub(r"\s+", " ", text.strip().lower())
    text = re.sub(r"\s*\([^)]*$", "", text)  # a parenthesis that the till's field cut off
    text = re.sub(r"\s*:\s*| - ?|(?<=[a-z])- ", " — ", text, count=1)
    return re.sub(r"[a-z]+(?: btr\b)?", lambda word: _WORDS.get(word[0], word[0]), text)
