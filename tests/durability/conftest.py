from tests.support.databases import postgres_template

__all__ = ["postgres_template"]
