"""SymPy derivations, one claim a file, and the registry `claims.toml`.

A file has `derive(planted=None)`, which returns a checked `Derivation`, and `PLANTS`, the errors that `derive` must
refuse. It writes its argument with a `Chain` (`proofs.chain`): `define` what symbols mean, `step` for equalities,
`order` and `differ` for the rest. What is printed is what is checked: every relation is unfolded to undefined symbols
and its two sides are brought to one canonical form (`proofs.algebra`, `proofs.moments`). A planted error changes the
mathematics, never the check.
"""
