"""How Alembic runs the revisions; it loads this file by its path, with `context` made ready."""

from alembic import context

from functions.common.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a table by making a new one.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
