"""The second version: each mail has a language."""

import time


def send_mail(to, language="en"):
    time.sleep(0.02)


def write_report(seconds):
    time.sleep(seconds)


def send_digest():
    time.sleep(0.02)


def arguments_of_mail(to):
    return {"to": to, "language": "en"}


JOBS = {"send_mail": send_mail, "write_report": write_report, "send_digest": send_digest}
