"""Alembic's entry: runs the revisions over the connection that `upkeep.py` hands in."""

from alembic import context

from pictord.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,  # SQLite alters tables by copying them
)
with context.begin_transaction():
    context.run_migrations()
