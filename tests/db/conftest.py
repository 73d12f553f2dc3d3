from tests.support.databases import (
    database_url,
    db,
    postgres_template,
    sqlite_template,
    statement_counter,
)

__all__ = ["database_url", "db", "postgres_template", "sqlite_template", "statement_counter"]
