import pytest

from tests.support.object_servers import azure_left_out, azure_server, s3_server

__all__ = ["azure_server", "s3_server"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if azure_left_out() is None:
        return
    azure = [item for item in items if "azure_server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=azure)
    items[:] = [item for item in items if item not in azure]
