"""Work of an organization beside its syncs, in the table `work`: who has it, for how long, and one slice of it."""

from backmarket.work.queue import CLAIM, KINDS, Work, WorkLease, claim_due, finish, hold, make_due, take, void

__all__ = ["CLAIM", "KINDS", "Work", "WorkLease", "claim_due", "finish", "hold", "make_due", "take", "void"]
