"""The first schema: studies, series, instances, their search keys, and tombstones."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_studies()
    _create_series()
    _create_instances()
    _create_search_keys()
    _create_tombstones()
    if op.get_bind().dialect.name == "postgresql":
        # Read by slices, or compressed already: compressing them again would cost time and make slices read everything.
        for column in ("layout", "frame_index", "bulkdata", "metadata"):
            op.execute(f"ALTER TABLE instances ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in ("tombstones", "attribute_values", "study_modalities", "instances", "series", "studies"):
        op.drop_table(table)


def _id(name: str, *constraints: Any, **options: Any) -> sa.Column[int]:
    return sa.Column(
        name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), *constraints, nullable=False, **options
    )


def _code(name: str, *, default: bool = False) -> sa.Column[str]:
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False, server_default=sa.text("''") if default else None)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


def _big(name: str, default: str | None = None, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, server_default=sa.text(default) if default else None)


def _parent(name: str, table: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([name], [target], name=f"fk_{table}_{name}", ondelete="CASCADE")


def _index(name: str, table: str, *columns: str, **options: Any) -> None:
    op.create_index(name, table, [sa.text(column) for column in columns], unique=False, **options)


def _create_studies() -> None:
    op.create_table(
        "studies",
        _id("id"),
        _code("study_instance_uid"),
        *[_code(name, default=True) for name in ("study_date", "study_time", "accession_number", "study_id")],
        _code("patient_id", default=True),
        *[_code(f"patient_name_{group}", default=True) for group in ("alphabetic", "ideographic", "phonetic")],
        *[
            _code(f"referring_physician_name_{group}", default=True)
            for group in ("alphabetic", "ideographic", "phonetic")
        ],
        _code("timezone_offset", default=True),
        _bytes("attributes"),
        _time("created_at"),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
    )
    _index("ix_studies_study_date_id", "studies", "study_date DESC", "id DESC")
    for name in ("patient_id", "accession_number", "study_id"):
        _index(f"ix_studies_{name}", "studies", name, "study_date DESC", "id DESC")
    for name in ("patient_name", "referring_physician_name"):
        column = f"{name}_alphabetic"
        _index(f"ix_studies_{column}", "studies", column, "study_date DESC", "id DESC")
        for group in ("ideographic", "phonetic"):
            column = f"{name}_{group}"
            where = sa.text(f"{column} != ''")
            _index(f"ix_studies_{column}", "studies", column, postgresql_where=where, sqlite_where=where)


def _create_series() -> None:
    op.create_table(
        "series",
        _id("id"),
        _id("study_id"),
        _code("series_instance_uid"),
        _code("modality", default=True),
        _big("series_number", nullable=True),
        _code("performed_procedure_step_start_date", default=True),
        _code("performed_procedure_step_start_time", default=True),
        _big("version", "1"),
        _big("number_of_instances", "0"),
        _bytes("attributes"),
        _time("created_at"),
        _time("updated_at"),
        _parent("study_id", "series", "studies.id"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("study_id", "series_instance_uid", name="uq_series_study_id_series_instance_uid"),
    )
    _index("ix_series_series_instance_uid", "series", "series_instance_uid")
    _index("ix_series_modality_study_id", "series", "modality", "study_id")


def _create_instances() -> None:
    op.create_table(
        "instances",
        _id("id"),
        _id("series_id"),
        _id("study_id"),
        _code("sop_instance_uid"),
        _code("sop_class_uid"),
        _code("transfer_syntax_uid"),
        _big("instance_number", nullable=True),
        _code("blob_key"),
        _big("size"),
        _code("digest"),
        _time("created_at"),
        _bytes("layout"),
        _bytes("frame_index"),
        _bytes("bulkdata"),
        _bytes("metadata"),
        _parent("series_id", "instances", "series.id"),
        _parent("study_id", "instances", "studies.id"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint("blob_key", name="uq_instances_blob_key"),
        sa.UniqueConstraint("series_id", "sop_instance_uid", name="uq_instances_series_id_sop_instance_uid"),
    )
    _index("ix_instances_sop_instance_uid", "instances", "sop_instance_uid")
    _index("ix_instances_study_id", "instances", "study_id")
    _index("ix_instances_sop_class_uid", "instances", "sop_class_uid", "study_id")


def _create_search_keys() -> None:
    op.create_table(
        "study_modalities",
        _id("study_id"),
        _code("modality"),
        _code("study_date"),
        _parent("study_id", "study_modalities", "studies.id"),
        sa.PrimaryKeyConstraint("study_id", "modality", name="pk_study_modalities"),
    )
    name = "ix_study_modalities_modality_study_date_study_id"
    _index(name, "study_modalities", "modality", "study_date DESC", "study_id DESC")
    op.create_table(
        "attribute_values",
        _id("id"),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        _id("owner_id"),
        _code("path"),
        _code("value"),
        _code("study_date"),
        sa.PrimaryKeyConstraint("id", name="pk_attribute_values"),
    )
    name = "ix_attribute_values_level_path_value"
    _index(name, "attribute_values", "level", "path", "value", "study_date DESC", "owner_id DESC")
    _index("ix_attribute_values_level_owner_id", "attribute_values", "level", "owner_id")


def _create_tombstones() -> None:
    op.create_table(
        "tombstones",
        _id("id"),
        _code("study_instance_uid"),
        _code("series_instance_uid"),
        _code("sop_instance_uid"),
        _code("reason"),
        _code("blob_key"),
        _big("size"),
        _code("digest"),
        _time("created_at"),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("id", name="pk_tombstones"),
        sa.UniqueConstraint("blob_key", name="uq_tombstones_blob_key"),
    )
    _index("ix_tombstones_uids", "tombstones", "study_instance_uid", "series_instance_uid", "sop_instance_uid")
    _index("ix_tombstones_expires_at", "tombstones", "expires_at")
