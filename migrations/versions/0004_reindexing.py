"""The database knows of a reindex that has not ended, and of the blobs that one could not read."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reindexing",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reindexing"),
    )
    op.create_table(
        "unreadable_blobs",
        sa.Column("blob_key", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("blob_key", name="pk_unreadable_blobs"),
    )


def downgrade() -> None:
    op.drop_table("unreadable_blobs")
    op.drop_table("reindexing")
