"""What a publisher file may say: pydantic models, errors that name file and key, a JSON schema for editors.

``python -m include.publishers.config`` prints the JSON schema. The meaning of each key is its description here;
``docs/publishers.md`` explains them at length.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from include.errors import ConfigError

Percent = Annotated[float, Field(ge=0, le=100)]
GrowthPercent = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,49}$")]
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


class LuigisBox(Section):
    """How this publisher reaches Luigi's Box."""

    connection: str = Field("luigisbox_default", description="Airflow connection of type luigisbox")


class Warehouse(Section):
    """A query through any Airflow connection whose hook is a DbApiHook."""

    connection: str = Field(description="Airflow connection id of the warehouse")
    sql: str = Field(min_length=1, description="SQL text, or a file below include/sql; a Jinja template")
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="rows fetched from the cursor at a time")

    @field_validator("sql")
    @classmethod
    def _strip(cls, value: str) -> str:
        return value.strip()


class Audience(Warehouse):
    """Who gets recommendations: columns auth_user_id and, if the platform has a key of its own, recipient."""

    partitions: int = Field(1, ge=1, le=100, description="number of mapped tasks that share the query")
    partition_key: str | None = Field(
        None,
        description="integer column of the query whose range is split; without it the SQL itself uses {{ partition }}",
    )
    format: Literal["json", "csv"] = Field("json", description="how chunks are written and uploaded")
    chunk_rows: int = Field(1_000_000, ge=1, description="most users in one staged chunk")
    max_id_bytes: int = Field(255, ge=1, le=65_535, description="longest customer id, in bytes of UTF-8")

    @model_validator(mode="after")
    def _partitioned(self) -> "Audience":
        if self.partitions > 1 and not self.partition_key and self.sql.endswith(".sql"):
            return self  # the file is read later; the extraction refuses a template without {{ partition }}
        if self.partitions > 1 and not self.partition_key and "partition" not in self.sql:
            raise ValueError(
                "partitions > 1 needs partition_key, or SQL that uses {{ partition }} and {{ partitions }}"
            )
        return self


class Guard(Section):
    """When may a new list replace the live one? Shares are of the live list's size, in percent."""

    min_users: int = Field(1, ge=1, description="fewer users than this are refused")
    hold_shrink_percent: Percent = Field(10, description="shrunk by more than this: held")
    refuse_shrink_percent: Percent = Field(50, description="shrunk by more than this: refused")
    hold_grow_percent: GrowthPercent = Field(50, description="grown by more than this: held")
    refuse_grow_percent: GrowthPercent = Field(500, description="grown by more than this: refused")
    hold_churn_percent: Percent = Field(30, description="more of the live list removed, or added, than this: held")
    hold_reject_percent: Percent = Field(1, description="more rejects among the extracted rows: held")
    refuse_reject_percent: Percent = Field(20, description="more rejects among the extracted rows: refused")
    hold_format_percent: Percent = Field(
        20,
        description="the share of an id shape (digits, e-mail, uuid, other) moved by more points than this: held",
    )

    @model_validator(mode="after")
    def _holds_before_it_refuses(self) -> "Guard":
        for what in ("shrink", "grow", "reject"):
            hold, refuse = getattr(self, f"hold_{what}_percent"), getattr(self, f"refuse_{what}_percent")
            if hold > refuse:
                raise ValueError(f"hold_{what}_percent {hold:g} must not be above refuse_{what}_percent {refuse:g}")
        return self


class Transactions(Warehouse):
    """Past purchases: columns session_id, identity, user_id, created_at, one row a bought product."""

    format: Literal["json", "csv"] = Field("json", description="how files are written and uploaded")
    user_field: Literal["user_id", "auth_user_id"] = Field("user_id", description="name of the third field")
    time_zone: TimeZone = Field("UTC", description="zone of created_at values that carry none")
    max_file_bytes: int = Field(1_000_000_000, ge=1_000, le=1_000_000_000, description="files are cut below this")
    max_id_bytes: int = Field(255, ge=1, le=65_535)
    refuse_reject_percent: Percent = Field(20, description="more rejects among the extracted rows stop the run")


