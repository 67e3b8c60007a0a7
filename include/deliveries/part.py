"""One part of a platform's delivery: whose it is, where its notes lie, and the names that all rooms here share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import duckdb

from include.engine import open_engine
from include.recommendations import layout
from include.staging import read_json, scratch

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
        return bucket_of(self.confirmed, self.parts, self.number)

    @property
    def notes(self) -> Path:
        """What this batch notes of the part; no other batch writes there."""
        return self.bucket / notes_name(self.name)

    @property
    def sending(self) -> Path:
        """Where it is noted what of the changes was sent; see :func:`sending_of`."""
        return sending_of(self.folder)

    @property
    def name(self) -> str:
        """A file name for the batch, which sorts by its age."""
        return f"{self.order}~{sha256(self.batch.encode()).hexdigest()[:12]}"


def order_of(name: str) -> str:
    """The order in the name of a batch; see ``Part.name``."""
    return name.partition("~")[0]


def folder_name(number: int) -> str:
    """Of the folder of a part."""
    return f"part-{number:03d}"


def bucket_of(confirmed: Path, parts: int, number: int) -> Path:
    """Folder of what was confirmed of a part, of so many."""
    return confirmed / f"of-{parts}" / folder_name(number)


def notes_name(batch: str) -> str:
    """The file of a batch in the folder of what was confirmed of a part."""
    return f"{batch}.parquet"


def sending_of(folder: Path) -> Path:
    """Where it is noted what of a part's changes was sent: of each comparison apart, for rows mean nothing beyond it.

    Raises:
        BadInput: nothing was compared.
    """
    return folder / f"sending-{read_json(folder / COMPARED)['id']}"


def quoted(path: Path) -> str:
    """A path inside an SQL literal."""
    return str(path).replace("'", "''")


@contextmanager
def engine(part: Part) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database that spills near the part's folder."""
    with scratch(part.folder) as work, open_engine(work / "engine", data=part.folder) as database:
        yield database


def copy(database: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    """Write what a query gives as Parquet, in row groups that a reader can hold."""
    database.execute(f"COPY ({query}) TO '{quoted(path)}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)")


def load_listed(database: duckdb.DuckDBPyConnection, part: Part) -> None:
    """Table ``listed``: each recipient of the whole list, with the customer who counts, the first by id."""
    database.execute(
        "CREATE TABLE listed AS SELECT recipient, min(auth_user_id) AS owner FROM read_parquet($files) "
        "GROUP BY recipient",
        {"files": [str(part.recon / layout.RECIPIENTS / layout.part_name(number)) for number in range(part.parts)]},
    )
