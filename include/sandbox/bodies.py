"""The whole body of a request, as long as it is of a reasonable size."""

from starlette.requests import ClientDisconnect, Request

from include.sandbox.answers import ClientGone, Refused


async def body_of(request: Request, limit: int) -> bytes:
    """The body; it is held in memory.

    Raises:
        Refused: 413, it is larger than ``limit`` bytes.
        ClientGone: the connection was closed before the end.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            size += len(piece)
            if size > limit:
                raise Refused(413, f"the body is larger than {limit:,} bytes; nothing was stored")
            pieces.append(piece)
    except ClientDisconnect:
        raise ClientGone from None
    return b"".join(pieces)
