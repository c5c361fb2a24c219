"""Categories, as the API writes them."""

from __future__ import annotations

from typing import TypedDict


class CategoryAttribute(TypedDict, total=False):
    """An attribute of a category's products."""

    allowed_values: str
    field: str
    field_name: str
    required: bool
    type: int


class Category(TypedDict, total=False):
    """A category with those below it."""

    attributes: list[CategoryAttribute]
    category_id: int
    category_name: str
    childrens: list[Category]
    is_leaf: bool
    marketplace_category_id: int
