"""A caller's history is found by one index that holds what is most asked for."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = ["caller", "id", "state", "tier", "workflow", "row_name", "model", "served_version"]


def upgrade() -> None:
    """Go to this revision."""
    op.create_index("ix_generation_listed", "generation", _COLUMNS)
    op.drop_index("ix_generation_caller_id", "generation")


def downgrade() -> None:
    """Go back."""
    op.create_index("ix_generation_caller_id", "generation", ["caller", "id"])
    op.drop_index("ix_generation_listed", "generation")
