"""Which processes work on this database, and whose each generation is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "replica",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replica")),
    )
    op.add_column("generation", sa.Column("replica", sa.Text(), nullable=True))


def downgrade() -> None:
    """Go back; the next start resolves all that is open."""
    with op.batch_alter_table("generation") as generation:
        generation.drop_column("replica")
    op.drop_table("replica")
