"""`backmarket doctor`: what is wrong with a deployment, and what to do about it."""

from backmarket.doctor.examination import examine
from backmarket.doctor.finding import Finding, Verdict

__all__ = ["Finding", "Verdict", "examine"]
