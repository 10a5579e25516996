"""What `rq cron` asks for: one job each minute."""

from rq import cron
from rq_app import every_minute

cron.register(every_minute, queue_name="default", cron="* * * * *")
