"""What docker-compose.yaml promises: secrets demanded, none known by default, all watched, limited and restarted."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.compose import FILE, LOCAL, read_compose, read_env
from demo.processes import DemoError
from include.staging import PROJECT_ROOT

EXAMPLE = PROJECT_ROOT / ".env.example"
ONE_SHOT = {"init"}
OWN = {"postgres", "redis", "s3"}
"""Services whose images are others'."""
DEMANDED = {
    "POSTGRES_PASSWORD",
    "LEDGER_PASSWORD",
    "REDIS_PASSWORD",
    "ADMIN_PASSWORD",
    "API_SECRET_KEY",
    "JWT_SECRET",
    "FERNET_KEY",
    "STAGING_URI",
    "LOGS_URI",
    "STORE_CONNECTION",
    "PUBLISHERS_FOLDER",
}
PLAIN = {
    "AIRFLOW_IMAGE",
    "API_ADDRESS",
    "BASE_URL",
    "BROKER_URL",
    "CONNECTIONS_FILE",
    "EXECUTION_API_URL",
    "LEDGER_URL",
    "METADATA_URL",
    "WORKER_CONCURRENCY",
}
"""Variables that may stay out, and keep no secret of their own."""


def services() -> dict[str, dict[str, Any]]:
    """As the file has them, with variables."""
    return dict(yaml.safe_load(FILE.read_text("utf-8"))["services"])


