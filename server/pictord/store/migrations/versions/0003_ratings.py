"""Ratings, and the verdicts that they make."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "rating",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("made_time", sa.BigInteger(), nullable=False),
        sa.Column("thumb", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("rate_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "generation_id", name=op.f("pk_rating")),
    )
    op.create_index(op.f("ix_rating_made_time"), "rating", ["made_time"])
    op.create_index(op.f("ix_rating_generation_id"), "rating", ["generation_id"])
    op.create_table(
        "verdict",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("winner_id", sa.Text(), nullable=False),
        sa.Column("loser_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("made_time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "winner_id", "loser_id", name=op.f("pk_verdict")),
    )
    op.create_index(op.f("ix_verdict_made_time"), "verdict", ["made_time"])


def downgrade() -> None:
    """Go back; ratings are gone then."""
    op.drop_table("verdict")
    op.drop_table("rating")
