"""Pages and pictures for people: the front page, and a page and a picture for each product."""

import asyncio
from html import escape
from string import Template
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from starlette.requests import Request

from include.sandbox.control import state_of
from include.sandbox.parts import Parts
from include.sandbox.pictures import picture

SHOWN_UPLOADS = 15
_STYLE = """
body{font:16px/1.5 system-ui,Helvetica,Arial,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1d2530}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #dfe4ea;vertical-align:top}th{font-weight:600}
code{background:#f1f4f7;padding:.1rem .3rem;border-radius:.25rem}.numbers{display:flex;gap:1rem;flex-wrap:wrap}
.numbers div{background:#f1f4f7;border-radius:.6rem;padding:.8rem 1.2rem;min-width:7rem}
.numbers b{display:block;font-size:1.5rem}img{max-width:100%;border-radius:1rem}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}td,th{border-color:#2c343d}
code,.numbers div{background:#20262d}a{color:#8ab8ff}}"""
_PAGE = Template(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>$title</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">$refresh'
    f"<style>{_STYLE}</style></head><body>$body</body></html>"
)


def page_routes(parts: Parts) -> APIRouter:
    """The front page, the health of the server, and the products."""
    routes = APIRouter()

    @routes.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok", "tracker": parts.settings.tracker}

    @routes.get("/")
    async def front_page() -> HTMLResponse:
        state = await asyncio.to_thread(state_of, parts)
        return HTMLResponse(_front_page(parts, state))

    @routes.get("/products/{name:path}")
    async def product(name: str, request: Request) -> Response:
        number = name.removesuffix(".svg")
        title, category = await asyncio.to_thread(parts.store.catalogue.product, number)
        if number == name:
            return HTMLResponse(_product_page(name, title, category, request.url.path))
        svg = picture(number, title, category)
        return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=3600"})

    return routes


def _product_page(product: str, title: str, category: str, path: str) -> str:
    body = (
        f'<h1>{escape(title)}</h1><p>{escape(category)}</p><img src="{escape(path)}.svg" alt="" width="400">'
        f"<p>Product <code>{escape(product)}</code> of the sandbox's shop.</p>"
    )
    return _PAGE.substitute(title=escape(title), refresh="", body=body)


def _front_page(parts: Parts, state: dict[str, Any]) -> str:
    names = ("users", "transactions", "sessions", "catalogue", "pins")
    counts = {**{name: state[name] for name in names}, "interactions": sum(state["interactions"].values())}
    numbers = "".join(f"<div><b>{count:,}</b>{name}</div>" for name, count in counts.items())
    straddling = state["straddling_sessions"]
    warning = f"<p><b>{straddling:,} sessions lie in more than one file.</b></p>" if straddling else ""
    body = (
        f"<h1>Sandbox of Luigi's Box, tracker {escape(parts.settings.tracker)}</h1>"
        f'<div class="numbers">{numbers}</div>{warning}'
        f"<h2>Batch</h2>{_batch(parts, state['batch'])}"
        f"<h2>Newest uploads</h2>{_uploads(parts)}"
        f"<h2>Waiting faults</h2>{_faults(parts)}"
        '<h2>More</h2><p><a href="/_sandbox/state">state</a> · <a href="/_sandbox/uploads">uploads</a> · '
        '<a href="/_sandbox/requests">requests</a> · <a href="/_sandbox/faults">faults</a></p>'
    )
    return _PAGE.substitute(
        title="Sandbox of Luigi's Box", refresh='<meta http-equiv="refresh" content="5">', body=body
    )


def _batch(parts: Parts, batch: dict[str, Any] | None) -> str:
    if batch is None:
        return "<p>None was published yet: <code>curl -X POST …/_sandbox/publish</code></p>"
    tracker = escape(parts.settings.tracker)
    links = " · ".join(f'<a href="/batches/{tracker}.{form}">{form.upper()}</a>' for form in ("xml", "json"))
    return (
        f"<p>Published at {escape(batch['published_at'])} for {batch['personalised']:,} users, "
        f"as of {escape(batch['today'])}: {links}</p>"
    )


def _uploads(parts: Parts) -> str:
    names = ("received_at", "kind", "bytes", "rows", "state", "reason")
    newest = [list(map(upload.get, names)) for upload in parts.store.uploads()[: -SHOWN_UPLOADS - 1 : -1]]
    return _table(names, newest) if newest else "<p>None.</p>"


def _faults(parts: Parts) -> str:
    waiting = [[fault.fault, fault.times or "until cleared", fault.path] for fault in parts.faults.waiting()]
    return _table(("fault", "times", "path"), waiting) if waiting else "<p>None.</p>"


def _table(names: tuple[str, ...], rows: list[list[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    cells = ("".join(f"<td>{escape(_text(cell))}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in cells)}</table>"


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
