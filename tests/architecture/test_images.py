"""The container image and the compose file: structure that can be checked without an engine."""

import re
from typing import Any

import pytest
import yaml

from app.settings import Settings
from tests.architecture.source import PROJECT

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)", DOCKERFILE, re.MULTILINE)
VARIABLES = {f"GANTRY_{name.upper()}" for name in Settings.model_fields}
PUBLISHED_SECRETS = ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY")


def instructions(name: str) -> list[str]:
    return [text for instruction, text in INSTRUCTIONS if instruction == name]


def environment(service: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[service].get("environment", {})
    return found


def default_of(text: str) -> str:
    """What compose makes of a value when no variable is set."""
    return re.sub(r"\$\{[A-Z0-9_]+(?::-([^}]*))?\}", lambda match: match[1] or "", text)


def test_the_services_are_the_server_a_database_and_an_object_store() -> None:
    assert set(SERVICES) == {"gantry", "database", "objects"}
    assert SERVICES["database"]["image"] == "postgres:17"
    assert "minio" not in SERVICES["objects"]["image"]


def test_images_of_others_are_pinned() -> None:
    for service in ("database", "objects"):
        tag = SERVICES[service]["image"].partition(":")[2]
        assert re.search(r"\d", tag), f"{service} is not pinned"


def test_the_server_waits_until_the_others_are_healthy() -> None:
    waits = SERVICES["gantry"]["depends_on"]
    assert waits == {name: {"condition": "service_healthy"} for name in ("database", "objects")}
    for name in waits:
        check = SERVICES[name]["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert check["retries"] >= 3
    # The server's own check comes with its image.
    assert instructions("HEALTHCHECK")


def test_every_named_volume_is_declared_and_every_declared_one_used() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith((".", "/"))}
    assert named == set(COMPOSE["volumes"])
    for mount in mounts:
        source = mount.partition(":")[0]
        if source.startswith("."):
            assert (PROJECT / source).is_file()


@pytest.mark.parametrize("where", ["compose", "Dockerfile"])
def test_variables_are_settings_that_exist(where: str) -> None:
    if where == "compose":
        names = {name for name in environment("gantry") if name.startswith("GANTRY_")}
    else:
        names = set(re.findall(r"\b(GANTRY_[A-Z_]+)=", "\n".join(instructions("ENV"))))
    assert names
    assert names - VARIABLES == set()


def test_default_settings_of_compose_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("gantry").items():
        monkeypatch.setenv(name, default_of(value))
    settings = Settings()
    assert settings.effective_database_url.startswith("postgresql://gantry:")
    assert settings.effective_blob_url == "s3://gantry"


def test_server_and_object_store_share_bucket_key_and_region() -> None:
    server, store = environment("gantry"), environment("objects")
    assert server["AWS_ACCESS_KEY_ID"] == store["GARAGE_DEFAULT_ACCESS_KEY"]
    assert server["AWS_SECRET_ACCESS_KEY"] == store["GARAGE_DEFAULT_SECRET_KEY"]
    assert server["GANTRY_BLOB_URL"] == f"s3://{store['GARAGE_DEFAULT_BUCKET']}"
    configuration = (PROJECT / "docker" / "garage.toml").read_text()
    assert f's3_region = "{server["AWS_REGION"]}"' in configuration
    assert 'api_bind_addr = "[::]:3900"' in configuration
    assert server["AWS_ENDPOINT_URL"] == "http://objects:3900"
    # Garage takes keys of this form only.
    assert re.fullmatch(r"GK[0-9a-f]{24}", default_of(store["GARAGE_DEFAULT_ACCESS_KEY"]))
    assert re.fullmatch(r"[0-9a-f]{64}", default_of(store["GARAGE_DEFAULT_SECRET_KEY"]))


def test_server_and_database_share_their_password() -> None:
    password = environment("database")["POSTGRES_PASSWORD"]
    assert f":{password}@database:5432/gantry" in environment("gantry")["GANTRY_DATABASE_URL"]


def test_only_this_machine_reaches_a_server_with_well_known_secrets() -> None:
    (port,) = SERVICES["gantry"]["ports"]
    assert default_of(port) == "127.0.0.1:8080:8080"
    assert not any("ports" in SERVICES[service] for service in ("database", "objects"))
    guards = COMPOSE["x-secrets"]["published-with-own-secrets"]
    for secret, guard in zip(PUBLISHED_SECRETS, guards, strict=True):
        assert guard.startswith("${GANTRY_PUBLISH:+${" + secret + ":?")


def test_the_server_runs_with_few_rights() -> None:
    assert SERVICES["gantry"]["read_only"] is True
    assert SERVICES["gantry"]["cap_drop"] == ["ALL"]
    user = instructions("USER")
    assert user == ["gantry"]
    last = [name for name, _ in INSTRUCTIONS].index("USER")
    assert [name for name, _ in INSTRUCTIONS[last:]].count("RUN") == 0


def test_the_image_has_two_stages_and_keeps_data_in_a_volume() -> None:
    assert [text.split()[0] for text in instructions("FROM")] == ["python:3.13-slim", "python:3.13-slim"]
    assert instructions("VOLUME") == ["/data"]
    assert instructions("EXPOSE") == ["8080"]
    variables = "\n".join(instructions("ENV"))
    assert "GANTRY_HOST=0.0.0.0" in variables
    assert "GANTRY_DATA_DIR=/data" in variables
    assert "/healthz" in instructions("HEALTHCHECK")[0]


def test_the_image_installs_nothing_but_what_is_locked() -> None:
    commands = " ".join(instructions("RUN"))
    for install in re.findall(r"pip install [^&]+", commands):
        assert "--require-hashes" in install or "--no-index" in install


def test_what_the_image_copies_is_let_through_to_the_build() -> None:
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = {
        source.rstrip("/") for text in instructions("COPY") if "--from" not in text for source in text.split()[:-1]
    }
    for source in sources:
        assert source in allowed or (source.endswith(".lock") and "docker/*.lock" in allowed)
        assert (PROJECT / source).exists()
