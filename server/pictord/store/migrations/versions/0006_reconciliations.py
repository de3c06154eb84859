"""What the providers' cost exports settled, and whose money the ledger counts: real or the sandbox's."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "reconciliation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation")),
    )
    op.create_table(
        "reconciled",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("unknown_nanos", sa.BigInteger(), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", name=op.f("pk_reconciled")),
    )
    op.create_index(op.f("ix_reconciled_reconciliation_id"), "reconciled", ["reconciliation_id"])
    op.create_table(
        "world",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_world")),
    )


def downgrade() -> None:
    """Go back; what was reconciled counts as estimated from then on, for the first tables know no better word."""
    op.execute("UPDATE attempt SET cost_basis = 'estimated' WHERE cost_basis = 'reconciled'")
    op.drop_table("world")
    op.drop_table("reconciled")
    op.drop_table("reconciliation")
