"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "attempt",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("output_index", sa.Integer(), nullable=False),
        sa.Column("attempt_index", sa.Integer(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=True),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("end_user", sa.Text(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("row_name", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("adaptations", sa.Text(), nullable=True),
        sa.Column("served_model", sa.Text(), nullable=False),
        sa.Column("served_version", sa.Text(), nullable=False),
        sa.Column("provider_request_id", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("estimated_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cost_nanos", sa.BigInteger(), nullable=False),
        sa.Column("cost_basis", sa.Text(), nullable=False),
        sa.Column("text_in_tokens", sa.BigInteger(), nullable=True),
        sa.Column("image_in_tokens", sa.BigInteger(), nullable=True),
        sa.Column("text_out_tokens", sa.BigInteger(), nullable=True),
        sa.Column("image_out_tokens", sa.BigInteger(), nullable=True),
        sa.Column("pictures", sa.Integer(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=True),
        sa.Column("sent_time", sa.BigInteger(), nullable=True),
        sa.Column("finish_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempt_day_provider"), ["day", "provider"], unique=False)
        batch_op.create_index(batch_op.f("ix_attempt_generation_id"), ["generation_id"], unique=False)
        batch_op.create_index(
            "ix_attempt_open",
            ["state"],
            unique=False,
            sqlite_where=sa.text("state != 'finished'"),
            postgresql_where=sa.text("state != 'finished'"),
        )
        batch_op.create_index(
            batch_op.f("ix_attempt_provider_request_id"),
            ["provider_request_id"],
            unique=False,
            sqlite_where=sa.text("provider_request_id != ''"),
            postgresql_where=sa.text("provider_request_id != ''"),
        )
        batch_op.create_index(
            "ix_attempt_unknown",
            ["day"],
            unique=False,
            sqlite_where=sa.text("cost_basis = 'unknown'"),
            postgresql_where=sa.text("cost_basis = 'unknown'"),
        )

    op.create_table(
        "claim",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "request_id", name=op.f("pk_claim")),
    )
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_claim_generation_id"), ["generation_id"], unique=False)

    op.create_table(
        "generation",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("finish_time", sa.BigInteger(), nullable=True),
        sa.Column("kept_since", sa.BigInteger(), nullable=True),
        sa.Column("output_count", sa.Integer(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("workflow", sa.Text(), nullable=True),
        sa.Column("row_name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("served_version", sa.Text(), nullable=True),
        sa.Column("end_user", sa.Text(), nullable=True),
        sa.Column("set_id", sa.Text(), nullable=True),
        sa.Column("reroll_of", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("queue_s", sa.Float(), nullable=False),
        sa.Column("provider_s", sa.Float(), nullable=False),
        sa.Column("store_s", sa.Float(), nullable=False),
        sa.Column("overhead_s", sa.Float(), nullable=False),
        sa.Column("limits", sa.Text(), nullable=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    with op.batch_alter_table("generation", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_generation_caller_id"), ["caller", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_generation_create_time"), ["create_time"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_generation_end_user_id"),
            ["end_user", "id"],
            unique=False,
            sqlite_where=sa.text("end_user IS NOT NULL"),
            postgresql_where=sa.text("end_user IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_generation_kept_since"), ["kept_since"], unique=False)
        batch_op.create_index(batch_op.f("ix_generation_model_id"), ["model", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_generation_request_id_id"),
            ["request_id", "id"],
            unique=False,
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_generation_reroll_of_id"),
            ["reroll_of", "id"],
            unique=False,
            sqlite_where=sa.text("reroll_of IS NOT NULL"),
            postgresql_where=sa.text("reroll_of IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_generation_row_name_id"), ["row_name", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_generation_served_version_id"),
            ["served_version", "id"],
            unique=False,
            sqlite_where=sa.text("served_version IS NOT NULL"),
            postgresql_where=sa.text("served_version IS NOT NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_generation_set_id_id"),
            ["set_id", "id"],
            unique=False,
            sqlite_where=sa.text("set_id IS NOT NULL"),
            postgresql_where=sa.text("set_id IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_generation_state_id"), ["state", "id"], unique=False)
        batch_op.create_index(batch_op.f("ix_generation_tier_id"), ["tier", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_generation_workflow_id"),
            ["workflow", "id"],
            unique=False,
            sqlite_where=sa.text("workflow IS NOT NULL"),
            postgresql_where=sa.text("workflow IS NOT NULL"),
        )

    op.create_table(
        "hold",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("nanos", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("attempt_id", "scope", name=op.f("pk_hold")),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Text(), nullable=True),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("kept_since", sa.BigInteger(), nullable=True),
        sa.Column("output_index", sa.Integer(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("served_model", sa.Text(), nullable=False),
        sa.Column("served_version", sa.Text(), nullable=False),
        sa.Column("has_c2pa", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
    )
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_generation_id"), ["generation_id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_image_kept_since"),
            ["kept_since"],
            unique=False,
            sqlite_where=sa.text("kept_since IS NOT NULL"),
            postgresql_where=sa.text("kept_since IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_image_sha256"), ["sha256"], unique=False)

    op.create_table(
        "input_picture",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "sha256", name=op.f("pk_input_picture")),
    )
    with op.batch_alter_table("input_picture", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_input_picture_sha256"), ["sha256"], unique=False)

    op.create_table(
        "label",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "key", name=op.f("pk_label")),
    )
    with op.batch_alter_table("label", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_label_key_value_generation_id"), ["key", "value", "generation_id"], unique=False
        )

    op.create_table(
        "output",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("output_index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "output_index", name=op.f("pk_output")),
    )
    op.create_table(
        "scope",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("settled_nanos", sa.BigInteger(), nullable=False),
        sa.Column("held_nanos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_scope")),
    )
    op.create_table(
        "tombstone",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstone")),
    )
    with op.batch_alter_table("tombstone", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tombstone_time"), ["time"], unique=False)

    op.create_table(
        "unreferenced",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_unreferenced")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("unreferenced")
    with op.batch_alter_table("tombstone", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tombstone_time"))

    op.drop_table("tombstone")
    op.drop_table("scope")
    op.drop_table("output")
    with op.batch_alter_table("label", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_label_key_value_generation_id"))

    op.drop_table("label")
    with op.batch_alter_table("input_picture", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_input_picture_sha256"))

    op.drop_table("input_picture")
    with op.batch_alter_table("image", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_sha256"))
        batch_op.drop_index(
            batch_op.f("ix_image_kept_since"),
            sqlite_where=sa.text("kept_since IS NOT NULL"),
            postgresql_where=sa.text("kept_since IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_image_generation_id"))

    op.drop_table("image")
    op.drop_table("hold")
    with op.batch_alter_table("generation", schema=None) as batch_op:
        batch_op.drop_index(
            batch_op.f("ix_generation_workflow_id"),
            sqlite_where=sa.text("workflow IS NOT NULL"),
            postgresql_where=sa.text("workflow IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_generation_tier_id"))
        batch_op.drop_index(batch_op.f("ix_generation_state_id"))
        batch_op.drop_index(
            batch_op.f("ix_generation_set_id_id"),
            sqlite_where=sa.text("set_id IS NOT NULL"),
            postgresql_where=sa.text("set_id IS NOT NULL"),
        )
        batch_op.drop_index(
            batch_op.f("ix_generation_served_version_id"),
            sqlite_where=sa.text("served_version IS NOT NULL"),
            postgresql_where=sa.text("served_version IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_generation_row_name_id"))
        batch_op.drop_index(
            batch_op.f("ix_generation_reroll_of_id"),
            sqlite_where=sa.text("reroll_of IS NOT NULL"),
            postgresql_where=sa.text("reroll_of IS NOT NULL"),
        )
        batch_op.drop_index(
            batch_op.f("ix_generation_request_id_id"),
            sqlite_where=sa.text("request_id IS NOT NULL"),
            postgresql_where=sa.text("request_id IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_generation_model_id"))
        batch_op.drop_index(batch_op.f("ix_generation_kept_since"))
        batch_op.drop_index(
            batch_op.f("ix_generation_end_user_id"),
            sqlite_where=sa.text("end_user IS NOT NULL"),
            postgresql_where=sa.text("end_user IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_generation_create_time"))
        batch_op.drop_index(batch_op.f("ix_generation_caller_id"))

    op.drop_table("generation")
    with op.batch_alter_table("claim", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_claim_generation_id"))

    op.drop_table("claim")
    with op.batch_alter_table("attempt", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_attempt_unknown",
            sqlite_where=sa.text("cost_basis = 'unknown'"),
            postgresql_where=sa.text("cost_basis = 'unknown'"),
        )
        batch_op.drop_index(
            batch_op.f("ix_attempt_provider_request_id"),
            sqlite_where=sa.text("provider_request_id != ''"),
            postgresql_where=sa.text("provider_request_id != ''"),
        )
        batch_op.drop_index(
            "ix_attempt_open",
            sqlite_where=sa.text("state != 'finished'"),
            postgresql_where=sa.text("state != 'finished'"),
        )
        batch_op.drop_index(batch_op.f("ix_attempt_generation_id"))
        batch_op.drop_index(batch_op.f("ix_attempt_day_provider"))

    op.drop_table("attempt")
