"""Corruptions: clean signal in; observed signal, and what we know about the damage, out."""
