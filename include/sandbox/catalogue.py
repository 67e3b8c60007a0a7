"""The catalogue: titles and categories of products, from a CSV or Parquet file with columns id, title, category."""

from functools import lru_cache
from pathlib import Path

import duckdb

from include.errors import BadInput
from include.sandbox.database import Database, literal

_NONE = "SELECT NULL::VARCHAR AS id, NULL::VARCHAR AS title, NULL::VARCHAR AS category WHERE false"


class Catalogue:
    """Titles of products; without a catalogue, or for a product that is not in it, ``Product {id}``."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path, self._database = path, database
        self.product = lru_cache(maxsize=10_000)(self._product)

    def replace(self, source: Path) -> int:
        """Take a CSV file (with a header) or a Parquet file as the catalogue; gives the number of products.

        Raises:
            BadInput: the file cannot be read, or the columns ``id`` and ``title`` are not there.
        """
        temporary = self.path.with_suffix(".new")
        try:
            with self._database.connect() as connection:
                count = _copy(connection, source, temporary)
        except duckdb.Error as error:
            first_line = str(error).partition("\n")[0]
            raise BadInput(f"catalogue: needs a CSV or Parquet file with columns id and title: {first_line}") from None
        temporary.replace(self.path)
        self.product.cache_clear()
        return count

    def sql(self) -> str:
        """A query that gives ``id``, ``title`` and ``category`` of all products."""
        return f"SELECT * FROM read_parquet({literal(self.path)})" if self.path.exists() else _NONE

    def count(self) -> int:
        """How many products the catalogue has."""
        with self._database.connect() as connection:
            counted = connection.execute(f"SELECT count(*) FROM ({self.sql()})").fetchone()
        return counted[0] if counted else 0

    def _product(self, product: str) -> tuple[str, str]:
        """Title and category (empty if unknown) of a product."""
        with self._database.connect() as connection:
            found = connection.execute(
                f"SELECT coalesce(title, $name), coalesce(category, '') FROM ({self.sql()}) WHERE id = $id",
                {"id": product, "name": f"Product {product}"},
            ).fetchone()
        return (found[0], found[1]) if found else (f"Product {product}", "")


def _copy(connection: duckdb.DuckDBPyConnection, source: Path, target: Path) -> int:
    with source.open("rb") as handle:
        parquet = handle.read(4) == b"PAR1"
    reader = f"read_parquet({literal(source)})" if parquet else f"read_csv({literal(source)}, all_varchar = true)"
    columns = {row[0] for row in connection.execute(f"DESCRIBE FROM {reader}").fetchall()}
    category = "category" if "category" in columns else "NULL"
    connection.execute(
        f"""COPY (SELECT id::VARCHAR AS id, min({_one_line("title")}) AS title, min({_one_line(category)}) AS category
            FROM {reader} WHERE id IS NOT NULL GROUP BY ALL ORDER BY id)
        TO {literal(target)} (FORMAT parquet)"""
    )
    counted = connection.execute(f"SELECT count(*) FROM read_parquet({literal(target)})").fetchone()
    return counted[0] if counted else 0


def _one_line(column: str) -> str:
    """The batch has one line a user: titles hold no line ends. An empty one is none."""
    return rf"nullif(trim(regexp_replace({column}::VARCHAR, '\s+', ' ', 'g')), '')"
