"""What the sections of a publisher file share: the base class, and types of values with their limits."""

from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Percent = Annotated[float, Field(ge=0, le=100)]
GrowthPercent = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,49}$")]
OnUnknown = Literal["fail", "resend", "assume_sent"]
ConnectionId = Annotated[str, Field(min_length=1, max_length=200, description="Airflow connection id")]
TypeName = Annotated[str, Field(min_length=1, max_length=128)]


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no such time zone; give a name of the IANA database such as Europe/Prague or UTC") from None
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]


class Section(BaseModel):
    """A part of a publisher file; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_word_for_a_number(cls, values: Any) -> Any:
        for key, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(key)
            if isinstance(value, bool) and field and field.annotation is not bool:
                raise ValueError(f"{key}: YAML reads yes, no, on and off as true and false; write a number or quote it")
        return values


class Warehouse(Section):
    """A query through any Airflow connection whose hook is a DbApiHook."""

    connection: str = Field(description="Airflow connection id of the warehouse")
    sql: str = Field(min_length=1, description="SQL text, or a file below include/sql; a Jinja template")
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="rows fetched from the cursor at a time")

    @field_validator("sql")
    @classmethod
    def _strip(cls, value: str) -> str:
        return value.strip()


class Source(Section):
    """Rows from a query of a warehouse, or from files."""

    connection: str | None = Field(None, description="Airflow connection id of the warehouse; goes with sql")
    sql: str | None = Field(None, min_length=1, description="SQL text, or a file below include/sql; a Jinja template")
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="rows fetched from the cursor at a time")
    files: str | None = Field(
        None, min_length=1, description="instead of sql: URI of a file, or of many with * and ?; a Jinja template"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="between the values of CSV files")
    header: bool = Field(True, description="CSV files begin with the names of their columns")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.sql) == bool(self.files):
            raise ValueError("give either connection and sql, or files")
        if bool(self.sql) != bool(self.connection):
            raise ValueError("connection and sql go together")
        return self
