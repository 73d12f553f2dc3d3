"""The database knows which of the attributes that an operator made searchable it holds of all instances."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "indexed_paths",
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("path", name="pk_indexed_paths"),
    )


def downgrade() -> None:
    op.drop_table("indexed_paths")
