"""One part of a platform's delivery: whose it is, where its notes lie, and the names that all rooms here share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from include.engine import open_engine
from include.recommendations import layout

OWN, DEFAULT, CLEARED, DEFAULT_SET = "own", "default", "cleared", "default_set"
"""States: products of one's own, the default set instead, nothing left; and the default set's own profile."""
CHANGES, COMPARED, REPEATED = "changes.parquet", "compared.json", "repeated.parquet"
REFUSED, REJECTS, DONE = "refused.parquet", "rejects.parquet", "done.json"
"""Files of a part: what is to be sent, and what became of it."""


@dataclass(frozen=True)
class Part:
    """One part of a delivery.

    Attributes:
        folder: of this part: ``deliveries/{batch}/{delivery}/part-NNN``.
        confirmed: of the delivery: what was confirmed, whatever the batch.
        recon: the batch's ``for-{user set}`` folder.
        number: of the part; ``parts`` is how many there are.
        batch: name of the batch.
        order: sorts batches by age, as text without ``~``; two names of the same order hold the same values.
    """

    folder: Path
    confirmed: Path
    recon: Path
    number: int
    parts: int
    batch: str
    order: str

    @property
    def bucket(self) -> Path:
        """Folder of what was confirmed of this part."""
        return self.confirmed / f"of-{self.parts}" / f"part-{self.number:03d}"

    @property
    def notes(self) -> Path:
        """What this batch notes of the part; no other batch writes there."""
        return self.bucket / f"{self.name}.parquet"

    @property
    def name(self) -> str:
        """A file name for the batch, which sorts by its age."""
        return f"{self.order}~{sha256(self.batch.encode()).hexdigest()[:12]}"


def order_of(path: Path) -> str:
    """The order in the name of a file; see ``Part.name``."""
    return path.name.partition("~")[0]


def quoted(path: Path) -> str:
    """A path inside an SQL literal."""
    return str(path).replace("'", "''")


@contextmanager
def engine(part: Part) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database that spills into the part's folder."""
    with (
        TemporaryDirectory(prefix=".engine-", dir=part.folder) as work,
        open_engine(Path(work) / "engine") as database,
    ):
        yield database


def copy(database: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write what a query gives as Parquet, in row groups that a reader can hold."""
    database.execute(f"COPY ({query}) TO '{quoted(path)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)")


def load_listed(database: duckdb.DuckDBPyConnection, part: Part) -> None:
    """Table ``listed``: each recipient of the whole list, with the customer who counts, the first by id."""
    database.execute(
        f"""
        CREATE TABLE listed AS SELECT recipient, min(auth_user_id) AS owner
        FROM read_parquet('{quoted(part.recon / layout.RECIPIENTS)}/*.parquet') GROUP BY recipient
        """
    )
