"""What one process shares: its services, request threads, admission control and circuit breaker."""

from backmarket.services.services import Services, current

__all__ = ["Services", "current"]
