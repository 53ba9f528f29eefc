"""Declarations: which axes a network has, and which tensor carries which."""
