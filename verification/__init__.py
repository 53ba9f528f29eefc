"""Simulations that test the claims, one experiment a file."""
