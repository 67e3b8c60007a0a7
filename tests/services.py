"""What tests do where a service of the machine is missing."""

import os
from typing import NoReturn

import pytest


def no_service(what: str) -> NoReturn:
    """Skip; or fail, where ``REQUIRE_SERVICES=1`` says that all services must be there."""
    (pytest.fail if os.environ.get("REQUIRE_SERVICES") == "1" else pytest.skip)(what)
    raise AssertionError
