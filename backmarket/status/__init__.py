"""Status of syncs, organizations, limits, the deployment and its broker."""

from backmarket.status.sync_status import (
    ConnectionStatus,
    SyncStatus,
    get_all_sync_status,
    get_connection_status,
    get_sync_status,
    get_sync_status_of,
)

__all__ = [
    "ConnectionStatus",
    "SyncStatus",
    "get_all_sync_status",
    "get_connection_status",
    "get_sync_status",
    "get_sync_status_of",
]
