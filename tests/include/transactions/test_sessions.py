"""Regrouping: whatever the borders of batches, sessions come out whole."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from include.transactions.sessions import whole_sessions


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), max_size=8), st.integers(1, 5), st.integers(0, 20))
def test_sessions_stay_whole_or_come_out_in_pieces(lengths: list[int], batch: int, most_bytes: int) -> None:
    rows = [(f"{session:02d}", str(number)) for session, length in enumerate(lengths) for number in range(length)]
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    columns = [[pa.array(values, pa.large_string()) for values in zip(*part, strict=True)] for part in batches]
    found = [
        (list(zip(*(column.to_pylist() for column in part), strict=True)), too_large)
        for part, too_large in whole_sessions(columns, most_bytes)
    ]
    assert [row for part, _ in found for row in part] == rows
    whole = [{session for session, _ in part} for part, too_large in found if not too_large]
    pieces = {session for part, too_large in found if too_large for session, _ in part}
    assert sum(map(len, whole)) == len(set().union(*whole))
    assert not pieces & set().union(*whole)
    sizes = {f"{session:02d}": 3 * length for session, length in enumerate(lengths)}
    assert all(sizes[session] > most_bytes for session in pieces)
