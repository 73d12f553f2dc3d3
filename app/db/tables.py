"""The schema, once, for both dialects. migrations/ builds it; a test compares the two.

    studies --< series --< instances          one row each, unique within its parent
    study_modalities                           ModalitiesInStudy, one row per study and modality
    attribute_values                           searchable attributes that have no column of their own
    indexed_paths                              those of GANTRY_SEARCHABLE_ATTRIBUTES that attribute_values holds of all instances
    tombstones                                 what was deleted or replaced, and its blob, for the retention time
    reindexing                                 one row from the beginning of a reindex to its end
    unreadable_blobs                           what the last reindex could not read, and no sweep may take

Text columns are NOT NULL and "" where the attribute is absent or empty, so that ordering and empty value matching need no
NULL handling. Dates are `YYYYMMDD`, times `HHMMSS.FFFFFF` filled up with zeros;
what is no date or time is `!` and its text, which stays out of every range. Names are kept once per component group,
lower-cased and accent-folded (app.dicom.person_names.fold_name), for matching only; the name as it was sent is in `attributes`.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

# SQLite only auto-increments a column whose type is exactly INTEGER.
RowId = BigInteger().with_variant(Integer, "sqlite")
# UIDs, keys and codes are compared byte by byte, whatever the locale of the server; it also lets LIKE 'prefix%' use the index.
Code = Text().with_variant(Text(collation="C"), "postgresql")


class Instant(TypeDecorator[datetime]):
    """Aware datetimes in, aware datetimes in UTC out; SQLite itself keeps no offset."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _code(name: str) -> Column[str]:
    return Column(name, Code, nullable=False, server_default=text("''"))


