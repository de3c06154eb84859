"""Budgets and alerts; holds and scopes in pictures too."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.execute("ALTER TABLE hold RENAME COLUMN nanos TO amount")
    op.execute("ALTER TABLE hold ADD COLUMN unit TEXT NOT NULL DEFAULT 'usd'")
    op.execute("ALTER TABLE scope RENAME COLUMN settled_nanos TO settled")
    op.execute("ALTER TABLE scope RENAME COLUMN held_nanos TO held")
    # The daily cap has become a budget, which names its scope as budgets do.
    op.execute("UPDATE hold SET scope = 'usd/' || substr(scope, 5) || '/global' WHERE scope LIKE 'day:%'")
    op.execute("UPDATE scope SET scope = 'usd/' || substr(scope, 5) || '/global' WHERE scope LIKE 'day:%'")
    op.execute("""UPDATE generation SET limits = replace(limits, '"cap_nanos"', '"cap"') WHERE limits IS NOT NULL""")

    op.create_table(
        "budget",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("counted", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("is_hard", sa.Boolean(), nullable=False),
        sa.Column("thresholds", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget")),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    with op.batch_alter_table("alert", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_alert_occasion"), ["occasion"], unique=True)


def downgrade() -> None:
    """Go back; budgets and alerts are gone then."""
    op.drop_table("alert")
    op.drop_table("budget")
    # What was counted in pictures, or for a budget, has no place in the first tables.
    op.execute("DELETE FROM hold WHERE scope LIKE 'pictures/%'")
    op.execute("DELETE FROM scope WHERE scope LIKE 'pictures/%'")
    op.execute("ALTER TABLE scope RENAME COLUMN held TO held_nanos")
    op.execute("ALTER TABLE scope RENAME COLUMN settled TO settled_nanos")
    op.execute("ALTER TABLE hold DROP COLUMN unit")
    op.execute("ALTER TABLE hold RENAME COLUMN amount TO nanos")
