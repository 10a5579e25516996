"""The same, without a default: whoever does not know of the shelf cannot insert any more."""

from alembic import op

revision = "0002_broken"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE books ADD COLUMN shelf text")
    op.execute("UPDATE books SET shelf = 'unsorted'")
    op.execute("ALTER TABLE books ALTER COLUMN shelf SET NOT NULL")


def downgrade() -> None:
    op.execute("ALTER TABLE books DROP COLUMN shelf")
