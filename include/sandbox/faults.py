"""Faults on request: what can go wrong at the vendor's end, played on the real socket.

A fault is asked for by ``POST /_sandbox/faults`` and is used up after ``times`` requests; the standing ones last until
``DELETE /_sandbox/faults``. Faults are forgotten at a restart.
"""

import threading
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.sandbox.clock import Clock

StatusFault = Literal["401", "422", "429", "500", "502", "503"]
SocketFault = Literal["reset_mid_body", "reset_after_store", "slow_read"]
BatchFault = Literal["late_batch", "truncated_batch", "previous_list_batch", "frozen_batch"]
SmartEmailingFault = Literal["error_in_200", "moving_list"]
FaultName = StatusFault | SocketFault | BatchFault | SmartEmailingFault | Literal["skewed_clock"]
STATUS_FAULTS: tuple[str, ...] = get_args(StatusFault)
SOCKET_FAULTS: tuple[str, ...] = get_args(SocketFault)
STANDING_FAULTS = ("frozen_batch", "skewed_clock")
_PATHS = {"truncated_batch": "/batches/", "error_in_200": "/api/v3/", "moving_list": "/api/v3/"}


class Fault(BaseModel):
    """One fault as it was asked for. Times are in seconds."""

    model_config = ConfigDict(extra="forbid")

    fault: FaultName
    times: int | None = Field(1, ge=1, description="how often; null, or a standing fault: until faults are cleared")
    path: str = Field("", description="only requests whose path starts so; default /v1/ (the link has its own faults)")
    retry_after: int | None = Field(None, ge=0, description="Retry-After of 429 (default 1) and 503")
    after_bytes: int | None = Field(None, ge=0, description="reset_mid_body: after so many bytes; default half")
    bytes_per_second: int = Field(1_000_000, ge=1, description="slow_read: the speed of reading")
    seconds: float = Field(30, description="skewed_clock: how far ahead (negative: behind); late_batch: the delay")

    @model_validator(mode="before")
    @classmethod
    def _statuses_may_be_numbers(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("fault"), int):
            return {**content, "fault": str(content["fault"])}
        return content

    @model_validator(mode="after")
    def _fill(self) -> "Fault":
        if self.fault in STANDING_FAULTS:
            self.times = None
        if self.fault == "429" and self.retry_after is None:
            self.retry_after = 1
        if not self.path:
            self.path = _PATHS.get(self.fault, "/v1/")
        return self


class Faults:
    """The faults that are waiting to happen; safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        with self._lock:
            self._waiting.append(fault)
            if fault.fault == "skewed_clock":
                self._clock.skew_seconds = fault.seconds

    def clear(self) -> None:
        """Forget all faults; the clock is right again."""
        with self._lock:
            self._waiting.clear()
            self._clock.skew_seconds = 0.0

    def waiting(self) -> list[Fault]:
        """The faults that will still happen, oldest first, with the times that are left."""
        with self._lock:
            return [fault.model_copy() for fault in self._waiting]

    def find(self, *names: str, path: str | None = None) -> Fault | None:
        """The oldest waiting fault of these names that fits the path, left as it is."""
        with self._lock:
            return self._first(names, path)

    def take(self, *names: str, path: str | None = None) -> Fault | None:
        """As :meth:`find`, and it counts as having happened once."""
        with self._lock:
            fault = self._first(names, path)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.remove(fault)
            return fault

    def _first(self, names: tuple[str, ...], path: str | None) -> Fault | None:
        for fault in self._waiting:
            if fault.fault in names and (path is None or path.startswith(fault.path)):
                return fault
        return None
