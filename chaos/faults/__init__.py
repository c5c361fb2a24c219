"""The faults, one small class each: `begin` strikes, `end` sets right what it can."""

from __future__ import annotations

from chaos.faults.fault import Fault
from chaos.faults.messages import LateMessages
from chaos.faults.processes import ClockJump, FreezeWorker, KillBeat, KillWorker, SecondBeat, TerminateWorker
from chaos.faults.servers import (
    CrashPostgres,
    DiskFull,
    EmptyRedis,
    NoConnections,
    S3Away,
    S3Silent,
    StopPostgres,
    StopRedis,
)

FAULTS: dict[str, type[Fault]] = {
    "kill_worker": KillWorker,
    "freeze_worker": FreezeWorker,
    "terminate_worker": TerminateWorker,
    "kill_beat": KillBeat,
    "second_beat": SecondBeat,
    "empty_redis": EmptyRedis,
    "stop_redis": StopRedis,
    "stop_postgres": StopPostgres,
    "crash_postgres": CrashPostgres,
    "s3_away": S3Away,
    "s3_silent": S3Silent,
    "s3_outage": S3Away,
    "disk_full": DiskFull,
    "no_connections": NoConnections,
    "clock_jump": ClockJump,
    "late_messages": LateMessages,
}
"""By the kinds of `chaos.schedule`."""

__all__ = ["FAULTS", "Fault"]
