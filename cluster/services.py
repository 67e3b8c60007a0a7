"""What of this machine the cluster uses: databases of Postgres, and a numbered one of Redis, all of its own."""

from collections.abc import Iterable
from contextlib import closing

from demo.processes import DemoError

POSTGRES_ADDRESS = "postgresql://postgres@127.0.0.1:5432"


def fresh_databases(names: Iterable[str]) -> None:
    """Make empty databases, whatever was in those of these names; each begins with ``newsletters_``.

    Raises:
        DemoError: Postgres does not answer, or a name is another's.
    """
    names = [own(name) for name in names]
    drop_databases(names)
    _on_postgres(f'CREATE DATABASE "{name}"' for name in names)


def drop_databases(names: Iterable[str]) -> None:
    """Remove databases.

    Raises:
        DemoError: as of :func:`fresh_databases`.
    """
    _on_postgres(f'DROP DATABASE IF EXISTS "{own(name)}" WITH (FORCE)' for name in names)


def own(name: str) -> str:
    """The name, if it is one that the cluster may make and remove.

    Raises:
        DemoError: it is not.
    """
    if not name.startswith("newsletters_") or not name.isidentifier():
        raise DemoError(f"{name!r} is not a database of the cluster: those begin with newsletters_")
    return name


def _on_postgres(statements: Iterable[str]) -> None:
    import psycopg2

    try:
        with closing(psycopg2.connect(f"{POSTGRES_ADDRESS}/postgres?connect_timeout=5")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
    except psycopg2.OperationalError as error:
        raise DemoError(f"no Postgres at 127.0.0.1:5432 for the user postgres without a password: {error}") from error


def empty_queue(broker: str) -> None:
    """Forget what waits in a numbered database of Redis.

    Args:
        broker: its URL, without a password.

    Raises:
        DemoError: Redis does not answer.
    """
    import redis

    try:
        with closing(redis.Redis.from_url(broker)) as connection:
            connection.flushdb()
    except redis.RedisError as error:
        raise DemoError(f"no Redis at {broker}: {error}") from error
