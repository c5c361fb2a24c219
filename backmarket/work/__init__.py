"""Work of an organization beside its syncs, in the table `work`: leases, pauses, and what its slices share."""

from backmarket.work.queue import CLAIM, KINDS, Work, WorkLease, claim_due, finish, hold, make_due, take, void

__all__ = ["CLAIM", "KINDS", "Work", "WorkLease", "claim_due", "finish", "hold", "make_due", "take", "void"]