studies = Table(
    "studies",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_instance_uid", Code, nullable=False, unique=True),
    _code("study_date"),
    _code("study_time"),
    _code("accession_number"),
    _code("study_id"),
    _code("patient_id"),
    _code("patient_name_alphabetic"),
    _code("patient_name_ideographic"),
    _code("patient_name_phonetic"),
    _code("referring_physician_name_alphabetic"),
    _code("referring_physician_name_ideographic"),
    _code("referring_physician_name_phonetic"),
    _code("timezone_offset"),
    # DICOM JSON text of every patient- and study-level attribute known (UTF-8).
    Column("attributes", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)
# With the names of patients: whoever walks through the newest studies for a name looks at the index alone.
newest_studies = Index(
    "ix_studies_study_date_id",
    studies.c.study_date.desc(),
    studies.c.id.desc(),
    studies.c.patient_name_alphabetic,
    studies.c.patient_name_ideographic,
    studies.c.patient_name_phonetic,
)
for _name in (
    "patient_id",
    "accession_number",
    "study_id",
    "patient_name_alphabetic",
    "referring_physician_name_alphabetic",
):
    Index(f"ix_studies_{_name}", studies.c[_name], studies.c.study_date.desc(), studies.c.id.desc())
for _name in (
    "patient_name_ideographic",
    "patient_name_phonetic",
    "referring_physician_name_ideographic",
    "referring_physician_name_phonetic",
):
    Index(
        f"ix_studies_{_name}",
        studies.c[_name],
        postgresql_where=studies.c[_name] != "",
        sqlite_where=studies.c[_name] != "",
    )

series = Table(
    "series",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_id", RowId, ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    Column("series_instance_uid", Code, nullable=False),
    _code("modality"),
    Column("series_number", BigInteger),
    _code("performed_procedure_step_start_date"),
    _code("performed_procedure_step_start_time"),
    # Every change of the series or of one of its instances adds 1; the ETag of its metadata.
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    Column("number_of_instances", BigInteger, nullable=False, server_default=text("0")),
    # DICOM JSON text of every series-level attribute known (UTF-8).
    Column("attributes", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("study_id", "series_instance_uid"),
)
Index("ix_series_series_instance_uid", series.c.series_instance_uid)
Index("ix_series_modality_study_id", series.c.modality, series.c.study_id)

instances = Table(
    "instances",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("series_id", RowId, ForeignKey("series.id", ondelete="CASCADE"), nullable=False),
    Column("study_id", RowId, ForeignKey("studies.id", ondelete="CASCADE"), nullable=False),
    Column("sop_instance_uid", Code, nullable=False),
    Column("sop_class_uid", Code, nullable=False),
    Column("transfer_syntax_uid", Code, nullable=False),
    Column("instance_number", BigInteger),
    Column("blob_key", Code, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("digest", Code, nullable=False),
    Column("created_at", Instant, nullable=False),
    # The large ones last: SQLite reaches a column by way of all pages of those before it.
    # app.dicom.layout.InstanceLayout as JSON text: where the data set and the pixel data are, what a frame looks like.
    Column("layout", LargeBinary, nullable=False),
    # Packed by app.dicom.frame_index / app.dicom.bulkdata; never compressed by the server: they are read by slices.
    Column("frame_index", LargeBinary, nullable=False),
    Column("bulkdata", LargeBinary, nullable=False),
    # zstd of the prepared metadata text (app.dicom.instance.ParsedInstance.json).
    Column("metadata", LargeBinary, nullable=False),
    # DICOM JSON text of the attributes that a search returns by default, so that it need not unpack the metadata (UTF-8).
    # NULL: unknown, read the metadata.
    Column("attributes", LargeBinary),
    UniqueConstraint("series_id", "sop_instance_uid"),
)
Index("ix_instances_sop_instance_uid", instances.c.sop_instance_uid)
Index("ix_instances_study_id", instances.c.study_id)
Index("ix_instances_sop_class_uid", instances.c.sop_class_uid, instances.c.study_id)

study_modalities = Table(
    "study_modalities",
    metadata,
    Column("study_id", RowId, ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("modality", Code, primary_key=True),
    Column("study_date", Code, nullable=False),
)
Index(
    "ix_study_modalities_modality_study_date_study_id",
    study_modalities.c.modality,
    study_modalities.c.study_date.desc(),
    study_modalities.c.study_id.desc(),
)

attribute_values = Table(
    "attribute_values",
    metadata,
    Column("id", RowId, primary_key=True),
    # 0 study, 1 series, 2 instance; owner_id is the row's id in that table.
    Column("level", SmallInteger, nullable=False),
    Column("owner_id", RowId, nullable=False),
    # app.dicom.attributes.stored_path; private tags are prefixed by their creator: "ACME|00230001".
    Column("path", Code, nullable=False),
    # As sent, names folded, times filled up; one row per value.
    Column("value", Code, nullable=False),
    Column("study_date", Code, nullable=False),
)
Index(
    "ix_attribute_values_level_path_value",
    attribute_values.c.level,
    attribute_values.c.path,
    attribute_values.c.value,
    attribute_values.c.study_date.desc(),
    attribute_values.c.owner_id.desc(),
)
Index("ix_attribute_values_level_owner_id", attribute_values.c.level, attribute_values.c.owner_id)

tombstones = Table(
    "tombstones",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_instance_uid", Code, nullable=False),
    Column("series_instance_uid", Code, nullable=False),
    Column("sop_instance_uid", Code, nullable=False),
    # "deleted" or "replaced"
    Column("reason", Code, nullable=False),
    Column("blob_key", Code, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("digest", Code, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(
    "ix_tombstones_uids",
    tombstones.c.study_instance_uid,
    tombstones.c.series_instance_uid,
    tombstones.c.sop_instance_uid,
)
Index("ix_tombstones_expires_at", tombstones.c.expires_at)

# While it has a row, the other tables know less than the blob store holds: a reindex is under way, or was broken off.
reindexing = Table(
    "reindexing",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("since", Instant, nullable=False),
)

unreadable_blobs = Table(
    "unreadable_blobs",
    metadata,
    Column("blob_key", Code, primary_key=True),
    Column("problem", Text, nullable=False),
)

indexed_paths = Table("indexed_paths", metadata, Column("path", Code, primary_key=True))
