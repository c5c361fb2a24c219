"""A page for the people who look after the sellers' accounts: `backmarket console`.

It knows and does only what the `BackMarket` object offers, and so is an example of it, too. Pages are made here, with
Jinja2; htmx puts parts of them into the page that is open. Nothing comes from elsewhere.
"""
