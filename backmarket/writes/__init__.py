"""Writes: what a seller changes at Back Market, checked first, sent once, and settled without a guess."""