class Batch(Section):
    """Where Luigi's Box publishes the batch, and when it counts as fresh."""

    link: str = Field(
        pattern=r"^((https?|file|s3|gs|abfs)://|/)\S+$",
        description="the result link; one that starts with / is on the host of the connection",
    )
    connection: str | None = Field(None, description="Airflow connection (http) for basic, bearer or header auth")
    format: Literal["xml", "json"] = "xml"
    updated_at_time_zone: TimeZone = Field("UTC", description="zone of _metadata/updated_at, which carries none")
    poll_seconds: float = Field(60, ge=0.2, description="pause between two looks, before jitter")
    deadline_minutes: float = Field(360, gt=0, description="how long to wait after the upload was accepted")
    on_deadline: Literal["fail", "use_previous", "default_only"] = Field(
        "fail", description="what to do when the deadline passes without a fresh batch"
    )
    max_age_hours: float | None = Field(
        None,
        gt=0,
        description="of a run on a schedule: a batch older than this before the run's start is stale; "
        "empty: the interval's start counts",
    )
    max_bytes: int = Field(20_000_000_000, ge=1, description="a longer batch is refused")
    parts: int = Field(8, ge=1, le=64, description="how many parts a batch is cut into for the fan-out")
    recommendation_types: dict[TypeName, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict,
        description="expected recommendation types and how many products each should hold",
    )

    @model_validator(mode="after")
    def _link_is_whole(self) -> "Batch":
        if self.link.startswith("/") and not self.connection:
            raise ValueError("link: one that starts with / needs connection, which names the host")
        return self


class Coverage(Section):
    """What the batch must cover; percentages of the uploaded users unless said otherwise."""

    warn_personalised_percent: Percent = Field(20, description="fewer personalised users: a warning")
    fail_personalised_percent: Percent = Field(0, description="fewer personalised users: the run fails")
    warn_unexpected_percent: Percent = Field(0, description="more batch users that were not uploaded: a warning")
    fail_unexpected_percent: Percent = Field(1, description="more batch users that were not uploaded: the run fails")
    warn_slots_filled_percent: Percent = Field(80, description="fewer filled slots in any type: a warning")
    fail_slots_filled_percent: Percent = Field(0, description="fewer filled slots in any type: the run fails")
    fail_missing_recommendation_id_percent: Percent = Field(
        100, description="more products whose url lacks recommendation_id: the run fails"
    )
    require_default_set: bool = Field(True, description="a batch without the default set fails the run")


class Delivery(Section):
    """One thing done with a batch."""

    name: Name
    recommendation_types: list[TypeName] | None = Field(None, description="only these types; all if not given")


class FeedDelivery(Delivery):
    """Files for the newsletter platform: JSON Lines per recipient, and a compact CSV."""

    kind: Literal["feed"]
    use_default_set: bool = Field(True, description="absent recipients get the default set")


class WarehouseDelivery(Delivery):
    """Rows in a table; a batch replaces its own rows, so a retry changes nothing."""

    kind: Literal["warehouse"]
    connection: str
    table: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}$")
    commit_rows: int = Field(5_000, ge=1, le=1_000_000, description="rows sent to the database at a time")


class AssetDelivery(Delivery):
    """The event 'recommendations ready', on which other DAGs can be scheduled."""

    kind: Literal["asset"]


class PythonDelivery(Delivery):
    """A callable of the user's own; it gets one pandas DataFrame per part."""

    kind: Literal["python"]
    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*[.:][A-Za-z_]\w*$", description="package.module.function")


AnyDelivery = Annotated[FeedDelivery | WarehouseDelivery | AssetDelivery | PythonDelivery, Field(discriminator="kind")]


def _cron(text: str) -> str:
    from croniter import croniter

    presets = {"@yearly", "@annually", "@quarterly", "@monthly", "@weekly", "@daily", "@hourly"}
    if text not in presets and not (5 <= len(text.split()) <= 6 and croniter.is_valid(text)):
        raise ValueError(f"must be a cron expression such as '0 4 * * *', or one of {', '.join(sorted(presets))}")
    return text


def _cron_or_upload(text: str) -> str:
    return text if text == AFTER_UPLOAD else _cron(text)


AFTER_UPLOAD = "after_upload"
Cron = Annotated[str, AfterValidator(_cron)]
CronOrUpload = Annotated[str, AfterValidator(_cron_or_upload)]


class Schedules(Section):
    """Cron expressions; without one the DAG runs only when triggered."""

    time_zone: TimeZone = "UTC"
    audience: Cron | None = None
    past_transactions: Cron | None = None
    recommendations: CronOrUpload | None = Field(AFTER_UPLOAD, description="after_upload, a cron expression, or null")


