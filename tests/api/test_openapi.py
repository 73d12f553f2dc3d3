"""openapi/openapi.json is what the server serves, and describes every route."""

import json
from pathlib import Path

from app.main import create_app
from app.settings import Settings

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"


def test_committed_description_is_the_servers_own() -> None:
    served = create_app(Settings(log_level="warning")).openapi()
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == json.loads(json.dumps(served)), "run `make openapi`"


def test_every_path_parameter_is_described() -> None:
    schema = create_app(Settings(log_level="warning")).openapi()
    for path, operations in schema["paths"].items():
        names = {segment[1:-1] for segment in path.split("/") if segment.startswith("{")}
        for operation in operations.values():
            described = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
            assert described == names, path


def test_every_operation_has_its_own_id_and_says_what_fails() -> None:
    schema = create_app(Settings(log_level="warning")).openapi()
    operations = [operation for path in schema["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        if "health" not in operation.get("tags", []):
            assert any(status.startswith("4") for status in operation["responses"]), operation["operationId"]
