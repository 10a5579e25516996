"""From the folder of a finished run to its verdict, its reports, and the story of one request."""

from scenarios.review.explaining import explain
from scenarios.review.judging import recall, review
from scenarios.review.publishing import write_reports

__all__ = ["explain", "recall", "review", "write_reports"]
