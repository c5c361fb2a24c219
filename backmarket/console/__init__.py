"""A page for the people who look after the sellers' accounts: `backmarket console`.

It uses only the `BackMarket` object, and so is an example of its use. The server renders pages with Jinja2; htmx
replaces parts of the open page. Nothing is loaded from other hosts.
"""
