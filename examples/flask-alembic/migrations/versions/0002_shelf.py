"""Books are on a shelf; those that nobody put on one are unsorted."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '2s'")
    op.execute("ALTER TABLE books ADD COLUMN shelf text NOT NULL DEFAULT 'unsorted'")


def downgrade() -> None:
    op.execute("ALTER TABLE books DROP COLUMN shelf")
