"""The second version: each mail has a language."""

import time

from queue_app import app
from tell import tell


@app.task(bind=True, name="send_mail")
def send_mail(self, to, language="en"):
    tell("begun", self.request.id, name="send_mail")
    time.sleep(0.02)
    tell("ended", self.request.id, name="send_mail")


@app.task(bind=True, name="write_report")
def write_report(self, seconds):
    tell("begun", self.request.id, name="write_report")
    time.sleep(seconds)
    tell("ended", self.request.id, name="write_report")


@app.task(bind=True, name="send_digest")
def send_digest(self):
    tell("begun", self.request.id, name="send_digest")
    time.sleep(0.02)
    tell("ended", self.request.id, name="send_digest")


def mail(to):
    return send_mail, {"to": to, "language": "en"}
