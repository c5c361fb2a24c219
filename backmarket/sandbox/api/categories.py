"""The category tree: the sensitive operations (tag Categories)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from backmarket.sandbox.api.calls import Call
from backmarket.sandbox.api.responses import Answer, Refused, in_json, refusal

Category = dict[str, Any]


def _category(number: int, name: str, *children: Category) -> Category:
    colour = {"field": "color", "field_name": "Couleur", "type": 2, "allowed_values": "", "required": True}
    return {
        "category_id": number,
        "category_name": name,
        "marketplace_category_id": -number if children else number,
        "is_leaf": not children,
        "attributes": [] if children else [colour],
        "childrens": list(children),
    }


TREE: Final = [
    _category(1, "Téléphones", _category(2, "Smartphones", _category(3, "iPhone"), _category(4, "Android"))),
    _category(5, "Ordinateurs", _category(6, "Portables", _category(7, "MacBook"))),
]
"""Three levels, as the document describes them; the same for every account."""


async def get_tree(_call: Call) -> Answer:
    """`get-bm-catalog-category`."""
    return in_json(TREE)


async def get_branch(call: Call) -> Answer:
    """`GET /ws/category/tree/{categoryId}`: a category with its subtree."""
    number = call.path_number("category_id")
    for category in _all(TREE):
        if category["category_id"] == number:
            return in_json(category)
    raise Refused(refusal(404, "Category not found.", code="category-not-found"))


def _all(categories: list[Category]) -> Iterator[Category]:
    for category in categories:
        yield category
        yield from _all(category["childrens"])
