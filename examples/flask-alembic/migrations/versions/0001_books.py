"""Books have titles."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE books ("
        "id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, title text NOT NULL)"
    )


def downgrade() -> None:
    op.execute("DROP TABLE books")
