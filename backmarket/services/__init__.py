"""What one process shares: its services, the threads that ask, who may walk, and when to leave a server alone."""

from backmarket.services.services import Services, current

__all__ = ["Services", "current"]
