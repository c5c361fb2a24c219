"""Writes: a seller's changes at Back Market, checked first, sent once, and never settled by a guess."""
