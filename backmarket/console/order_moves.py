"""The moves of an order's lines: each names the lines that it takes, and takes no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from backmarket.client.skus import sku_key
from backmarket.errors import InvalidArgument
from backmarket.queries.orders import OrderLine, OrderLineState

IRREVERSIBLE = frozenset(
    {
        OrderLineState.CANCELLED,
        OrderLineState.REFUNDED_BEFORE_SHIPPING,
        OrderLineState.REFUNDED_AFTER_SHIPPING,
    }
)
"""States that need a reason, and cannot be undone."""

CHANGED = "The order has changed since this page was shown, so nothing was sent. Look at its lines, then decide again."


@dataclass
class Move:
    """A move that the document's rules allow.

    Attributes:
        state: the new state.
        sku: of the lines; None: the move takes lines of any SKU (shipping), or they have none.
        lines: what it takes: if it ships, all accepted lines; else those of one SKU, which Back Market moves together.
    """

    state: OrderLineState
    sku: str | None
    lines: list[OrderLine] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Names it within the page."""
        return f"move-{self.state.value}-{self.lines[0].orderline_id}"

    @property
    def is_irreversible(self) -> bool:
        """Whether it needs a reason, and cannot be undone."""
        return self.state in IRREVERSIBLE


def moves_of(lines: Iterable[OrderLine]) -> list[Move]:
    """The moves that the lines allow, by state and line."""
    found: dict[tuple[OrderLineState, str], Move] = {}
    for line in sorted(lines, key=lambda each: each.orderline_id):
        for state in line.next_states if line.removed_at is None else ():
            ships = state is OrderLineState.SHIPPED
            key = "" if ships else sku_key(line.listing or "")
            found.setdefault((state, key), Move(state, None if ships else line.listing)).lines.append(line)
    return sorted(found.values(), key=lambda move: (move.state, move.lines[0].orderline_id))


def chosen_move(moves: Sequence[Move], state: OrderLineState, lines: Sequence[str], sku: str | None) -> Move | None:
    """The move that a form means; None: the form names no lines, and can be undone.

    Args:
        moves: those that are possible now.
        state: the new state.
        lines: ids of the lines that the form showed.
        sku: the SKU that the form names.

    Raises:
        InvalidArgument: if the move would take other lines than the form showed.
    """
    if not lines and state not in IRREVERSIBLE:
        return None
    for move in moves:
        same_lines = {str(line.orderline_id) for line in move.lines} == set(lines)
        if move.state is state and same_lines and (sku or None) == (move.sku or None):
            return move
    raise InvalidArgument(CHANGED)
