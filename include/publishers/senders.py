"""What is sent besides the user set: past purchases, pins, and the interactions of a second recommender."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from include.publishers.base import ConnectionId, Name, OnUnknown, Percent, Section, Source, TimeZone

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = dict[ColumnName, Annotated[list[str], Field(min_length=1)]]
TRANSACTION_COLUMNS = ("session_id", "identity", "user_id", "created_at", "quantity")
INTERACTION_COLUMNS = (
    "user_id",
    "item_id",
    "timestamp",
    "recommendation_id",
    "value",
    "price",
    "amount",
    "duration",
)
InteractionType = Literal["purchase", "view", "cart_addition", "bookmark", "rating"]


def _only(known: tuple[str, ...], columns: dict[str, str]) -> dict[str, str]:
    unknown = sorted(columns.keys() - set(known))
    if unknown:
        raise ValueError(f"no such column: {', '.join(unknown)}; known are {', '.join(known)}")
    return columns


class Transactions(Source):
    """Past purchases: columns session_id, identity, user_id, created_at, quantity, one row a bought product."""

    columns: dict[str, ColumnName] = Field(
        default_factory=dict, description="names of columns in the source, where they differ: {session_id: order_no}"
    )
    keep: Patterns = Field(
        default_factory=dict, description="only rows whose column has one of these values (* and ? allowed) are sales"
    )
    drop: Patterns = Field(default_factory=dict, description="rows whose column has one of these values are no sales")
    format: Literal["json", "csv"] = Field("json", description="how files are written and uploaded")
    user_field: Literal["user_id", "auth_user_id"] = Field("user_id", description="name of the third field")
    time_zone: TimeZone = Field("UTC", description="zone of created_at values that carry none")
    max_age_weeks: int | None = Field(52, ge=1, description="sessions older than this are rejected; null: none is")
    sessions: Literal["first_purchase", "as_extracted"] = Field(
        "first_purchase", description="a session belongs to the window of its first purchase, or to the run it came in"
    )
    session_hours: float = Field(24, ge=0, le=744, description="how long a session may last, at most")
    max_file_bytes: int = Field(1_000_000_000, ge=1_000, le=1_000_000_000, description="files are cut below this")
    max_id_bytes: int = Field(255, ge=1, le=65_535)
    float_ids: Literal["reject", "keep"] = Field("reject", description="ids such as 17850.0; keep: they look like that")
    refuse_reject_percent: Percent = Field(
        20, description="more rejects stop the run; what keep, drop and max_age_weeks exclude does not count"
    )
    on_unknown: OnUnknown = Field("fail", description="what to do with a file of which nobody knows whether it arrived")

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str]) -> dict[str, str]:
        return _only(TRANSACTION_COLUMNS, value)


def filter_column(settings: Transactions, name: str) -> str:
    """The name under which a column that ``keep`` or ``drop`` looks at is staged.

    That is our name if it is one of our columns, called as we or as the source calls it; else its own.
    """
    theirs = {source.casefold(): ours for ours, source in settings.columns.items()}
    ours = {own.casefold(): own for own in TRANSACTION_COLUMNS}
    return ours.get(name.casefold()) or theirs.get(name.casefold()) or name


def raw_columns(settings: Transactions) -> tuple[list[str], list[str], dict[str, str]]:
    """What is staged of past purchases.

    Returns:
        Columns that must come (also those that ``keep`` and ``drop`` look at: a rule that sees nothing would let
        everything through), columns that may come, and how they are called in the source, where it differs.
    """
    looked_at = [filter_column(settings, name) for name in (*settings.keep, *settings.drop)]
    required = list(dict.fromkeys((*TRANSACTION_COLUMNS[:2], *looked_at)))
    return required, [name for name in TRANSACTION_COLUMNS if name not in required], settings.columns


class Pins(Source):
    """Pin customizations: one scope a line (NDJSON, as documented), or one pin a row (SQL, CSV, Parquet)."""

    mode: Literal["create", "sync"] = Field("create", description="sync: what is there becomes what is wanted")
    conflict_strategy: Literal["raise", "ignore", "override"] = Field("raise", description="of a bulk creation")
    scopes_per_call: int = Field(5_000, ge=1, le=5_000)
    skip_bad: bool = Field(False, description="scopes that are refused are left out, the others are sent")
    max_calls: int = Field(100, ge=1, le=10_000, description="most calls of a run that only look for refused scopes")
    delete: bool = Field(False, description="sync deletes scopes that are not wanted any more")
    max_deletions: int = Field(100, ge=0, description="a sync that would delete more than this does nothing")
    refuse_reject_percent: Percent = Field(20, description="more rejects among the rows stop the run")


class InteractionSource(Source):
    """Interactions of one type: columns user_id, item_id, timestamp …, one row each."""

    name: Name
    type: InteractionType = Field(description="which interactions these are")
    columns: dict[str, ColumnName] = Field(
        default_factory=dict, description="names of columns in the source, where they differ: {item_id: sku}"
    )
    time_zone: TimeZone = Field("UTC", description="zone of timestamps that are written as dates without one")

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, value: dict[str, str]) -> dict[str, str]:
        return _only(INTERACTION_COLUMNS, value)


class Transfers(Source):
    """Guests who registered: columns from_user_id, to_user_id."""

    how: Literal["transfer", "external_id"] = Field(
        "transfer", description="move the interactions to the other user, or give the user the other id"
    )
    delete_user: bool = Field(True, description="transfer: the user without interactions is deleted")


class Interactions(Section):
    """Interactions for Advisable.ai, a recommender of its own."""

    connection: ConnectionId = "advisable_default"
    sources: list[InteractionSource] = Field(default_factory=list)
    transfers: Transfers | None = None
    concurrency: int = Field(4, ge=1, le=64, description="most requests at the same time")
    requests_per_second: float = Field(10, gt=0, le=1_000)
    max_id_bytes: int = Field(255, ge=1, le=65_535)
    float_ids: Literal["reject", "keep"] = Field("reject", description="ids such as 17850.0; keep: they look like that")
    refuse_reject_percent: Percent = Field(20, description="more rejects among the extracted rows stop the run")
    on_unknown: OnUnknown = Field("fail", description="what to do with interactions whose fate nobody knows")

    @model_validator(mode="after")
    def _something_to_send(self) -> Self:
        names = [source.name for source in self.sources]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two sources are named {', '.join(doubled)}")
        if not self.sources and not self.transfers:
            raise ValueError("give sources, or transfers")
        if "transfers" in names:
            raise ValueError("a source cannot be named transfers: that is what the transfers are called")
        return self

    def source(self, name: str) -> InteractionSource | None:
        """The source of that name, if there is one."""
        return next((source for source in self.sources if source.name == name), None)