class Publisher(Section):
    """One configured newsletter batch."""

    name: Name
    luigisbox: LuigisBox = Field(default_factory=LuigisBox)
    audience: Audience
    guard: Guard = Field(default_factory=Guard)
    past_transactions: Transactions | None = None
    batch: Batch
    coverage: Coverage = Field(default_factory=Coverage)
    deliveries: list[AnyDelivery] = Field(min_length=1)
    schedule: Schedules = Field(default_factory=Schedules)
    tags: list[str] = Field(default_factory=list, description="more tags for the DAGs of this publisher")

    @model_validator(mode="after")
    def _names_differ(self) -> "Publisher":
        names = [delivery.name for delivery in self.deliveries]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two deliveries are named {', '.join(doubled)}")
        return self

    def delivery(self, name: str) -> AnyDelivery:
        """The delivery of that name.

        Raises:
            ConfigError: there is none.
        """
        for delivery in self.deliveries:
            if delivery.name == name:
                return delivery
        known = ", ".join(delivery.name for delivery in self.deliveries)
        raise ConfigError(f"publisher {self.name}: no delivery {name!r}; known are {known}")


def publishers_folder() -> Path:
    """Where publisher files lie: ``PUBLISHERS_DIR``, by default this folder."""
    return Path(os.environ.get("PUBLISHERS_DIR") or Path(__file__).parent)


def publisher_names() -> list[str]:
    """Names of all publisher files, sorted; cheap, nothing is parsed."""
    return sorted(path.stem for path in publishers_folder().glob("*.yaml"))


def load_publisher(name: str) -> Publisher:
    """Read and check one publisher file.

    Raises:
        ConfigError: no such file, or a mistake in it; the sentence names file, key, what came, what is allowed.
    """
    path = publishers_folder() / f"{name}.yaml"
    if name not in publisher_names():
        known = ", ".join(publisher_names()) or "none"
        raise ConfigError(f"{path}: no such publisher file; known publishers: {known}")
    return _read(path, path.stat().st_mtime_ns)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML itself would drop the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """One mapping of the file."""
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.constructor.ConstructorError(
                "while reading a mapping", node.start_mark, f"the key {twice[0]} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def sound_publishers() -> list[Publisher]:
    """All publishers whose files have no mistake: one shop's typing error must not stop the others' DAGs.

    The mistakes are raised by :func:`check_publishers`.
    """
    sound = []
    for name in publisher_names():
        with suppress(ConfigError):
            sound.append(load_publisher(name))
    return sound


def check_publishers() -> None:
    """Look for mistakes in all files, and for two publishers of one tracker.

    Raises:
        ConfigError: naming all that were found.
    """
    mistakes = []
    for name in publisher_names():
        try:
            check_alone(load_publisher(name))
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def check_alone(publisher: Publisher) -> None:
    """Each upload replaces the tracker's whole list, so no two publishers may share a connection.

    Raises:
        ConfigError: another one has the same.
    """
    connection = publisher.luigisbox.connection
    others = [each.name for each in sound_publishers() if each.luigisbox.connection == connection]
    if len(others) > 1:
        raise ConfigError(
            f"publishers {', '.join(others)}: all have luigisbox.connection {connection}; an upload would replace the "
            "list of the others. Give each a tracker and a connection of its own."
        )


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Publisher:
    try:
        content = yaml.load(path.read_text("utf-8"), _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a mapping of keys, came {type(content).__name__}")
    given = content.get("name", path.stem)
    if given != path.stem:
        raise ConfigError(f"{path}: name: came {given!r}, must be {path.stem!r} as the file (or left out)")
    try:
        return Publisher.model_validate({**content, "name": path.stem})
    except ValidationError as error:
        raise ConfigError(_explain(path, error)) from error


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path}: {error.error_count()} mistake(s)"]
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
        lines.append(f"  {key}: {_sentence(problem)}")
    return "\n".join(lines)


def _sentence(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "missing":
        return "is missing"
    came = re.sub(r"\s+", " ", repr(problem["input"]))
    came = came if len(came) <= 80 else came[:77] + "..."
    if problem["type"] == "extra_forbidden":
        return f"came {came}; no such key here (check the spelling, or see docs/publishers.md)"
    return f"came {came}; {problem['msg']}"


def json_schema() -> dict[str, Any]:
    """The JSON schema of a publisher file, for editors; ``name`` is optional there (the file's name)."""
    schema = Publisher.model_json_schema()
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return schema


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))  # noqa: T201
