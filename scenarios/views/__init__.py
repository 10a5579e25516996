"""How it is seen: verdicts and recorded evidence, for people and for machines."""

from scenarios.views.dashboard import Dashboard
from scenarios.views.html_report import html_report
from scenarios.views.junit import junit
from scenarios.views.live import Progress, ReplicaView, RunHeader
from scenarios.views.markdown import summary
from scenarios.views.matrix import (
    MatrixRow,
    comparison,
    matrix_json,
    matrix_markdown,
    matrix_row,
    matrix_table,
)
from scenarios.views.plain import PlainProgress
from scenarios.views.terminal import print_verdict, verdict_view

__all__ = [
    "Dashboard",
    "MatrixRow",
    "PlainProgress",
    "Progress",
    "ReplicaView",
    "RunHeader",
    "comparison",
    "html_report",
    "junit",
    "matrix_json",
    "matrix_markdown",
    "matrix_row",
    "matrix_table",
    "print_verdict",
    "summary",
    "verdict_view",
]
