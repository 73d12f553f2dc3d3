"""Instances keep what a search for them returns by default. Those stored before are answered from their metadata."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("attributes", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("instances", "attributes")
