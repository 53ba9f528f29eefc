"""SymPy derivations, one claim a file, and the registry `claims.toml`."""