def schema_check(path: Path) -> "subprocess.CompletedProcess[str]":
    """Hold a file against the JSON schema of the Compose specification; a key given twice is refused, too."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_file_follows_the_compose_specification() -> None:
    found = schema_check(FILE)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("init: true", "initt: true", "'initt' was unexpected"),
        ("restart: unless-stopped", "restart: [unless-stopped]", "restart"),
        ("condition: service_healthy", "condition: well", "depends_on"),
        ("name: newsletters\n", "name: newsletters\nname: newsletters\n", "duplicate key"),
    ],
)
def test_what_the_specification_does_not_know_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    bad = tmp_path / "docker-compose.yaml"
    bad.write_text(FILE.read_text("utf-8").replace(old, new), "utf-8")
    found = schema_check(bad)
    assert found.returncode != 0
    assert said in found.stdout


def test_every_variable_is_demanded_or_may_stay_out() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", FILE.read_text("utf-8")))
    assert used == DEMANDED | PLAIN


@pytest.mark.parametrize("name", sorted(DEMANDED))
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_demanded_is_asked_for_by_name(name: str, value: str | None) -> None:
    values = {key: text for key, text in read_env(LOCAL).items() if key != name}
    with pytest.raises(
        DemoError, match=rf"^{name} is not set: \w.*set it in \.env|^{name} is not set: set it in \.env"
    ):
        read_compose(values if value is None else {**values, name: value})


def test_the_example_asks_for_everything_and_gives_nothing_away() -> None:
    found = read_env(EXAMPLE)
    assert found.keys() == DEMANDED
    assert set(found.values()) == {""}
    shown = set(re.findall(r"^# ([A-Z_]+)=", EXAMPLE.read_text("utf-8"), re.MULTILINE))
    assert shown == PLAIN | {"COMPOSE_PROFILES", "STAGING_URI", "LOGS_URI", "STORE_CONNECTION"}


def test_the_file_has_no_password_of_its_own() -> None:
    """With every secret set to a mark, whatever is called a password or key carries a mark."""
    marks = {name: f"MARK{name}" for name in DEMANDED}
    secret = re.compile(r"PASSWORD$|SECRET|FERNET|AUTH$|SQL_ALCHEMY_CONN|BROKER_URL|RESULT_BACKEND|CONN_")
    for service in read_compose(marks).values():
        for name, value in service.environment.items():
            if secret.search(name) and not name.endswith("_CONN_ID"):
                assert "MARK" in value, f"{service.name}: {name}"
        for url in re.findall(r"://[^@\s]*:([^@\s]*)@", repr(service)):
            assert url.startswith("MARK"), service.name


def test_known_passwords_stand_in_the_local_file_alone_and_it_says_so() -> None:
    assert LOCAL.read_text("utf-8").startswith("# LOCAL TRY-OUT ONLY")
    assert read_env(LOCAL)["COMPOSE_PROFILES"] == "sandbox,s3"
    assert "local" in read_env(LOCAL)["POSTGRES_PASSWORD"]
    ignored = (PROJECT_ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {".env", "connections.env"} <= set(ignored)


def test_workers_hold_no_key_to_airflows_database() -> None:
    found = read_compose({**read_env(LOCAL), "POSTGRES_PASSWORD": "METADATA", "JWT_SECRET": "JWT", "FERNET_KEY": "FER"})
    for name in ("worker", "flower"):
        assert not re.search("METADATA|JWT|FER'", repr(found[name].environment)), name
    assert "METADATA" in repr(found["scheduler"].environment)


@pytest.mark.parametrize("name", sorted(services()))
def test_each_service_is_watched_limited_and_restarted(name: str) -> None:
    body = services()[name]
    assert body["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert body["logging"]["options"]["max-size"]
    assert ("healthcheck" in body) != (name in ONE_SHOT)
    assert body["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert re.search(r":[\w{-]*\d+\.\d+", body["image"]), "an image by its version"
    assert name in OWN or body["image"].startswith("${AIRFLOW_IMAGE")


def test_waiting_for_the_cluster_does_not_fail_because_a_one_shot_service_has_ended() -> None:
    """``up --wait`` counts an ended container as failed, unless a service asks for its successful end."""
    asked = {
        name
        for body in services().values()
        for name, how in body.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert asked == {name for name, body in services().items() if body["restart"] == "no"}


def test_what_a_profile_adds_is_not_demanded_without_it() -> None:
    for name, body in services().items():
        for other, how in body.get("depends_on", {}).items():
            assert how.get("required", True) is ("profiles" not in services()[other]), f"{name}: {other}"


def test_workers_are_stopped_before_what_their_tasks_talk_to() -> None:
    """Compose stops in the opposite order of ``depends_on``."""
    content, needed, left = services(), set(), ["worker"]
    while left:
        needed.update(found := content[left.pop()].get("depends_on", {}))
        left.extend(found)
    assert needed == {"init", "api-server", "postgres", "redis", "s3"}


def test_the_image_is_built_by_one_service() -> None:
    """Builds of the same image side by side fail where images are kept by containerd."""
    assert {name for name, body in services().items() if "build" in body} == {"init"}


def test_only_profiles_hold_what_a_shop_does_not_need() -> None:
    found = {name: set(body.get("profiles", [])) for name, body in services().items()}
    extra = {"sandbox": {"sandbox"}, "s3": {"s3"}, "flower": {"flower"}}
    assert {name: profiles for name, profiles in found.items() if profiles} == extra


def test_published_ports_are_on_loopback() -> None:
    for service in services().values():
        for port in service.get("ports", []):
            assert re.match(r"127\.0\.0\.1:|\$\{API_ADDRESS:-127\.0\.0\.1:", port)


def test_each_mounted_folder_and_config_exists() -> None:
    content = yaml.safe_load(FILE.read_text("utf-8"))
    for service in read_compose(read_env(LOCAL)).values():
        for folder in service.mounts.values():
            assert folder.is_dir(), folder
    for body in content["services"].values():
        for volume in body.get("volumes", []):
            if isinstance(volume, dict):
                assert volume["bind"] == {"create_host_path": False}, volume
            else:
                assert volume.split(":")[0] in content["volumes"], volume


def test_pools_are_those_that_the_readme_names() -> None:
    import json

    pools = json.loads(read_compose(read_env(LOCAL))["init"].configs["/opt/airflow/pools.json"])
    named = re.findall(r"airflow pools set (\w+) (\d+)", Path(PROJECT_ROOT / "README.md").read_text("utf-8"))
    assert {name: pool["slots"] for name, pool in pools.items()} == {name: int(slots) for name, slots in named}


def test_the_store_for_trying_out_makes_the_bucket_of_the_local_settings() -> None:
    values, check = read_env(LOCAL), " ".join(services()["s3"]["healthcheck"]["test"])
    assert {values["STAGING_URI"].split("/")[2].partition("@")[2], values["LOGS_URI"].split("/")[2]} == {"newsletters"}
    assert "'http://localhost:9000/newsletters', method='PUT'" in check


def test_the_store_for_trying_out_is_the_one_of_the_tests() -> None:
    pinned = (PROJECT_ROOT / "requirements-dev.txt").read_text("utf-8")
    assert f"\nmoto=={services()['s3']['image'].rpartition(':')[2]}\n" in pinned
