"""Categories."""

from __future__ import annotations

from backmarket.client import operations
from backmarket.client.api.calls import Calls
from backmarket.client.types.categories import Category


class CategoryCalls(Calls):
    """The operations on categories, which have a smaller limit than others."""

    def get_category_tree(self) -> list[Category]:
        """All categories, each with those below it in `childrens`."""
        return self._call(operations.GET_CATEGORY_TREE)

    def get_category_branch(self, category_id: int) -> Category:
        """One category with those below it, and with the attributes of its products."""
        return self._call(operations.GET_CATEGORY_BRANCH, category_id=category_id)
